"""Examples: a reply to be learned or scored, with the prompt that a strategy makes of what came before it."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, TypeVar

from gistchat.context.budget import fit_limit
from gistchat.context.strategies import STRATEGIES, Request, Strategy, build_context
from gistchat.context.types import Context, Gist, OtherSearch, Sentence, Sources, Summary, TokenCosts
from gistchat.dialogue.turns import Dialogue, is_group
from gistchat.errors import UserError
from gistchat.examples.targets import Target
from gistchat.memory.factory import MemoryFactory, divide, make_index
from gistchat.memory.rolling import GistHistory, prompt_costs
from gistchat.memory.standing_facts import StandingFacts
from gistchat.memory.summary_store import PickedOnDemand, SummaryStore, Written
from gistchat.models.likelihood import IGNORED
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.prompt import Prompt
from gistchat.recipe.schema import ContextConfig, MemoryConfig

Builder = TypeVar("Builder")
KEPT_INDICES = 100  # of dialogues, whose replies mostly come one after another


@dataclass(frozen=True)
class Example:
    """The prompt and the ids of the reply (end token included), and the context that the prompt was made of."""

    target: Target
    context: Context
    prompt: Prompt
    reply: list[int]

    @property
    def ids(self) -> list[int]:
        return self.prompt.ids + self.reply

    @property
    def labels(self) -> list[int]:
        return [IGNORED] * len(self.prompt) + self.reply

    @property
    def types(self) -> list[int] | None:
        return self.prompt.followed_by(self.reply).types

    def __len__(self) -> int:
        return len(self.prompt) + len(self.reply)


class TooLong(UserError):
    """Last turn and reply (and the dialogue's preamble) alone exceed the limit, so no context strategy can help."""


class ContextBuilder:
    """Makes what a model is shown before a target, from what is stored: the same for every kind of model."""

    def __init__(
        self,
        costs: TokenCosts,
        length: Callable[[Context], int],
        config: ContextConfig,
        store: SummaryStore | PickedOnDemand,
        limit: int,
        donors: Sequence[Dialogue] = (),
        reserve: int = 0,
        memory: MemoryConfig = MemoryConfig(),
    ) -> None:
        """
        Args:
            costs: what turns and lines take in the model's prompts; `length` is what a whole prompt takes.
            limit: tokens of prompt and reply together, at most.
            donors: dialogues that lend their summaries to `shuffled`.
            reserve: tokens kept free after the prompt, where a generated reply may be longer than the gold one.
            memory: how turns are searched.
        """
        self.costs, self.length = costs, length
        self.config, self.store, self.limit, self.reserve = config, store, limit, reserve
        self.donors = sorted(donors, key=lambda dialogue: dialogue.id)
        self._gists: dict[tuple[str, bool, bool], Callable[[int], Gist]] = {}
        self._index = lru_cache(maxsize=KEPT_INDICES)(lambda dialogue: make_index(memory, dialogue.turns))

    def context(
        self, target: Target, strategy: str, reply: int = 0, budget: int | None = None, group: bool | None = None
    ) -> Context:
        """What the strategy shows before one target.

        The context gives way where prompt and reply would exceed the limit; the last turn and the reply never do.

        Args:
            reply: tokens that the reply takes, at least.
            budget: tokens before the last turn; None: the recipe's for this strategy.
            group: whether names tell speakers apart; None: where more than two speak in the target's dialogue.
        Raises:
            TooLong: last turn and reply alone exceed the limit.
            UserError: the strategy reads what is not stored for this dialogue.
        """
        group = is_group(target.dialogue.turns) if group is None else group
        sources, config = self._sources(target, strategy), self.config

        def build(budget: int) -> Context:
            request = Request(
                target.history,
                target.speaker,
                budget,
                self.costs,
                sources,
                config.summary_share,
                config.max_turns,
                group,
                config.found_share,
            )
            return replace(build_context(strategy, request), preamble=target.dialogue.preamble)

        if budget is None:
            budget = config.budget if STRATEGIES[strategy].budgeted else config.full_limit or self.limit
        room = self.limit - max(reply, self.reserve)
        context = fit_limit(build, self.length, budget, room, self.costs.spent)
        if context.tokens == 0 and (length := self.length(context)) > room:
            needed = length + self.limit - room
            what = "system message, last turn and reply" if context.preamble else "last turn and reply"
            raise TooLong(f"{target.id}: {what} take {needed} tokens, {self.limit} is the limit")
        return context

    def _sources(self, target: Target, strategy: str) -> Sources:
        """What the strategy reads, from what is stored."""
        readers: dict[str, Callable[[Target], Any]] = {
            "summary": lambda target: self.store.get(target.dialogue).of_prefix,
            "rolling_gist": partial(self._rolling_gist, strategy=STRATEGIES[strategy]),
            "other_summary": self._other_summary,
            "gold_summary": _gold_summary,
            "search": lambda target: self._index(target.dialogue),
            "other_search": self._other_search,
        }
        return Sources(**{name: readers[name](target) for name in STRATEGIES[strategy].reads if name in readers})

    def _rolling_gist(self, target: Target, strategy: Strategy) -> Callable[[int], Gist]:
        """The gists that a rolling memory goes through: stored where a model wrote them, else made here.

        Those that a model wrote are made once for all strategies: beside turns that are found, verbatim turns have less
        room than was left them, so that the oldest of them have to be found; and facts come in addition.
        """
        dialogue, shares = target.dialogue, (strategy.searches, strategy.keeps_facts)
        key = dialogue.content_hash, *shares
        if key not in self._gists:
            history = self._history(dialogue, *shares)
            self._gists[key] = history.at
            if strategy.keeps_facts:
                costs = prompt_costs(self.costs, is_group(dialogue.turns))
                room = divide(self.config, costs.heading, *shares)
                self._gists[key] = history.with_facts(StandingFacts(dialogue.turns), room, costs)
        return self._gists[key]

    def _history(self, dialogue: Dialogue, searches: bool, keeps_facts: bool) -> GistHistory:
        if self.store.written and isinstance(stored := self.store.get(dialogue), Written):
            return stored.history
        factory = MemoryFactory.of(self.store.config, self.config, self.costs)
        [history], _ = factory.roll([dialogue.turns], searches, keeps_facts)
        return history

    def donor(self, target: Target) -> Dialogue:
        """The other dialogue whose summary `shuffled` shows; one at least as long where there is one."""
        others = [dialogue for dialogue in self.donors if dialogue.id != target.dialogue.id]
        if not others:
            raise UserError("the strategy 'shuffled' needs a second dialogue in the split")
        long_enough = [dialogue for dialogue in others if len(dialogue.turns) > target.turn]
        return random.Random(target.id).choice(long_enough or others)

    def _other_summary(self, target: Target) -> Summary:
        """The donor's summaries, in the target's roles: whoever spoke last in the prefix is the one who answers."""
        donor = self.donor(target)
        summaries = self.store.get(donor)

        def of_prefix(turns: int) -> list[Sentence]:
            length = min(turns, len(donor.turns) - 1)
            answerer = donor.turns[max(length - 1, 0)].speaker
            return [
                replace(sentence, speaker=_role(sentence.speaker, answerer, target))
                for sentence in summaries.of_prefix(length)
            ]

        return of_prefix

    def _other_search(self, target: Target) -> OtherSearch:
        """The donor's turns in the target's roles: whoever speaks last in it is the one who answers."""
        donor = self.donor(target)
        answerer = donor.turns[min(target.turn, len(donor.turns)) - 1].speaker
        turns = [turn._replace(speaker=_role(turn.speaker, answerer, target)) for turn in donor.turns]
        return OtherSearch(self._index(donor), turns)


class ExampleBuilder(ContextBuilder):
    """Makes examples of targets: one place for training and evaluation of models that run here."""

    def __init__(
        self,
        prompt_format: PromptFormat,
        config: ContextConfig,
        store: SummaryStore | PickedOnDemand,
        limit: int,
        donors: Sequence[Dialogue] = (),
        reserve: int = 0,
        memory: MemoryConfig = MemoryConfig(),
    ) -> None:
        """See `ContextBuilder`; the format says what contexts take."""
        super().__init__(
            prompt_format,
            lambda context: len(prompt_format.encode(context)),
            config,
            store,
            limit,
            donors,
            reserve,
            memory,
        )
        self.format = prompt_format

    def build(self, target: Target, strategy: str, budget: int | None = None, group: bool | None = None) -> Example:
        """The example of one target, with its gold reply; see `ContextBuilder.context`."""
        reply = self.format.encode_reply(target.gold)
        context = self.context(target, strategy, len(reply), budget, group)
        return Example(target, context, self.format.encode(context), reply)


def builders_by_budget(
    budgets: Sequence[int],
    prompt_format: PromptFormat,
    config: ContextConfig,
    stores: Mapping[int, SummaryStore | PickedOnDemand],
    *more: Any,
    memory: MemoryConfig = MemoryConfig(),
) -> dict[int, ExampleBuilder]:
    """A builder for each budget, or for the recipe's own where none is given; see `ExampleBuilder`."""
    return _by_budget(partial(ExampleBuilder, prompt_format, memory=memory), budgets, config, stores, more)


def context_builders(
    budgets: Sequence[int],
    costs: TokenCosts,
    length: Callable[[Context], int],
    config: ContextConfig,
    stores: Mapping[int, SummaryStore | PickedOnDemand],
    *more: Any,
    memory: MemoryConfig = MemoryConfig(),
) -> dict[int, ContextBuilder]:
    """The same for a model whose likelihoods nobody knows; see `ContextBuilder`."""
    return _by_budget(partial(ContextBuilder, costs, length, memory=memory), budgets, config, stores, more)


def _by_budget(
    make: Callable[..., Builder],
    budgets: Sequence[int],
    config: ContextConfig,
    stores: Mapping[int, SummaryStore | PickedOnDemand],
    more: Sequence[Any],
) -> dict[int, Builder]:
    return {
        budget: make(replace(config, budget=budget), stores[budget], *more) for budget in budgets or [config.budget]
    }


def _role(speaker: str, answerer: str, target: Target) -> str:
    """Who a donor's speaker is in the target's dialogue. In a group the others keep their names."""
    if not speaker or speaker == answerer:  # lines that a model wrote are nobody's
        return speaker and target.speaker
    return speaker if is_group(target.dialogue.turns) and speaker != target.speaker else "another"


def _gold_summary(target: Target) -> Summary:
    """The corpus's own summary or personas, whatever the prefix.

    A reference summary covers the whole dialogue, the reply included: with it, `gold` is a bound, not a competitor.
    """
    dialogue = target.dialogue
    if not (lines := dialogue.meta.get("gold")):
        raise UserError(f"the strategy 'gold' needs a summary or personas, and dialogue {dialogue.id} has none")
    sentences = [Sentence(-1, line["speaker"], line["text"]) for line in lines]
    return lambda turns: sentences
