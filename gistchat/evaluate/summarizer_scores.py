"""How good are summarizers? ROUGE against references, names and numbers kept true, length, time; and planted facts."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gistchat.dialogue.turns import Dialogue
from gistchat.evaluate.bootstrap import Metric, interval, mean, ratio_of_sums, resample_weights
from gistchat.evaluate.metrics import ROUGES, rouge
from gistchat.evaluate.planted_dialogues import DISTANCES
from gistchat.evaluate.summarizer_recall import as_text, computed_once, gist_text, recall, window_recall
from gistchat.files import fingerprint
from gistchat.memory.factory import make_summarizer
from gistchat.memory.summarizer import Job, Summarizer
from gistchat.memory.summarizers.faithfulness import faithfulness
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


@dataclass(frozen=True)
class Scored:
    """One summarizer's summaries of some dialogues, in their order."""

    name: str
    texts: list[str]
    seconds: float  # per dialogue
    refused: int


def reference(dialogue: Dialogue) -> str:
    """The corpus's own summary; empty where it has none (personas are none)."""
    return " ".join(line["text"] for line in dialogue.meta.get("gold", []) if not line["speaker"])


def score(
    dialogues: Sequence[Dialogue],
    configs: dict[str, SummaryConfig],
    context: ContextConfig,
    count: Callable[[list[str]], list[int]],
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
    found = [_baseline(name, dialogues) for name in BASELINES]
    remembered = {}
    for name, config in configs.items():
        summarizer = make_summarizer(config, context.budget, count)
        found.append(_summaries(name, config, summarizer, dialogues, context.budget, folder))
        if planted:
            remembered[name] = recall(config, context, count, folder, planted)
    if planted:
        remembered["latest turns only"] = window_recall(context.budget, count, planted)
    sources = [as_text(dialogue.turns) for dialogue in dialogues]
    references = [reference(dialogue) for dialogue in dialogues]
    rows = {one.name: _measured(one, sources, references if all(references) else None) for one in found}
    weights = resample_weights(max(planted, 1), RESAMPLES, 0)
    for name, metrics in remembered.items():
        rows.setdefault(name, {}).update(_intervals(metrics, planted, weights))
    return {
        "dialogues": len(dialogues),
        "references": all(references),
        "budget": context.budget,
        "planted": planted,
        "rows": rows,
    }


def _baseline(name: str, dialogues: Sequence[Dialogue]) -> Scored:
    start = time.perf_counter()
    texts = [as_text(BASELINES[name](dialogue.turns)) for dialogue in dialogues]
    return Scored(name, texts, (time.perf_counter() - start) / max(len(dialogues), 1), 0)


def _summaries(
    name: str, config: SummaryConfig, summarizer: Summarizer, dialogues: Sequence[Dialogue], budget: int, folder: Path
) -> Scored:
    """Summaries of whole dialogues; each chunk is on disk before the next is begun."""
    by_hash = {dialogue.content_hash: dialogue for dialogue in dialogues}

    def summarize(hashes: Sequence[str]) -> list[Any]:
        start = time.perf_counter()
        updates = summarizer.update([Job((), by_hash[key].turns, 0) for key in hashes])
        seconds = (time.perf_counter() - start) / len(hashes)
        return [[gist_text(update.sentences), seconds, update.fell_back] for update in updates]

    path = folder / f"scored-{config.method}-{budget}-{fingerprint(dataclasses.asdict(config))}.jsonl"
    stored = computed_once(f"score {name}", path, [dialogue.content_hash for dialogue in dialogues], summarize, CHUNK)
    texts, seconds, fell_back = zip(*stored, strict=True) if stored else ((), (), ())
    return Scored(name, list(texts), sum(seconds) / max(len(texts), 1), sum(map(bool, fell_back)))


def _measured(one: Scored, sources: list[str], references: list[str] | None) -> dict[str, dict[str, float]]:
    metrics = []
    if references:
        metrics = [Metric(name, "%", "higher", rouge(name, one.texts, references)) for name in ROUGES]
    supported, named = zip(*faithfulness(zip(one.texts, sources, strict=True)), strict=True)
    words = [len(text.split()) for text in one.texts]
    metrics += [
        Metric("faithful", "%", "higher", ratio_of_sums([100 * n for n in supported], named)),
        Metric("length", "% of source", "", ratio_of_sums([100 * n for n in words], [len(s.split()) for s in sources])),
        Metric("empty", "%", "lower", mean([100.0 * (not text) for text in one.texts])),
    ]
    values = _intervals(metrics, len(sources), resample_weights(len(sources), RESAMPLES, 0))
    values["seconds"] = _exactly(one.seconds)
    values["refused"] = _exactly(100 * one.refused / len(sources))
    return values


def _exactly(value: float) -> dict[str, float]:
    return {"value": value, "low": value, "high": value}


def _intervals(metrics: Sequence[Metric], items: int, weights: Any) -> dict[str, dict[str, float]]:
    return {metric.name: dataclasses.asdict(interval(metric, items, weights)) for metric in metrics}


COLUMNS = (*ROUGES, "faithful", "length", "refused", "seconds")
RECALL = tuple(f"{how} {distance}" for how in ("picked", "rolled") for distance in DISTANCES)


def score_table(values: dict[str, Any]) -> str:
    """The scores as Markdown, best first: by ROUGE-L where there are references, else by facts kept longest."""
    rows = values["rows"]
    columns = [name for name in (*COLUMNS, *RECALL) if any(name in row for row in rows.values())]
    by = "rougeL" if values["references"] else f"rolled {DISTANCES[-1]}"
    order = sorted(rows, key=lambda name: -rows[name].get(by, {"value": -1})["value"])
    lines = [
        f"{values['dialogues']:,} dialogues, at most {values['budget']} tokens a summary"
        + (f"; facts planted in {values['planted']} generated dialogues" if values["planted"] else ""),
        "",
        "| summarizer | " + " | ".join(columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for name in order:
        lines.append(f"| {name} | " + " | ".join(_cell(rows[name].get(column)) for column in columns) + " |")
    return "\n".join(lines)


def _cell(found: dict[str, float] | None) -> str:
    if found is None:
        return ""
    value, low, high = found["value"], found["low"], found["high"]
    if low == high:
        return f"{value:.3g}"
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"
