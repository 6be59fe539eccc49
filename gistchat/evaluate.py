"""Stage 4: checkpoint and test dialogues -> predictions.jsonl: likelihood, rank and reply of every item."""

import json
import math
import shutil
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from gistchat.dialogue import Dialogue
from gistchat.errors import UserError
from gistchat.examples import Example, ExampleBuilder, Target, TooLong, require_dialogues, sample_targets
from gistchat.generate import TorchEngine, generate_replies
from gistchat.likelihood import score_replies
from gistchat.progress import progress, say
from gistchat.prompt import PromptFormat, render_gist
from gistchat.ranking import draw_others, rank_gold
from gistchat.recipe import EvaluateConfig, Recipe
from gistchat.sampling import Sampling
from gistchat.storage import atomic_text, read_json_lines

Row = dict[str, Any]
WITHOUT_BUDGET = ("last", "full")  # these show nothing, or all that fits the model
COMPUTED = ("nats", "rank", "candidates", "reply", "reply_tokens", "seconds", "prefill_seconds")


@dataclass(frozen=True)
class Subject:
    """A model under test."""

    name: str  # base | tuned
    load: Callable[[], PreTrainedModel]  # called only where something is left to compute


@dataclass(frozen=True)
class Condition:
    """What a model is tested with: a context strategy at a budget of tokens; None for those that have none."""

    strategy: str
    budget: int | None

    def __str__(self) -> str:
        return self.strategy if self.budget is None else f"{self.strategy}-{self.budget}"


@dataclass(frozen=True)
class Items:
    """The replies that are scored, the same for every model and condition.

    Attributes:
        targets: that fit the model under every condition.
        examples: by condition, aligned with the targets.
        reused: by condition, how many tokens of each prompt a chat would have in its cache, as the prompt of the
            answerer's reply before begins with them.
        left_out: how many the model cannot hold.
    """

    targets: list[Target]
    examples: dict[Condition, list[Example]]
    reused: dict[Condition, list[int]] = field(default_factory=dict)
    left_out: int = 0

    def first(self, number: int) -> "Items":
        """So many of them; 0: all."""
        end = number or None
        examples = {condition: some[:end] for condition, some in self.examples.items()}
        reused = {condition: some[:end] for condition, some in self.reused.items()}
        return Items(self.targets[:end], examples, reused, self.left_out)


def conditions(recipe: Recipe) -> list[Condition]:
    """Every strategy of the recipe at every budget."""
    config = recipe.evaluate
    budgets = config.budgets or [recipe.context.budget]
    free = [Condition(strategy, None) for strategy in config.strategies if strategy in WITHOUT_BUDGET]
    held = [
        Condition(strategy, budget)
        for budget in budgets
        for strategy in config.strategies
        if strategy not in WITHOUT_BUDGET
    ]
    return free + held


def choose_items(recipe: Recipe, test: Sequence[Dialogue]) -> list[Target]:
    """The test replies that are scored, the same for every model and strategy.

    Raises:
        UserError: no reply with enough history, or a strategy that these dialogues cannot serve.
    """
    config = recipe.evaluate
    require_dialogues("test", test)
    items = sample_targets(test, config.items, recipe.seed, config.min_history, config.turns)
    if not items:
        raise UserError(
            f"no test reply has {config.min_history} turns before it; lower evaluate.min_history or give more dialogues"
        )
    if len({item.dialogue.id for item in items}) < 2 and "shuffled" in config.strategies:
        raise UserError(
            "the control 'shuffled' needs two test dialogues with enough history: give more dialogues, lower "
            "evaluate.min_history, raise data.test_share, or leave 'shuffled' out of evaluate.strategies"
        )
    if "gold" in config.strategies and (bare := [item for item in items if not item.dialogue.meta.get("gold")]):
        raise UserError(
            f"the strategy 'gold' needs dialogues with a summary or personas of their own, and {bare[0].dialogue.id} "
            f"of {recipe.data.corpus} has none; leave 'gold' out of evaluate.strategies"
        )
    return items


