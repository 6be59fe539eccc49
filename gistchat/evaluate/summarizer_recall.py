"""How long does a memory keep what was said once? Facts planted early in long dialogues, then searched for."""

import dataclasses
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from gistchat.context.budget import best_lines, pack_latest
from gistchat.context.types import Sentence
from gistchat.dialogue.turns import Turn
from gistchat.evaluate.bootstrap import Metric, mean
from gistchat.evaluate.planted_dialogues import DISTANCES, Planted, planted_dialogue, remembered
from gistchat.files import fingerprint
from gistchat.memory.factory import MemoryFactory, summary_settings
from gistchat.memory.rolling import Costs
from gistchat.memory.summarizers.extractive import METHODS, summarize_prefixes
from gistchat.progress import progress
from gistchat.prompts.token_count import Count
from gistchat.recipe.schema import ContextConfig, SummaryConfig
from gistchat.resumable import ResumableJsonl

CHUNK = 4  # dialogues whose memories roll side by side: written by a model, one takes minutes


def recall(config: SummaryConfig, context: ContextConfig, count: Count, folder: Path, number: int) -> list[Metric]:
    """The share of planted facts that are still in the context, at each of `DISTANCES`; two ways to remember.

    `rolled N`: a memory that rolls. `picked N` (sentences only): the best of everything that was said.

    Args:
        folder: where the contexts are kept, so that a run that was stopped goes on.
        number: dialogues.
    """
    dialogues = [planted_dialogue(i) for i in range(number)]

    def roll(keys: Sequence[str]) -> list[list[str]]:
        return _rolled_texts(config, context, count, [dialogues[int(key)] for key in keys])

    settings = fingerprint([summary_settings(config), dataclasses.asdict(context)])
    path = folder / f"recall-{config.method}-{settings}.jsonl"
    texts = computed_once(f"planted facts {config.method}", path, list(map(str, range(number))), roll, CHUNK)
    metrics = _share("rolled", dialogues, texts)
    if config.method in METHODS:
        metrics += _share("picked", dialogues, [_picked_texts(talk, config, context, count) for talk in dialogues])
    return metrics


def window_recall(budget: int, count: Count, number: int) -> list[Metric]:
    """The same for the latest turns alone."""
    dialogues = [planted_dialogue(i) for i in range(number)]
    cost = costs(count).turn
    texts = [
        [as_text(pack_latest(talk.turns[:turns], cost, budget)[0]) for turns in _turns_said(talk)] for talk in dialogues
    ]
    return _share("rolled", dialogues, texts)


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
    metrics = []
    for distance, at_distance in zip(DISTANCES, zip(*texts, strict=True), strict=True):
        pairs = zip(dialogues, at_distance, strict=True)
        percents = [100 * remembered(talk.answers, text) / len(talk.answers) for talk, text in pairs]
        metrics.append(Metric(f"{how} {distance}", "% of facts", "higher", mean(percents)))
    return metrics


def _turns_said(talk: Planted) -> list[int]:
    """How many turns there are at each distance."""
    return [talk.planted + distance - 1 for distance in DISTANCES]


def costs(count: Count) -> Costs:
    """Of texts with the names of their speakers, where no prompt format says what they cost."""

    def cost(line: Turn | Sentence) -> int:
        return count([f"{line.speaker}: {line.text}" if line.speaker else line.text])[0] + 1  # and a line break

    return Costs(cost, cost, 0)


def _rolled_texts(
    config: SummaryConfig, context: ContextConfig, count: Count, dialogues: Sequence[Planted]
) -> list[list[str]]:
    """What a rolling memory shows at each distance: its gist, and the turns since."""
    factory = MemoryFactory(config, context, lambda group: costs(count))
    histories, _ = factory.roll([talk.turns for talk in dialogues])
    texts = []
    for talk, history in zip(dialogues, histories, strict=True):
        gists = [(history.at(turns), turns) for turns in _turns_said(talk)]
        texts.append([f"{gist_text(gist.sentences)}\n{as_text(talk.turns[gist.end : turns])}" for gist, turns in gists])
    return texts


def _picked_texts(talk: Planted, config: SummaryConfig, context: ContextConfig, count: Count) -> list[str]:
    summaries = summarize_prefixes(talk.turns, config.method, context.budget, count, config.recency)
    ranked = map(summaries.of_prefix, _turns_said(talk))
    return [gist_text(best_lines(sentences, costs(count).line, context.budget)) for sentences in ranked]


def as_text(turns: Sequence[Turn]) -> str:
    return "\n".join(f"{turn.speaker}: {turn.text}" for turn in turns)


def gist_text(sentences: Sequence[Sentence]) -> str:
    """A gist as lines; neighbours by one speaker share a line."""
    lines = []
    for speaker, neighbours in groupby(sentences, key=lambda sentence: sentence.speaker):
        text = " ".join(sentence.text for sentence in neighbours)
        lines.append(f"{speaker}: {text}" if speaker else text)
    return "\n".join(lines)
