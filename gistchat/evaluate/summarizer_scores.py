"""How good are summarizers? ROUGE against references, names and numbers kept true, length, time; and planted facts."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gistchat.dialogue.turns import Dialogue
from gistchat.dialogue.words import count_words
from gistchat.evaluate.bootstrap import Metric, interval, mean, ratio_of_sums, resample_weights
from gistchat.evaluate.metrics import ROUGES, rouge
from gistchat.evaluate.planted_dialogues import DISTANCES
from gistchat.evaluate.summarizer_recall import as_text, computed_once, costs, gist_text, recall, window_recall
from gistchat.files import fingerprint
from gistchat.memory.factory import make_summarizer, summary_settings
from gistchat.memory.summarizer import Job, Summarizer
from gistchat.memory.summarizers.faithfulness import faithfulness
from gistchat.prompts.token_count import Count
from gistchat.recipe.schema import ContextConfig, SummaryConfig

CHUNK = 16  # dialogues summarised, and so at most lost, at a time
RESAMPLES = 2000
BASELINES = {
    "lead-3": lambda turns: turns[:3],
    # Gliwa et al. 2019: the three longest turns, in their order.
    "longest-3": lambda turns: [
        turns[i] for i in sorted(sorted(range(len(turns)), key=lambda i: -len(turns[i].text))[:3])
    ],
}


def reference(dialogue: Dialogue) -> str:
    """The corpus's own summary; empty where it has none (personas are none)."""
    return " ".join(line["text"] for line in dialogue.meta.get("gold", []) if not line["speaker"])


def score(
    dialogues: Sequence[Dialogue],
    configs: dict[str, SummaryConfig],
    context: ContextConfig,
    count: Count,
    folder: Path,
    planted: int,
) -> dict[str, Any]:
    """Measure summarizers by name, beside the baselines.

    Args:
        context: its budget is that of a summary, in tokens that `count` counts.
        folder: where what was made is kept, so that a run that was stopped goes on.
        planted: how many dialogues with planted facts each memory is tried on; 0: none.
    Returns:
        {"dialogues", "references", "budget", "rows": {name: {metric: {value, low, high}}}}.
    """
    sources = [as_text(dialogue.turns) for dialogue in dialogues]
    references = [reference(dialogue) for dialogue in dialogues]
    metrics_of = partial(_measured, sources, references if all(references) else [])
    rows = {}
    for name, pick in BASELINES.items():
        start = time.perf_counter()
        texts = [as_text(pick(dialogue.turns)) for dialogue in dialogues]
        rows[name] = metrics_of(texts, (time.perf_counter() - start) / len(dialogues), 0)
    weights = resample_weights(max(planted, 1), RESAMPLES, 0)
    for name, config in configs.items():
        summarizer = make_summarizer(config, context.budget)
        rows[name] = metrics_of(*_summaries(name, config, summarizer, dialogues, context.budget, count, folder))
        if planted:
            rows[name] |= _intervals(recall(config, context, count, folder, planted), planted, weights)
    if planted:
        rows["latest turns only"] = _intervals(window_recall(context.budget, count, planted), planted, weights)
    return {
        "dialogues": len(dialogues),
        "references": all(references),
        "budget": context.budget,
        "planted": planted,
        "rows": rows,
    }


def _summaries(
    name: str,
    config: SummaryConfig,
    summarizer: Summarizer,
    dialogues: Sequence[Dialogue],
    budget: int,
    count: Count,
    folder: Path,
) -> tuple[list[str], float, int]:
    """Summaries of whole dialogues, seconds for each, how many the extractive summarizer made instead.

    Each chunk is on disk before the next is begun.
    """
    by_hash = {dialogue.content_hash: dialogue for dialogue in dialogues}

    def summarize(hashes: Sequence[str]) -> list[Any]:
        start = time.perf_counter()
        updates = summarizer.update([Job((), by_hash[key].turns, 0, budget, costs(count).line) for key in hashes])
        seconds = (time.perf_counter() - start) / len(hashes)
        return [[gist_text(update.sentences), seconds, update.fell_back] for update in updates]

    path = folder / f"scored-{config.method}-{budget}-{fingerprint(summary_settings(config))}.jsonl"
    stored = computed_once(f"score {name}", path, [dialogue.content_hash for dialogue in dialogues], summarize, CHUNK)
    texts, seconds, fell_back = zip(*stored, strict=True)
    return list(texts), sum(seconds) / len(texts), sum(map(bool, fell_back))


def _measured(
    sources: list[str], references: list[str], texts: list[str], seconds: float, refused: int
) -> dict[str, dict[str, float]]:
    metrics = [Metric(name, "%", "higher", rouge(name, texts, references)) for name in ROUGES if references]
    supported, named = zip(*faithfulness(zip(texts, sources, strict=True)), strict=True)
    words, source_words = [count_words(text) for text in texts], [count_words(source) for source in sources]
    metrics += [
        Metric("faithful", "%", "higher", ratio_of_sums([100 * n for n in supported], named)),
        Metric("length", "% of source", "", ratio_of_sums([100 * n for n in words], source_words)),
        Metric("empty", "%", "lower", mean([100.0 * (not text) for text in texts])),
    ]
    exact = {"seconds": seconds, "refused": 100 * refused / len(sources)}
    return _intervals(metrics, len(sources), resample_weights(len(sources), RESAMPLES, 0)) | {
        name: dict.fromkeys(("value", "low", "high"), value) for name, value in exact.items()
    }


def _intervals(metrics: Sequence[Metric], items: int, weights: Any) -> dict[str, dict[str, float]]:
    return {metric.name: vars(interval(metric, items, weights)) for metric in metrics}


COLUMNS = (*ROUGES, "faithful", "length", "refused", "seconds")
RECALL = tuple(f"{how} {distance}" for how in ("picked", "rolled") for distance in DISTANCES)


def score_table(values: dict[str, Any]) -> str:
    """The scores as Markdown, best first: by ROUGE-L where there are references, else by facts kept longest."""
    rows = values["rows"]
    columns = [name for name in (*COLUMNS, *RECALL) if any(name in row for row in rows.values())]
    by = "rougeL" if values["references"] else f"rolled {DISTANCES[-1]}"
    lines = [
        f"{values['dialogues']:,} dialogues, at most {values['budget']} tokens a summary"
        + (f"; facts planted in {values['planted']} generated dialogues" if values["planted"] else ""),
        "",
        "| summarizer | " + " | ".join(columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for name in sorted(rows, key=lambda name: -rows[name].get(by, {"value": -1})["value"]):
        lines.append(f"| {name} | " + " | ".join(_cell(rows[name].get(column)) for column in columns) + " |")
    return "\n".join(lines)


def _cell(values: dict[str, float] | None) -> str:
    if values is None:
        return ""
    if values["low"] == values["high"]:
        return f"{values['value']:.3g}"
    return "{value:.1f} [{low:.1f}, {high:.1f}]".format(**values)