def build_items(
    targets: Sequence[Target], wanted: Sequence[Condition], builders: Mapping[int, ExampleBuilder]
) -> Items:
    """Examples of every target under every condition; targets that the model cannot hold are left out and counted.

    Args:
        builders: by budget.
    """
    first = next(iter(builders.values()))
    examples: dict[Condition, list[Example]] = {condition: [] for condition in wanted}
    reused: dict[Condition, list[int]] = {condition: [] for condition in wanted}
    kept = []
    for target in targets:
        try:
            built = [builders.get(one.budget, first).build(target, one.strategy) for one in wanted]
        except TooLong as error:
            say(f"left out: {error}")
            continue
        kept.append(target)
        for condition, example in zip(wanted, built, strict=True):
            examples[condition].append(example)
            reused[condition].append(_reused(example, builders.get(condition.budget, first)))
    if not kept:
        raise UserError("every test item is longer than the model takes")
    return Items(kept, examples, reused, len(targets) - len(kept))


def _reused(example: Example, builder: ExampleBuilder) -> int:
    """How many tokens the prompt shares with that of the answerer's reply before, that reply included."""
    dialogue, turn = example.target.dialogue, example.target.turn
    speaker = dialogue.turns[turn].speaker
    before = [i for i in dialogue.reply_indices() if i < turn and dialogue.turns[i].speaker == speaker]
    if not before:
        return 0
    try:
        earlier = builder.build(Target(dialogue, before[-1]), example.context.strategy)
    except TooLong:
        return 0
    shared = 0
    for one, other in zip(earlier.ids, example.prompt[:-1], strict=False):
        if one != other:
            break
        shared += 1
    return shared


def predict(
    subject: Subject, prompt_format: PromptFormat, items: Items, config: EvaluateConfig, folder: Path
) -> list[Row]:
    """Score, rank and answer every item under every condition. What was finished is read back from `folder`: whole
    conditions, or their rows where items were added since.

    Where conditions come to the same prompt (a short history fits whole), it is computed once, for the first.
    """
    rows: list[Row] = []
    known: dict[Hashable, Row] = {}
    model = None
    for condition, examples in items.examples.items():
        path = folder / f"{subject.name}-{condition}.jsonl"
        found = read_json_lines(path) if path.exists() else []
        if _is_done(found, items.targets, config):
            say(f"evaluate {subject.name}, {condition}: done before, skipped")
        else:
            for row in found:
                known.setdefault(_identity(row), row)
            model = model or subject.load()
            found = [
                _row(subject.name, condition, example, shared, prompt_format)
                for example, shared in zip(examples, items.reused[condition], strict=True)
            ]
            title = f"evaluate {subject.name}, {condition}"
            _fill_rows(found, model, prompt_format, items, examples, known, config, title)
            write_rows(path, found)
        for row in found:
            known.setdefault(_identity(row), row)
        rows += found
    return rows


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    with atomic_text(path) as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _identity(row: Row) -> Hashable:
    """Equal for conditions that come to the same prompt for the same reply."""
    return row["id"], row["prompt"], row["prompt_tokens"]


def _wanted(number: int, config: EvaluateConfig) -> list[str]:
    """What the row of an item has to hold."""
    return ["nats"] + ["rank"] * (number < config.rank_items) + ["reply"] * (number < config.reply_items)


def _is_done(found: Sequence[Row], targets: Sequence[Target], config: EvaluateConfig) -> bool:
    """Whether all rows of a condition are there, with all that is asked for."""
    same = [row["id"] for row in found] == [target.id for target in targets]
    return same and all(row[name] is not None for i, row in enumerate(found) for name in _wanted(i, config))


