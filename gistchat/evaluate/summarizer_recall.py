"""How long does a memory keep what was said once? Facts planted early in long dialogues, then searched for."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gistchat.context.budget import pack_latest, pack_ranked
from gistchat.context.types import Sentence
from gistchat.dialogue.turns import Turn
from gistchat.evaluate.bootstrap import Metric, mean
from gistchat.evaluate.planted_dialogues import DISTANCES, Planted, planted_dialogue, remembered
from gistchat.files import fingerprint
from gistchat.memory.factory import MemoryFactory
from gistchat.memory.rolling import Window
from gistchat.memory.summarizers.extractive import METHODS, summarize_prefixes
from gistchat.progress import progress
from gistchat.recipe.schema import ContextConfig, SummaryConfig
from gistchat.resumable import ResumableJsonl

CHUNK = 4  # dialogues whose memories roll side by side: written by a model, one takes minutes
Count = Callable[[list[str]], list[int]]


def recall(config: SummaryConfig, context: ContextConfig, count: Count, folder: Path, number: int) -> list[Metric]:
    """The share of planted facts that are still in the context, at each of `DISTANCES`; two ways to remember.

    `rolled N`: a memory that rolls. `picked N` (sentences only): the best of everything that was said.

    Args:
        folder: where the contexts are kept, so that a run that was stopped goes on.
        number: dialogues.
    """
    dialogues = {str(i): planted_dialogue(i) for i in range(number)}

    def roll(keys: Sequence[str]) -> list[list[str]]:
        return _rolled_texts(config, context, count, [dialogues[key] for key in keys])

    settings = fingerprint([dataclasses.asdict(config), dataclasses.asdict(context)])
    path = folder / f"recall-{config.method}-{settings}.jsonl"
    texts = computed_once(f"planted facts {config.method}", path, list(dialogues), roll, CHUNK)
    metrics = _share("rolled", list(dialogues.values()), texts)
    if config.method in METHODS:
        texts = [_picked_texts(one, config, context, count) for one in dialogues.values()]
        metrics += _share("picked", list(dialogues.values()), texts)
    return metrics


def window_recall(budget: int, count: Count, number: int) -> list[Metric]:
    """The same for the latest turns alone."""
    dialogues = [planted_dialogue(i) for i in range(number)]
    window = Window(budget, budget, budget)
    return _share("rolled", dialogues, [_window_texts(one, window, count) for one in dialogues])


def computed_once(
    title: str, path: Path, keys: Sequence[str], compute: Callable[[Sequence[str]], Sequence[list[Any]]], chunk: int
) -> list[list[Any]]:
    """What `compute` gives for each key, a chunk at a time; what an earlier run left in `path` is not made again."""
    stored = ResumableJsonl(path)
    missing = [key for key in keys if key not in stored]
    with progress(title, len(keys), len(keys) - len(missing)) as advance:
        for first in range(0, len(missing), chunk):
            part = missing[first : first + chunk]
            values = compute(part)
            stored.append({"key": key, "value": value} for key, value in zip(part, values, strict=True))
            advance(len(part))
    return [stored.get(key)["value"] for key in keys]


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
    count: Count,
    dialogues: Sequence[Planted],
) -> list[list[str]]:
    """What a rolling memory shows at each distance: its gist, and the turns since."""
    factory = MemoryFactory(config, context, count, lambda turn: count([turn.text])[0] + 1)
    found, _ = factory.roll([one.turns for one in dialogues])
    texts = []
    for one, chain in zip(dialogues, found, strict=True):
        seen = [one.planted + distance - 1 for distance in DISTANCES]
        gists = [chain.at(turns) for turns in seen]
        texts.append(
            [
                f"{gist_text(gist.sentences)}\n{as_text(one.turns[gist.end : turns])}"
                for gist, turns in zip(gists, seen, strict=True)
            ]
        )
    return texts


def _window_texts(one: Planted, window: Window, count: Count) -> list[str]:
    """The latest turns that fit the budget, at each distance."""
    texts = []
    for distance in DISTANCES:
        turns = one.turns[: one.planted + distance - 1]
        latest, _ = pack_latest(turns, lambda turn: count([turn.text])[0] + 1, window.high)
        texts.append(as_text(latest))
    return texts


def _picked_texts(one: Planted, config: SummaryConfig, context: ContextConfig, count: Count) -> list[str]:
    made = summarize_prefixes(one.turns, config.method, context.budget, count, config.recency)
    texts = []
    for distance in DISTANCES:
        ranked = made.of_prefix(one.planted + distance - 1)
        chosen, _ = pack_ranked(ranked, lambda sentence: count([sentence.text])[0] + 1, context.budget)
        texts.append(gist_text(chosen))
    return texts


def as_text(turns: Sequence[Turn]) -> str:
    return "\n".join(f"{turn.speaker}: {turn.text}" for turn in turns)


def gist_text(sentences: Sequence[Sentence]) -> str:
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
