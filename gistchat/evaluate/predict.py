"""Stage 4: checkpoint and test dialogues -> predictions.jsonl: likelihood, rank and reply of every item."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from gistchat.engines.engine import generate_replies
from gistchat.engines.sampling import Sampling
from gistchat.engines.torch_engine import TorchEngine
from gistchat.errors import UserError
from gistchat.evaluate.items import Condition, Items
from gistchat.evaluate.metrics import Row
from gistchat.evaluate.planted_questions import DISTANCES
from gistchat.evaluate.ranking import draw_others, rank_gold
from gistchat.examples.build import Example
from gistchat.files import fingerprint, put_aside
from gistchat.memory.factory import newer_settings, search_settings
from gistchat.models.likelihood import score_replies
from gistchat.progress import progress, say
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.wording import render_gist
from gistchat.recipe.schema import EvaluateConfig, Recipe
from gistchat.resumable import ResumableJsonl

COMPUTED = ("nats", "rank", "candidates", "reply", "reply_tokens", "seconds", "prefill_seconds")
KEY = re.compile("[0-9a-f]{12}")
PART_FILES = {f"{subject}{kind}.jsonl" for subject in ("base", "tuned") for kind in ("", "-probe")} | {"replies.jsonl"}
PART = 512  # items whose likelihood is computed between two times of writing it down


@dataclass(frozen=True)
class Subject:
    """A model under test."""

    name: str  # base | tuned
    load: Callable[[], PreTrainedModel]  # called only where something is left to compute


def predict(
    subject: Subject, prompt_format: PromptFormat, items: Items, config: EvaluateConfig, folder: Path
) -> list[Row]:
    """Score, rank and answer every item under every condition; what an earlier run computed is read from `folder`.

    The likelihood of all conditions is computed together, in batches of similar length. Conditions that come to the
    same prompt (a short history fits whole) share what is computed of it.
    """
    computed = ResumableJsonl(folder / f"{subject.name}.jsonl")
    rows = {condition: _new_rows(subject.name, condition, items, prompt_format) for condition in items.examples}
    waiting = []
    for condition, condition_rows in rows.items():
        _fill(condition_rows, computed)
        if any(_missing(condition_rows, config)):
            waiting.append(condition)
        else:
            say(f"evaluate {subject.name}, {condition}: done before, skipped")
    if waiting:
        model = subject.load()
        pairs = [pair for condition in waiting for pair in zip(items.examples[condition], rows[condition], strict=True)]
        _add_likelihoods(pairs, model, prompt_format, config, f"evaluate {subject.name}, likelihood", computed)
        for condition in waiting:
            _fill(rows[condition], computed)  # an earlier condition may have come to the same prompts
            _add_ranks_and_replies(rows[condition], model, prompt_format, items, condition, config, subject.name)
            _keep(rows[condition], computed)
    return [row for condition_rows in rows.values() for row in condition_rows]


def _key(row: Row) -> str:
    """Equal for conditions that come to the same prompt for the same reply."""
    return fingerprint([row["id"], row["prompt"], row["prompt_tokens"]])


def _fill(rows: Sequence[Row], computed: ResumableJsonl) -> None:
    """Add to rows what was computed of their prompts."""
    for row in rows:
        row |= {name: value for name, value in (computed.get(_key(row)) or {}).items() if name in COMPUTED}


def _keep(rows: Sequence[Row], computed: ResumableJsonl) -> None:
    """Write down what was computed of rows, unless it stands there."""
    lines = [{"key": _key(row), **{name: row[name] for name in COMPUTED if row[name] is not None}} for row in rows]
    computed.append(line for line in lines if len(line) > 1 and line != computed.get(line["key"]))


def _missing(rows: Sequence[Row], config: EvaluateConfig) -> tuple[list[int], list[int], list[int]]:
    """Which rows of a condition still lack their likelihood, their rank, their reply, of those that are to have it."""
    numbers = {"nats": len(rows), "rank": config.rank_items, "reply": config.reply_items}
    return tuple([i for i, row in enumerate(rows[:end]) if row[name] is None] for name, end in numbers.items())


def _add_likelihoods(
    pairs: Sequence[tuple[Example, Row]],
    model: PreTrainedModel,
    prompt_format: PromptFormat,
    config: EvaluateConfig,
    title: str,
    computed: ResumableJsonl,
) -> None:
    """Add the likelihood to rows that lack it, and write it down in at most some twenty parts.

    Raises:
        UserError: a likelihood that is not a number.
    """
    by_prompt: dict[str, tuple[Example, Row]] = {}
    for example, row in pairs:
        if row["nats"] is None:
            by_prompt.setdefault(_key(row), (example, row))
    if not by_prompt:
        return
    longest_first = sorted(by_prompt.values(), key=lambda pair: -len(pair[0]))
    part = max(PART, math.ceil(len(longest_first) / 20))
    with progress(title, len(longest_first)) as advance:
        for start in range(0, len(longest_first), part):
            examples, rows = zip(*longest_first[start : start + part], strict=True)
            nats = score_replies(model, prompt_format, examples, config.batch_tokens, advance)
            for row, value in zip(rows, nats, strict=True):
                row["nats"] = value if math.isfinite(value) else None
            _keep(rows, computed)
            for row, value in zip(rows, nats, strict=True):
                if not math.isfinite(value):
                    raise UserError(
                        f"{title}: that of {row['id']}, {Condition(row['strategy'], row['budget'])}, is {value}; the "
                        "weights are damaged or the training diverged (what was computed before is kept)"
                    )


def _add_ranks_and_replies(
    rows: Sequence[Row],
    model: PreTrainedModel,
    prompt_format: PromptFormat,
    items: Items,
    condition: Condition,
    config: EvaluateConfig,
    subject: str,
) -> None:
    """Add what the rows of one condition lack, which is computed apart from others, as it is timed."""
    examples = items.examples[condition]
    _, ranked, answered = _missing(rows, config)
    if not ranked and not answered:
        return
    with progress(f"evaluate {subject}, {condition}", len(ranked) + len(answered)) as advance:
        others = [draw_others(items.targets[i], items.targets) for i in ranked]
        places = rank_gold(model, prompt_format, [examples[i] for i in ranked], others, config.batch_tokens, advance)
        for i, place, texts in zip(ranked, places, others, strict=True):
            rows[i] |= {"rank": place, "candidates": len(texts) + 1}
        sampling = Sampling(max_tokens=config.max_reply_tokens)
        contexts = [examples[i].context for i in answered]
        engine = TorchEngine(model, prompt_format)
        replies = generate_replies(engine, contexts, sampling, config.batch_tokens, advance)
        for i, reply in zip(answered, replies, strict=True):
            rows[i] |= {"reply": reply.text, "reply_tokens": reply.tokens}
            rows[i] |= {"seconds": reply.seconds, "prefill_seconds": reply.prefill}


def _new_rows(model: str, condition: Condition, items: Items, prompt_format: PromptFormat) -> list[Row]:
    """Of every item under one condition, with nothing computed yet."""
    return [
        {
            "id": example.target.id,
            "dialogue": example.target.dialogue.id,
            "turn": example.target.turn,
            "model": model,
            "strategy": condition.strategy,
            "budget": condition.budget,
            "gist": render_gist(example.context.lines),
            "boundary": example.context.boundary,
            "context": [
                {"role": turn.role, "text": turn.text} for turn in (*example.context.turns, example.context.last)
            ],
            "prompt": prompt_format.tokenizer.decode(example.prompt.ids),
            "prompt_tokens": len(example.prompt),
            "reused_tokens": reused,
            "context_tokens": example.context.tokens,
            "gold": example.target.gold,
            "gold_tokens": len(example.reply),
            "gold_bytes": len(example.target.gold.encode()),
            **dict.fromkeys(COMPUTED),
        }
        for example, reused in zip(items.examples[condition], items.reused[condition], strict=True)
    ]


def open_parts(folder: Path, key: str) -> Path:
    """The folder of rows that were finished under the same `key`, which are not computed again; emptied for another."""
    parts = folder / "evaluation"
    names = [path.name for path in parts.glob("[!.]*")]
    keys = list(filter(KEY.fullmatch, names))
    if names and not keys:
        put_aside(parts, "stood there before")
    parts.mkdir(parents=True, exist_ok=True)
    if key not in keys:
        for name in (*PART_FILES, *keys):  # keys last: where there is none, the folder is not known as gistchat's
            (parts / name).unlink(missing_ok=True)
        (parts / key).touch()
    return parts


def what_rows_depend_on(recipe: Recipe) -> Row:
    """The parts of a recipe that change a row, for the fingerprint of finished ones.

    Strategies and budgets do not: each condition has a file of its own. Nor do numbers of items, which are drawn in
    the same order, but for the replies that a gold one is ranked among, which are those of the other items.
    """
    config = recipe.evaluate
    return {
        **search_settings(recipe),
        "seed": recipe.seed,
        "full": [recipe.context.full_limit, recipe.context.max_turns, recipe.context.summary_share],
        "summary": [getattr(recipe.summary, name) for name in ("method", "recency", "model", "prompt")],
        **newer_settings(recipe.summary),
        "items": [config.turns, config.min_history],
        "ranked among": config.items if config.rank_items else 0,
        "answers": config.max_reply_tokens,
        "probe": [config.probe_items, *DISTANCES] if config.probe_items else 0,
    }
