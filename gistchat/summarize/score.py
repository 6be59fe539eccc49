"""How good are summarizers? ROUGE against references, names and numbers kept true, length, time; and planted facts."""

import dataclasses
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gistchat.context import Sentence
from gistchat.dialogue import Dialogue, Turn
from gistchat.metrics import Metric, interval, mean, ratio_of_sums, resample_weights, rouge
from gistchat.progress import progress
from gistchat.recipe import ContextConfig, SummaryConfig
from gistchat.storage import fingerprint
from gistchat.summarize.extractive import METHODS, Job, summarize_prefixes
from gistchat.summarize.faithfulness import faithfulness
from gistchat.summarize.planted import DISTANCES, Planted, planted_dialogue, remembered
from gistchat.summarize.rolling import RollingMemory, Summarizer, Window, chains
from gistchat.summarize.summarizers import gist_budget, make_summarizer

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
        folder: where written summaries are kept, so that a run that was stopped goes on.
        planted: how many dialogues with planted facts each memory is tried on; 0: none.
    Returns:
        {"dialogues", "references", "budget", "rows": {name: {metric: {value, low, high}}}}.
    """
    found = [_baseline(name, dialogues) for name in BASELINES]
    recall = {}
    for name, config in configs.items():
        summarizer = make_summarizer(config, context.budget, count)
        found.append(_summaries(name, config, summarizer, dialogues, context, folder))
        if planted:
            recall[name] = _recall(config, context, count, planted)
    if planted:
        recall["latest turns only"] = _recall(None, context, count, planted)
    sources = [_as_text(dialogue.turns) for dialogue in dialogues]
    references = [reference(dialogue) for dialogue in dialogues]
    rows = {one.name: _measured(one, sources, references if all(references) else None) for one in found}
    weights = resample_weights(max(planted, 1), RESAMPLES, 0)
    for name, metrics in recall.items():
        rows.setdefault(name, {}).update(_intervals(metrics, planted, weights))
    return {
        "dialogues": len(dialogues),
        "references": all(references),
        "budget": context.budget,
        "planted": planted,
        "rows": rows,
    }


def _as_text(turns: Sequence[Turn]) -> str:
    return "\n".join(f"{turn.speaker}: {turn.text}" for turn in turns)


def _gist_text(sentences: Sequence[Sentence]) -> str:
    """A gist as lines; neighbours by one speaker share a line."""
    lines: list[str] = []
    before = None
    for sentence in sentences:
        if lines and sentence.speaker == before:
            lines[-1] += f" {sentence.text}"
        else:
            lines.append(f"{sentence.speaker}: {sentence.text}" if sentence.speaker else sentence.text)
        before = sentence.speaker
    return "\n".join(lines)


def _baseline(name: str, dialogues: Sequence[Dialogue]) -> Scored:
    start = time.perf_counter()
    texts = [_as_text(BASELINES[name](dialogue.turns)) for dialogue in dialogues]
    return Scored(name, texts, (time.perf_counter() - start) / max(len(dialogues), 1), 0)


def _summaries(
    name: str,
    config: SummaryConfig,
    summarizer: Summarizer,
    dialogues: Sequence[Dialogue],
    context: ContextConfig,
    folder: Path,
) -> Scored:
    """Summaries of whole dialogues; each chunk is on disk before the next is begun."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{config.method}-{context.budget}-{fingerprint(dataclasses.asdict(config))}.jsonl"
    stored = _stored(path)
    missing = [dialogue for dialogue in dialogues if dialogue.content_hash not in stored]
    with progress(f"score {name}", len(dialogues), len(dialogues) - len(missing)) as advance, path.open("ab") as file:
        for first in range(0, len(missing), CHUNK):
            chunk = missing[first : first + CHUNK]
            start = time.perf_counter()
            updates = summarizer.update([Job((), dialogue.turns, 0) for dialogue in chunk])
            seconds = (time.perf_counter() - start) / len(chunk)
            for dialogue, update in zip(chunk, updates, strict=True):
                value = [dialogue.content_hash, _gist_text(update.sentences), seconds, update.fell_back]
                file.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
                stored[dialogue.content_hash] = value
            file.flush()
            os.fsync(file.fileno())
            advance(len(chunk))
    values = [stored[dialogue.content_hash] for dialogue in dialogues]
    seconds = sum(value[2] for value in values) / max(len(values), 1)
    return Scored(name, [value[1] for value in values], seconds, sum(bool(value[3]) for value in values))


