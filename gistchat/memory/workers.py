"""Where summaries are made: on the cores of this machine, or over Ray Data on a cluster. Both write the same bytes."""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple

from gistchat import trusted_hosts
from gistchat.dialogue.turns import Dialogue
from gistchat.errors import UserError, require
from gistchat.memory.factory import MemoryFactory, allow_endpoint
from gistchat.memory.summarizers.extractive import ALL_RANKED, METHODS, summarize_prefixes
from gistchat.processes import ordered_map
from gistchat.prompts.formats import make_format
from gistchat.prompts.token_count import Count, token_counter
from gistchat.prompts.token_store import Encoder
from gistchat.recipe.schema import ContextConfig, SummaryConfig


class Chunk(NamedTuple):
    """What was made of some dialogues."""

    lines: bytes  # as they are stored
    refused: list[str]  # why summaries among them were
    long: int = 0  # dialogues of more sentences than are all ranked


@dataclass(frozen=True)
class Settings:
    """What summaries depend on."""

    config: SummaryConfig
    context: ContextConfig
    format_name: str
    tokenizer: Any = field(compare=False)  # another object each time that it arrives in a worker

    def factory(self) -> MemoryFactory:
        """What makes written summaries; loads the model that writes."""
        return MemoryFactory.of(self.config, self.context, make_format(self.format_name, self.tokenizer))


def local(settings: Settings, parts: Sequence[list[Dialogue]]) -> Iterator[Chunk]:
    """On all cores of this machine: a process for each if sentences are picked; a model that writes uses them all."""
    config, budget = settings.config, settings.context.budget
    if config.method not in METHODS:
        return map(partial(_written, settings.factory()), parts)
    if (backend := getattr(settings.tokenizer, "backend_tokenizer", None)) is None:
        return map(partial(_extracted, config, budget, token_counter(settings.tokenizer)), parts)
    return ordered_map(partial(_extracted_apart, config, budget, backend.to_str()), parts)


def ray(settings: Settings, parts: Sequence[list[Dialogue]]) -> Iterator[Chunk]:
    """On a Ray cluster: the one that RAY_ADDRESS names, or one that is started here for the time being."""
    if settings.config.method not in METHODS:
        allow_endpoint(settings.config)
        return map_in_order(partial(_written_apart, settings, trusted_hosts.trusted()), parts)
    if (backend := getattr(settings.tokenizer, "backend_tokenizer", None)) is None:
        raise UserError("--engine ray needs a tokenizer that is not written in Python")
    return map_in_order(partial(_extracted_apart, settings.config, settings.context.budget, backend.to_str()), parts)


ENGINES = {"local": local, "ray": ray}


def map_in_order(work: Callable[[Any], Any], parts: Sequence[Any]) -> Iterator[Any]:
    """`work` of each part by Ray Data, in order. A part whose worker dies is given to another.

    Args:
        work: picklable, as are its argument and result.
    Raises:
        UserError: as a worker raised it; package ray is missing.
    """
    ray = require("ray", "ray")

    def attempt(row: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"result": work(row["part"]), "problem": ""}
        except UserError as error:
            return {"result": None, "problem": str(error)}

    started = not ray.is_initialized()
    if started:
        # Without an address of a cluster (RAY_ADDRESS), one with the cores of this machine.
        ray.init(logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
    try:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        dataset = ray.data.from_items([{"part": part} for part in parts], override_num_blocks=len(parts))
        for row in dataset.map(attempt, max_retries=-1).iter_rows():
            if row["problem"]:
                raise UserError(row["problem"])
            yield row["result"]
    finally:
        if started:
            with contextlib.suppress(Exception):
                ray.shutdown()


_encoder = lru_cache(maxsize=1)(Encoder)


def _extracted_apart(config: SummaryConfig, budget: int, tokenizer: str, dialogues: list[Dialogue]) -> Chunk:
    """`_extracted` in another process, which gets the tokenizer as text and keeps it."""
    return _extracted(config, budget, _encoder(tokenizer).lengths, dialogues)


def _extracted(config: SummaryConfig, budget: int, count: Count, dialogues: list[Dialogue]) -> Chunk:
    lines, long = [], 0
    for dialogue in dialogues:
        summaries = summarize_prefixes(dialogue.turns, config.method, budget, count, config.recency)
        sentences = [[sentence.turn, sentence.text] for sentence in summaries.sentences]
        lines.append(_line(dialogue, sentences=sentences, picks=summaries.picks))
        long += len(sentences) > ALL_RANKED
    return Chunk(b"".join(lines), [], long)


_factory = lru_cache(maxsize=1)(Settings.factory)


def _written_apart(settings: Settings, trusted: frozenset[str], dialogues: list[Dialogue]) -> Chunk:
    """`_written` in another process, which loads the model once, and trusts the same servers."""
    for server in trusted:
        trusted_hosts.trust(server)
    return _written(_factory(settings), dialogues)


def _written(factory: MemoryFactory, dialogues: list[Dialogue]) -> Chunk:
    histories, fell_back = factory.histories([dialogue.turns for dialogue in dialogues])
    lines = []
    for dialogue, history in zip(dialogues, histories, strict=True):
        gists = [
            [said, gist.end, gist.digest, gist.made_by, [astuple(sentence) for sentence in gist.sentences]]
            for said, gist in history.gists
        ]
        lines.append(_line(dialogue, gists=gists))
    return Chunk(b"".join(lines), fell_back)


def _line(dialogue: Dialogue, **values: Any) -> bytes:
    return (json.dumps({"key": dialogue.content_hash, **values}, ensure_ascii=False) + "\n").encode()
