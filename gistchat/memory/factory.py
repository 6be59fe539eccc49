"""From settings to a summarizer, memories with it, and indices of turns: the one place where they are put together."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from gistchat import trusted_hosts
from gistchat.context.budget import gist_part, without_share
from gistchat.context.types import TokenCosts
from gistchat.dialogue.turns import Turn, is_group
from gistchat.errors import UserError, require
from gistchat.memory.rolling import (
    Costs,
    GistHistory,
    RollingMemory,
    Room,
    prompt_costs,
    roll_dialogues,
    summarize_beginnings,
)
from gistchat.memory.summarizer import Job, Summarizer, Update
from gistchat.memory.summarizers.extractive import METHODS, Extractor
from gistchat.memory.turn_index import TurnIndex
from gistchat.memory.turn_vectors import TurnVectors
from gistchat.memory.vector_cache import VectorCache
from gistchat.models.cache import cache_dir
from gistchat.recipe.schema import ContextConfig, MemoryConfig, Recipe, SummaryConfig

if TYPE_CHECKING:
    from gistchat.memory.encoder import Encoder, Reranker

PAPERS_MODEL = "philschmid/bart-large-cnn-samsum"
PACKAGED_MODEL = "smollm2"


class MemoryFactory:
    """Makes rolling memories that share a summarizer: a model that writes is loaded once."""

    def __init__(self, summary: SummaryConfig, context: ContextConfig, costs: Callable[[bool], Costs]) -> None:
        """`costs`: of a prompt, by whether a group speaks. Raises UserError as `make_summarizer` does."""
        self.context, self.costs, self.method = context, costs, summary.method
        self.before_each_reply = summary.before_each_reply
        room = self.room()
        self.budget = room.of_all_lines() if self.before_each_reply else room.of_lines(0)  # of a summary's lines
        self.summarizer = make_summarizer(summary, self.budget)

    @classmethod
    def of(cls, summary: SummaryConfig, context: ContextConfig, costs: TokenCosts) -> "MemoryFactory":
        """Of a recipe's sections; a prompt format, or an engine's costs, say what turns and lines take."""
        return cls(summary, context, partial(prompt_costs, costs))

    def room(self, searches: bool = False, keeps_facts: bool = False) -> Room:
        """How gist and latest turns share the budget; see `divide`."""
        return divide(self.context, self.costs(False).heading, searches, keeps_facts)

    def new_memory(self, group: bool = False, searches: bool = False, keeps_facts: bool = False) -> RollingMemory:
        """A memory in which nothing was said; of a group, whose lines begin with names."""
        return RollingMemory(self.room(searches, keeps_facts), self.costs(group), self.method)

    def roll(
        self, dialogues: Sequence[Sequence[Turn]], searches: bool = False, keeps_facts: bool = False
    ) -> tuple[list[GistHistory], list[str]]:
        """The gists that each dialogue's memory goes through; see `roll_dialogues`."""
        memories = [self.new_memory(is_group(turns), searches, keeps_facts) for turns in dialogues]
        return roll_dialogues(dialogues, memories, self.summarizer)

    def histories(self, dialogues: Sequence[Sequence[Turn]]) -> tuple[list[GistHistory], list[str]]:
        """The gists to train and evaluate with: as a memory rolls, or one of every beginning; see `roll_dialogues`."""
        if not self.before_each_reply:
            return self.roll(dialogues)
        jobs = [
            [self.job(turns[:end], group=is_group(turns)) for end in range(1, len(turns) - 1)] for turns in dialogues
        ]
        return summarize_beginnings(jobs, self.method, self.summarizer)

    def summary_of(self, turns: Sequence[Turn], first: int = 0, group: bool = False) -> Update:
        """A summary of these turns alone; where none can be had, sentences are picked, and the update says why."""
        job = self.job(turns, first, group)
        try:
            [update] = self.summarizer.update([job])
            return update
        except UserError as error:
            [picked] = Extractor("textrank").update([job])
            return Update(picked.sentences, str(error))

    def job(self, turns: Sequence[Turn], first: int = 0, group: bool = False) -> Job:
        """To summarise these turns, counted from `first`, without a gist of those before."""
        return Job((), tuple(turns), first, self.budget, self.costs(group).line)


