"""Examples: a reply to be learned or scored, with the prompt that a strategy makes of what came before it."""

import dataclasses
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gistchat.context.budget import fit_limit
from gistchat.context.strategies import build_context
from gistchat.context.types import Context, Sentence, Summarize
from gistchat.dialogue.turns import Dialogue
from gistchat.errors import UserError
from gistchat.examples.targets import Target
from gistchat.memory.rolling import Chain, RollingMemory, Window, chains, turn_cost
from gistchat.memory.summarizers.make import gist_budget, make_summarizer
from gistchat.memory.summary_store import SummaryStore, Written
from gistchat.memory.workers import token_counter
from gistchat.models.likelihood import IGNORED
from gistchat.prompts.format import PromptFormat
from gistchat.recipe.schema import ContextConfig


@dataclass(frozen=True)
class Example:
    """Token ids of prompt and reply (end token included), and the context that they were made of."""

    target: Target
    context: Context
    prompt: list[int]
    reply: list[int]

    @property
    def ids(self) -> list[int]:
        return self.prompt + self.reply

    @property
    def labels(self) -> list[int]:
        return [IGNORED] * len(self.prompt) + self.reply

    def __len__(self) -> int:
        return len(self.prompt) + len(self.reply)


class TooLong(UserError):
    """Last turn and reply alone exceed the limit, so no context strategy can help."""


class ExampleBuilder:
    """Makes examples of targets: one place for training, validation and evaluation."""

    def __init__(
        self,
        prompt_format: PromptFormat,
        config: ContextConfig,
        store: SummaryStore,
        limit: int,
        donors: Sequence[Dialogue] = (),
        reserve: int = 0,
    ) -> None:
        """`donors` lend summaries to `shuffled`.

        Args:
            limit: tokens of prompt and reply together, at most.
            reserve: tokens kept free after the prompt, where a generated reply may be longer than the gold one.
        """
        self.format, self.config, self.store, self.limit = prompt_format, config, store, limit
        self.reserve = reserve
        self.donors = sorted(donors, key=lambda dialogue: dialogue.id)
        self._chains: dict[str, Chain] = {}

    def build(self, target: Target, strategy: str, budget: int | None = None) -> Example:
        """The example of one target.

        The context gives way where prompt and reply would exceed the limit; the last turn and the reply never do.

        Args:
            budget: tokens before the last turn; None: the recipe's for this strategy.
        Raises:
            TooLong: last turn and reply alone exceed the limit.
        """
        reply = self.format.encode_reply(target.gold)
        dialogue = target.dialogue
        answerer = dialogue.turns[target.turn].speaker
        said = dialogue.turns[: target.turn]
        summarize = self._summarize(target, answerer, strategy)
        rolled = self._chain(dialogue).at if strategy == "rolling" else None

        def encode(budget: int) -> tuple[Context, list[int]]:
            context = build_context(
                said,
                answerer,
                strategy,
                budget,
                self.format,
                summarize,
                self.config.summary_share,
                rolled,
                self.config.max_turns,
            )
            return context, self.format.encode(context)

        if budget is None:
            budget = (self.config.full_limit or self.limit) if strategy == "full" else self.config.budget
        room = self.limit - max(len(reply), self.reserve)
        context, prompt = fit_limit(encode, budget, room)
        if len(prompt) > room:
            needed = len(prompt) + self.limit - room
            raise TooLong(f"{target.id}: last turn and reply take {needed} tokens, {self.limit} is the limit")
        return Example(target, context, prompt, reply)

    def _summarize(self, target: Target, answerer: str, strategy: str) -> Summarize:
        if strategy == "shuffled":
            return self._borrowed(target, answerer)
        if strategy == "gold":
            return _gold(target.dialogue)
        if strategy in ("summary", "hybrid"):
            return self.store.get(target.dialogue).of_prefix
        return lambda turns: []

    def _chain(self, dialogue: Dialogue) -> Chain:
        """The gists that a rolling memory goes through: stored where a model wrote them, else made here."""
        stored = self.store.get(dialogue)
        if isinstance(stored, Written):
            return stored.chain
        key = dialogue.content_hash
        if key not in self._chains:
            window = Window.of_budget(self.config.budget, self.config.summary_share)
            cost = turn_cost(self.format)
            count = token_counter(self.format.tokenizer)
            summarizer = make_summarizer(self.store.config, gist_budget(self.config), count)
            memory = partial(RollingMemory, window, cost, self.store.config.method)
            [self._chains[key]], _ = chains([dialogue.turns], memory, summarizer)
        return self._chains[key]

    def donor(self, target: Target) -> Dialogue:
        """The other dialogue whose summary `shuffled` shows; one at least as long where there is one."""
        others = [dialogue for dialogue in self.donors if dialogue.id != target.dialogue.id]
        if not others:
            raise UserError("the strategy 'shuffled' needs a second dialogue in the split")
        long_enough = [dialogue for dialogue in others if len(dialogue.turns) > target.turn]
        return random.Random(target.id).choice(long_enough or others)

    def _borrowed(self, target: Target, answerer: str) -> Summarize:
        """The donor's summaries, in the target's roles: whoever spoke last in the prefix is the one who answers."""
        donor = self.donor(target)

        def of_prefix(turns: int) -> list[Sentence]:
            length = min(turns, len(donor.turns) - 1)
            roles = {donor.turns[max(length - 1, 0)].speaker: answerer}  # lines that a model wrote are nobody's
            return [
                dataclasses.replace(sentence, speaker=sentence.speaker and roles.get(sentence.speaker, "another"))
                for sentence in self.store.get(donor).of_prefix(length)
            ]

        return of_prefix


def builders_by_budget(
    budgets: Sequence[int],
    prompt_format: PromptFormat,
    config: ContextConfig,
    stores: Mapping[int, SummaryStore],
    limit: int,
    donors: Sequence[Dialogue] = (),
    reserve: int = 0,
) -> dict[int, ExampleBuilder]:
    """A builder for each budget, the recipe's own where none is given; see `ExampleBuilder`."""
    return {
        budget: ExampleBuilder(
            prompt_format, dataclasses.replace(config, budget=budget), stores[budget], limit, donors, reserve
        )
        for budget in budgets or [config.budget]
    }


def _gold(dialogue: Dialogue) -> Summarize:
    """The corpus's own summary or personas, whatever the prefix.

    A reference summary covers the whole dialogue, the reply included: with it, `gold` is a bound, not a competitor.
    """
    lines = dialogue.meta.get("gold")
    if not lines:
        raise UserError(f"the strategy 'gold' needs a summary or personas, and dialogue {dialogue.id} has none")
    sentences = [Sentence(-1, line["speaker"], line["text"]) for line in lines]
    return lambda turns: sentences