def _fill_rows(
    rows: list[Row],
    model: PreTrainedModel,
    prompt_format: PromptFormat,
    items: Items,
    examples: Sequence[Example],
    known: dict[Hashable, Row],
    config: EvaluateConfig,
    title: str,
) -> None:
    """Add likelihoods, ranks and replies to the rows of one condition."""
    new = []
    for i, row in enumerate(rows):
        same = known.get(_identity(row))
        if same is None or any(same[name] is None for name in _wanted(i, config)):
            new.append(i)
        else:
            row |= {name: same[name] for name in COMPUTED}
    ranked = [i for i in new if i < config.rank_items]
    answered = [i for i in new if i < config.reply_items]
    with progress(title, len(new) + len(ranked) + len(answered)) as advance:
        nats = score_replies(model, prompt_format, [examples[i] for i in new], config.batch_tokens, advance)
        for i, value in zip(new, nats, strict=True):
            if not math.isfinite(value):
                raise UserError(
                    f"{title}: the likelihood of {rows[i]['id']} is {value}; the weights are damaged or the training "
                    "diverged (conditions that were finished are kept)"
                )
            rows[i]["nats"] = value
        others = [draw_others(items.targets[i], items.targets) for i in ranked]
        places = rank_gold(model, prompt_format, [examples[i] for i in ranked], others, config.batch_tokens, advance)
        for i, place, texts in zip(ranked, places, others, strict=True):
            rows[i] |= {"rank": place, "candidates": len(texts) + 1}
        sampling = Sampling(max_tokens=config.max_reply_tokens)
        prompts = [examples[i].prompt for i in answered]
        engine = TorchEngine(model, prompt_format)
        replies = generate_replies(engine, prompts, sampling, config.batch_tokens, advance)
        for i, reply in zip(answered, replies, strict=True):
            rows[i] |= {"reply": reply.text, "reply_tokens": reply.tokens}
            rows[i] |= {"seconds": reply.seconds, "prefill_seconds": reply.prefill}


def _row(model: str, condition: Condition, example: Example, reused: int, prompt_format: PromptFormat) -> Row:
    context = example.context
    return {
        "id": example.target.id,
        "dialogue": example.target.dialogue.id,
        "turn": example.target.turn,
        "model": model,
        "strategy": condition.strategy,
        "budget": condition.budget,
        "gist": render_gist(context.lines),
        "boundary": context.boundary,
        "context": [{"role": turn.role, "text": turn.text} for turn in (*context.turns, context.last)],
        "prompt": prompt_format.tokenizer.decode(example.prompt),
        "prompt_tokens": len(example.prompt),
        "reused_tokens": reused,
        "context_tokens": context.tokens,
        "gold": example.target.gold,
        "gold_tokens": len(example.reply),
        "gold_bytes": len(example.target.gold.encode()),
        "nats": None,
        "rank": None,
        "candidates": None,
        "reply": None,
        "reply_tokens": None,
        "seconds": None,
        "prefill_seconds": None,
    }


def open_parts(folder: Path, key: str) -> Path:
    """The folder of rows that were finished under the same `key`, which are not computed again; emptied for another."""
    parts = folder / "evaluation"
    if not (parts / key).exists():
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True)
        (parts / key).touch()
    return parts


def what_rows_depend_on(recipe: Recipe) -> Row:
    """The parts of a recipe that change a row, for the fingerprint of finished ones.

    Strategies and budgets do not: each condition has a file of its own. Nor do numbers of items, which are drawn in
    the same order, but for the replies that a gold one is ranked among, which are those of the other items.
    """
    config = recipe.evaluate
    return {
        "seed": recipe.seed,
        "full": [recipe.context.full_limit, recipe.context.max_turns, recipe.context.summary_share],
        "summary": [recipe.summary.method, recipe.summary.recency, recipe.summary.model, recipe.summary.prompt],
        "items": [config.turns, config.min_history],
        "ranked among": config.items if config.rank_items else 0,
        "answers": config.max_reply_tokens,
        "probe": config.probe_items,
    }