def _stored(path: Path) -> dict[str, list[Any]]:
    """What an earlier run left; a line torn by a kill is cut off."""
    stored: dict[str, list[Any]] = {}
    if path.exists():
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                value = json.loads(line)
                stored[value[0]] = value
                whole += len(line)
        os.truncate(path, whole)
    return stored


def _measured(one: Scored, sources: list[str], references: list[str] | None) -> dict[str, dict[str, float]]:
    metrics = rouge(one.texts, references) if references else []
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


def _recall(
    config: SummaryConfig | None, context: ContextConfig, count: Callable[[list[str]], list[int]], number: int
) -> list[Metric]:
    """The share of planted facts that are still in the context, at each of `DISTANCES`; two ways to remember.

    `rolled N`: a memory that rolls. `picked N` (sentences only): the best of everything that was said.
    """
    dialogues = [planted_dialogue(i) for i in range(number)]
    metrics = []
    if config is None:
        window = Window(context.budget, context.budget, context.budget)
        metrics += _share("rolled", dialogues, [_window_texts(one, window, count) for one in dialogues])
        return metrics
    metrics += _share("rolled", dialogues, _rolled_texts(config, context, count, dialogues))
    if config.method in METHODS:
        texts = [_picked_texts(one, config, context, count) for one in dialogues]
        metrics += _share("picked", dialogues, texts)
    return metrics


def _share(how: str, dialogues: Sequence[Planted], texts: Sequence[Sequence[str]]) -> list[Metric]:
    return [
        Metric(
            f"{how} {distance}",
            "% of facts",
            "higher",
            mean(
                [
                    100 * remembered(one.answers, by_distance[i]) / len(one.answers)
                    for one, by_distance in zip(dialogues, texts, strict=True)
                ]
            ),
        )
        for i, distance in enumerate(DISTANCES)
    ]


def _rolled_texts(
    config: SummaryConfig,
    context: ContextConfig,
    count: Callable[[list[str]], list[int]],
    dialogues: Sequence[Planted],
) -> list[list[str]]:
    """What a rolling memory shows at each distance: its gist, and the turns since."""
    window = Window.of_budget(context.budget, context.summary_share)
    memory = partial(RollingMemory, window, lambda turn: count([turn.text])[0] + 1, config.method)
    summarizer = make_summarizer(config, gist_budget(context), count)
    found, _ = chains([one.turns for one in dialogues], memory, summarizer)
    texts = []
    for one, chain in zip(dialogues, found, strict=True):
        seen = [one.planted + distance - 1 for distance in DISTANCES]
        gists = [chain.at(turns) for turns in seen]
        texts.append(
            [
                f"{_gist_text(gist.sentences)}\n{_as_text(one.turns[gist.end : turns])}"
                for gist, turns in zip(gists, seen, strict=True)
            ]
        )
    return texts


def _window_texts(one: Planted, window: Window, count: Callable[[list[str]], list[int]]) -> list[str]:
    """The latest turns that fit the budget, at each distance."""
    texts = []
    for distance in DISTANCES:
        turns = one.turns[: one.planted + distance - 1]
        left, start = window.high, len(turns)
        while start and (cost := count([turns[start - 1].text])[0] + 1) <= left:
            left -= cost
            start -= 1
        texts.append(_as_text(turns[start:]))
    return texts


def _picked_texts(
    one: Planted, config: SummaryConfig, context: ContextConfig, count: Callable[[list[str]], list[int]]
) -> list[str]:
    made = summarize_prefixes(one.turns, config.method, context.budget, count, config.recency)
    texts = []
    for distance in DISTANCES:
        left, chosen = context.budget, []
        for sentence in made.of_prefix(one.planted + distance - 1):
            cost = count([sentence.text])[0] + 1
            if cost <= left:
                chosen.append(sentence)
                left -= cost
        texts.append(_gist_text(chosen))
    return texts


COLUMNS = ("rouge1", "rouge2", "rougeL", "faithful", "length", "refused", "seconds")
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
