"""Where summaries are made: on the cores of this machine, or over Ray Data on a cluster. Both write the same bytes."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

from gistchat.context.types import Sentence
from gistchat.dialogue.turns import Dialogue
from gistchat.errors import UserError, require
from gistchat.memory.factory import MemoryFactory
from gistchat.memory.summarizers.extractive import METHODS, summarize_prefixes
from gistchat.processes import ordered_map
from gistchat.prompts.make import make_format
from gistchat.prompts.token_count import Count, token_counter
from gistchat.prompts.token_store import Encoder
from gistchat.recipe.schema import ContextConfig, SummaryConfig


class Chunk(NamedTuple):
    """The stored lines of some dialogues, and why summaries among them were refused."""

    lines: bytes
    dialogues: int
    fell_back: list[str]


@dataclass(frozen=True)
class Settings:
    """What summaries depend on."""

    config: SummaryConfig
    context: ContextConfig
    format_name: str
    tokenizer: Any

    def factory(self) -> MemoryFactory:
        """What makes written summaries; loads the model that writes."""
        return MemoryFactory.of(self.config, self.context, make_format(self.format_name, self.tokenizer))


def local(settings: Settings, parts: Sequence[list[Dialogue]]) -> Iterator[Chunk]:
    """On all cores of this machine: a process for each if sentences are picked; a model that writes uses them all."""
    config, budget = settings.config, settings.context.budget
    if config.method not in METHODS:
        yield from map(partial(_written, settings.factory()), parts)
    elif (backend := getattr(settings.tokenizer, "backend_tokenizer", None)) is None:
        yield from map(partial(_extracted, config, budget, token_counter(settings.tokenizer)), parts)
    else:
        yield from ordered_map(partial(_extracted_apart, config, budget, backend.to_str()), parts)


def ray(settings: Settings, parts: Sequence[list[Dialogue]]) -> Iterator[Chunk]:
    """On a Ray cluster: the one that RAY_ADDRESS names, or one that is started here for the time being."""
    require("ray", "ray")
    from gistchat.memory.ray_workers import map_in_order

    if settings.config.method in METHODS:
        backend = getattr(settings.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise UserError("--engine ray needs a tokenizer that is not written in Python")
        work = partial(_extracted_apart, settings.config, settings.context.budget, backend.to_str())
    else:
        work = partial(_written_apart, settings)
    yield from map_in_order(work, parts)


ENGINES = {"local": local, "ray": ray}


@lru_cache(maxsize=1)
def _encoder(tokenizer: str) -> Encoder:
    return Encoder(tokenizer)


def _extracted_apart(config: SummaryConfig, budget: int, tokenizer: str, dialogues: list[Dialogue]) -> Chunk:
    """`_extracted` in another process, which gets the tokenizer as text and keeps it."""
    return _extracted(config, budget, _encoder(tokenizer).lengths, dialogues)


def _extracted(config: SummaryConfig, budget: int, count: Count, dialogues: list[Dialogue]) -> Chunk:
    lines = []
    for dialogue in dialogues:
        summaries = summarize_prefixes(dialogue.turns, config.method, budget, count, config.recency)
        sentences = [[sentence.turn, sentence.text] for sentence in summaries.sentences]
        lines.append(_line(dialogue, sentences=sentences, picks=summaries.picks))
    return Chunk("".join(lines).encode(), len(dialogues), [])


_factories: dict[str, MemoryFactory] = {}


def _written_apart(settings: Settings, dialogues: list[Dialogue]) -> Chunk:
    """`_written` in another process, which loads the model once."""
    key = repr((settings.config, settings.context, settings.format_name))
    if key not in _factories:
        _factories.clear()
        _factories[key] = settings.factory()
    return _written(_factories[key], dialogues)


def _written(factory: MemoryFactory, dialogues: list[Dialogue]) -> Chunk:
    histories, fell_back = factory.roll([dialogue.turns for dialogue in dialogues])
    lines = []
    for dialogue, history in zip(dialogues, histories, strict=True):
        gists = [
            [said, gist.end, gist.digest, gist.made_by, [list(_plain_values(line)) for line in gist.sentences]]
            for said, gist in history.gists
        ]
        lines.append(_line(dialogue, gists=gists))
    return Chunk("".join(lines).encode(), len(dialogues), fell_back)


def _plain_values(sentence: Sentence) -> tuple[int, str, str, tuple[int, ...]]:
    """A sentence of a gist as plain values."""
    return sentence.turn, sentence.speaker, sentence.text, sentence.sources


def _line(dialogue: Dialogue, **values: Any) -> str:
    return json.dumps({"key": dialogue.content_hash, **values}, ensure_ascii=False) + "\n"