def divide(config: ContextConfig, heading: int, searches: bool = False, keeps_facts: bool = False) -> Room:
    """How gist and latest turns share a budget; or, under a strategy that `searches`, what found turns leave of it."""
    budget = without_share(config.budget, config.found_share) if searches else config.budget
    return Room(budget, gist_part(budget, config.summary_share, heading), heading, keeps_facts)


def allow_endpoint(config: SummaryConfig) -> None:
    """Settle, before anything starts, whether the endpoint that `make_summarizer` would use may get the turns.

    Raises UserError where it may not.
    """
    if config.method == "endpoint":
        trusted_hosts.allow(config.url, "summaries")


def make_summarizer(config: SummaryConfig, budget: int) -> Summarizer:
    """The summarizer that the settings name.

    Args:
        budget: tokens of a gist, at most, for a model that writes them; each job says what it may have.
    Raises:
        UserError: a model that cannot be had, a missing package, a prompt that cannot be used.
    """
    if config.method in METHODS:
        return Extractor(config.method, config.recency)
    # Imported here, as these load what picking sentences does not need.
    from gistchat.memory.summarizers.abstractive import Abstractive

    if config.method == "seq2seq":
        from gistchat.memory.summarizers.seq2seq import Seq2SeqWriter

        writer = Seq2SeqWriter(config.model or PAPERS_MODEL, budget)
    elif config.method == "llm":
        from gistchat.memory.summarizers.language_model import LocalWriter

        writer = LocalWriter(config.model or PACKAGED_MODEL, budget, config.prompt)
    else:
        from gistchat.memory.summarizers.endpoint import EndpointWriter

        writer = EndpointWriter(config.url, config.model, budget, config.prompt)
    return Abstractive(writer, Extractor("textrank"), budget)


def make_index(config: MemoryConfig, turns: Sequence[Turn] = ()) -> TurnIndex:
    """An index of turns, searched as the settings say; models are loaded once and shared.

    Raises:
        UserError: a model that cannot be had, or the extra `dense` is missing.
    """
    vectors = None
    if config.encoder:
        encoder = _encoder(config.encoder)
        kept = cache_dir() / "vectors" / f"{encoder.identity}.sqlite3"
        vectors = TurnVectors(encoder, VectorCache(kept, encoder.width) if config.keep_vectors else None)
    reranker = _reranker(config.reranker) if config.reranker else None
    return TurnIndex(turns, vectors, config.encoder_weight, reranker)


def summary_settings(config: SummaryConfig) -> dict[str, Any]:
    """What summaries depend on, for fingerprints: see `newer_settings`."""
    settings = asdict(config)
    del settings["refresh"]
    return settings | newer_settings(config)


def newer_settings(config: SummaryConfig) -> dict[str, Any]:
    """What has come to the settings since; nothing where it is as always, so that older fingerprints stay good."""
    lengths = {"lengths": "the model's"} if config.method == "seq2seq" else {}  # they were the news configuration's
    return lengths | ({"refresh": "reply"} if config.before_each_reply else {})


def search_settings(recipe: Recipe) -> dict[str, Any]:
    """How turns are searched, for fingerprints; nothing where it is as always, so that older fingerprints stay good."""
    settings, usual = (
        {**asdict(of.memory), "found_share": of.context.found_share, "keep_vectors": None} for of in (recipe, Recipe())
    )
    return {"search": settings} if settings != usual else {}


@lru_cache(maxsize=2)
def _encoder(name: str) -> "Encoder":
    require("sentence_transformers", "dense")
    from gistchat.memory.encoder import load_encoder

    return load_encoder(name)


@lru_cache(maxsize=2)
def _reranker(name: str) -> "Reranker":
    require("sentence_transformers", "dense")
    from gistchat.memory.encoder import load_reranker

    return load_reranker(name)
