"""Stage 4: checkpoint and test dialogues -> predictions.jsonl and metrics.json."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from gistchat import metrics
from gistchat.dialogue import Dialogue
from gistchat.errors import UserError
from gistchat.examples import Example, ExampleBuilder, Target, TooLong, require_dialogues, sample_targets
from gistchat.generate import TorchEngine, generate_replies
from gistchat.likelihood import score_replies
from gistchat.metrics import Interval, Metric
from gistchat.progress import progress, say
from gistchat.prompt import PromptFormat, render_gist
from gistchat.recipe import EvaluateConfig, Recipe
from gistchat.sampling import Sampling
from gistchat.storage import atomic_text, read_json_lines, write_json

Row = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """A model under test."""

    name: str  # base | tuned
    load: Callable[[], PreTrainedModel]  # called only where something is left to compute


def choose_items(recipe: Recipe, test: Sequence[Dialogue]) -> list[Target]:
    """The test replies that are scored, at most one per dialogue, the same for every model and strategy.

    Raises:
        UserError: no reply with enough history.
    """
    config = recipe.evaluate
    require_dialogues("test", test)
    items = sample_targets(test, config.items, recipe.seed, config.min_history, one_per_dialogue=True)
    if not items:
        raise UserError(
            f"no test reply has {config.min_history} turns before it; lower evaluate.min_history or give more dialogues"
        )
    if len({item.dialogue.id for item in items}) < 2 and "shuffled" in config.strategies:
        raise UserError(
            "the control 'shuffled' needs two test dialogues with enough history: give more dialogues, lower "
            "evaluate.min_history, raise data.test_share, or leave 'shuffled' out of evaluate.strategies"
        )
    return items


def build_items(
    items: Sequence[Target], strategies: Sequence[str], builder: ExampleBuilder
) -> tuple[dict[str, list[Example]], int]:
    """Examples by strategy, aligned by position, and how many items were left out: the model cannot hold them."""
    built: dict[str, list[Example]] = {strategy: [] for strategy in strategies}
    left_out = 0
    for item in items:
        try:
            examples = [builder.build(item, strategy) for strategy in strategies]
        except TooLong as error:
            say(f"left out: {error}")
            left_out += 1
            continue
        for strategy, example in zip(strategies, examples, strict=True):
            built[strategy].append(example)
    if left_out == len(items):
        raise UserError("every test item is longer than the model takes")
    return built, left_out


def predict(
    subject: Subject, prompt_format: PromptFormat, built: dict[str, list[Example]], config: EvaluateConfig, folder: Path
) -> list[Row]:
    """Score and answer every item with every strategy. A strategy's finished rows are read back from `folder`.

    Where strategies come to the same prompt (a short history fits whole), it is computed once, for the first.
    """
    rows: list[Row] = []
    known: dict[Hashable, Row] = {}
    model = None
    for strategy, examples in built.items():
        path = folder / f"{subject.name}-{strategy}.jsonl"
        if path.exists():
            say(f"evaluate {subject.name}, {strategy}: done before, skipped")
            strategy_rows = read_json_lines(path)
        else:
            model = model or subject.load()
            strategy_rows = [_row(subject.name, strategy, example, prompt_format) for example in examples]
            _fill_rows(strategy_rows, model, prompt_format, examples, known, config)
            with atomic_text(path) as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in strategy_rows)
        for example, row in zip(examples, strategy_rows, strict=True):
            known.setdefault(_identity(example), row)
        rows += strategy_rows
    return rows


def _identity(example: Example) -> Hashable:
    """Equal for strategies that come to the same prompt for the same reply."""
    return example.target.id, tuple(example.prompt)


def _fill_rows(
    rows: list[Row],
    model: PreTrainedModel,
    prompt_format: PromptFormat,
    examples: Sequence[Example],
    known: dict[Hashable, Row],
    config: EvaluateConfig,
) -> None:
    """Add likelihoods and replies to the rows of one strategy."""
    new = []
    for i, example in enumerate(examples):
        same = known.get(_identity(example))
        if same is None:
            new.append(i)
        else:
            rows[i] |= {name: same[name] for name in ("nats", "reply", "reply_tokens", "seconds")}
    answered = [i for i in new if i < config.reply_items]
    title = f"evaluate {rows[0]['model']}, {rows[0]['strategy']}"
    with progress(title, len(new) + len(answered)) as advance:
        nats = score_replies(model, prompt_format, [examples[i] for i in new], config.batch_tokens, advance)
        for i, value in zip(new, nats, strict=True):
            rows[i]["nats"] = value
        sampling = Sampling(max_tokens=config.max_reply_tokens)
        prompts = [examples[i].prompt for i in answered]
        engine = TorchEngine(model, prompt_format)
        replies = generate_replies(engine, prompts, sampling, config.batch_tokens, advance)
        for i, reply in zip(answered, replies, strict=True):
            rows[i] |= {"reply": reply.text, "reply_tokens": reply.tokens, "seconds": reply.seconds}


def _row(model: str, strategy: str, example: Example, prompt_format: PromptFormat) -> Row:
    context = example.context
    return {
        "id": example.target.id,
        "dialogue": example.target.dialogue.id,
        "turn": example.target.turn,
        "model": model,
        "strategy": strategy,
        "gist": render_gist(context.lines),
        "boundary": context.boundary,
        "context": [{"role": turn.role, "text": turn.text} for turn in (*context.turns, context.last)],
        "prompt": prompt_format.tokenizer.decode(example.prompt),
        "prompt_tokens": len(example.prompt),
        "context_tokens": context.tokens,
        "gold": example.target.gold,
        "gold_tokens": len(example.reply),
        "nats": None,
        "reply": None,
        "reply_tokens": None,
        "seconds": None,
    }


def measure(rows: Sequence[Row]) -> dict[str, tuple[Metric, int]]:
    """All metrics of one model and strategy, each with the number of items it is over."""
    answered = [row for row in rows if row["reply"] is not None]
    found = [(metrics.perplexity([row["nats"] for row in rows], [row["gold_tokens"] for row in rows]), len(rows))]
    found.append(
        (Metric("prompt_tokens", "tokens", "lower", metrics.mean([r["prompt_tokens"] for r in rows])), len(rows))
    )
    if answered:
        replies, golds = [row["reply"] for row in answered], [row["gold"] for row in answered]
        on_replies = [
            *metrics.rouge(replies, golds),
            metrics.bleu(replies, golds),
            metrics.distinct(replies, 1),
            metrics.distinct(replies, 2),
            Metric("reply_tokens", "tokens", "", metrics.mean([row["reply_tokens"] for row in answered])),
            Metric("empty", "%", "lower", metrics.mean([100.0 * (not reply) for reply in replies])),
            Metric("seconds", "s per reply", "lower", metrics.mean([row["seconds"] for row in answered])),
        ]
        found += [(metric, len(answered)) for metric in on_replies]
    return {metric.name: (metric, items) for metric, items in found}


def summarize_metrics(rows: Sequence[Row], recipe: Recipe) -> dict[str, Any]:
    """The content of metrics.json: every metric with its interval, and its paired difference to the baseline."""
    config = recipe.evaluate
    by_pair: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_pair.setdefault((row["model"], row["strategy"]), []).append(row)
    measured = {pair: measure(pair_rows) for pair, pair_rows in by_pair.items()}
    weights = {
        items: metrics.resample_weights(items, config.resamples, recipe.seed)
        for found in measured.values()
        for _, items in found.values()
    }
    results = []
    for (model, strategy), found in measured.items():
        values = {}
        for name, (metric, items) in found.items():
            values[name] = _interval_json(metrics.interval(metric, items, weights[items]))
            values[name] |= {"items": items, "unit": metric.unit, "better": metric.better}
            if strategy != config.baseline:
                baseline, _ = measured[model, config.baseline][name]
                difference = metrics.paired_difference(metric, baseline, items, weights[items])
                values[name]["difference"] = _interval_json(difference)
        results.append({"model": model, "strategy": strategy, "metrics": values})
    return {
        "baseline": config.baseline,
        "confidence": metrics.CONFIDENCE,
        "resamples": config.resamples,
        "results": results,
        "comparisons": _comparisons(measured, weights),
    }


def _comparisons(measured: dict[tuple[str, str], dict[str, tuple[Metric, int]]], weights: dict[int, Any]) -> list[Row]:
    """The questions that the table is read for: does tuning help, and does it matter whose summary it is?"""
    pairs = [((model, "summary"), (model, "shuffled")) for model in ("base", "tuned")]
    pairs += [(("tuned", strategy), ("base", strategy)) for model, strategy in measured if model == "tuned"]
    found = []
    for one, other in pairs:
        if one in measured and other in measured:
            metric, items = measured[one]["perplexity"]
            difference = metrics.paired_difference(metric, measured[other]["perplexity"][0], items, weights[items])
            found.append(
                {
                    "metric": "perplexity",
                    "of": " ".join(one),
                    "minus": " ".join(other),
                    **_interval_json(difference),
                    "significant": difference.high < 0 or difference.low > 0,
                }
            )
    return found


def _interval_json(found: Interval) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}


def evaluate(
    recipe: Recipe,
    subjects: Sequence[Subject],
    prompt_format: PromptFormat,
    built: dict[str, list[Example]],
    left_out: int,
    folder: Path,
    key: str,
) -> dict[str, Any]:
    """Write predictions.jsonl and metrics.json to the run `folder`; returns the metrics.

    Rows finished under the same `key` are not computed again.
    """
    parts = folder / "evaluation"
    if not (parts / key).exists():
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True)
        (parts / key).touch()
    rows = [row for subject in subjects for row in predict(subject, prompt_format, built, recipe.evaluate, parts)]
    with atomic_text(folder / "predictions.jsonl") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    values = summarize_metrics(rows, recipe)
    items = len(next(iter(built.values())))
    values |= {
        "items": items,
        "reply_items": min(items, recipe.evaluate.reply_items),
        "left_out": left_out,
        "budget": recipe.context.budget,
        "min_history": recipe.evaluate.min_history,
    }
    write_json(folder / "metrics.json", values)
    return values


def describe(recipe: Recipe) -> Row:
    """The parts of a recipe that evaluation depends on, for its fingerprint."""
    return {
        "seed": recipe.seed,
        "context": dataclasses.asdict(recipe.context),
        "summary": dataclasses.asdict(recipe.summary),
        "evaluate": dataclasses.asdict(recipe.evaluate),
    }
