"""Replies from an engine: one after another for chat, many at once for evaluation and files.

An engine is asked at the level of a `Context`. One that runs here encodes it with the checkpoint's prompt format; one
behind an address makes messages of it.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gistchat.context.types import Context, TokenCosts
from gistchat.engines.sampling import Sampling
from gistchat.engines.stopping import GrowingReply, PartialReply
from gistchat.errors import UserError
from gistchat.processes import length_batches
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.prompt import Prompt
from gistchat.prompts.token_count import token_counter


@dataclass(frozen=True)
class Reply:
    """A generated reply."""

    text: str
    tokens: int  # its end token not counted
    seconds: float  # its share of its batch's wall time
    likelihood: float = 0.0  # mean log-likelihood per token (nats), the end token included
    ended: str = ""  # as in `GrowingReply`
    prefill: float | None = None  # its share of the time until the batch's first token, where the engine tells
    prompt_tokens: int | None = None  # as whoever answered counted them


@dataclass
class ConversationCache:
    """What an engine keeps of one conversation from reply to reply.

    It belongs to the conversation: an engine keeps none itself, so many conversations can share its weights.

    Attributes:
        ids: tokens whose keys and values are kept.
        state: the keys and values, as the engine holds them.
        prompt: tokens of the last prompt.
        prefilled: how many of them had to be read; the others were here.
        written: tokens of the last reply, its end token not counted.
        ended: why the last reply is over, as in `GrowingReply`; empty where it broke off.
        cancel: set by any thread, it ends the reply that is being written, or whose prompt is read, within two steps of
            the engine. It stays set, so that no later reply begins: whoever wants one clears it, or gives a new one.
    """

    ids: list[int] = field(default_factory=list)
    state: Any = None
    prompt: int = 0
    prefilled: int = 0
    written: int = 0
    ended: str = ""
    cancel: threading.Event = field(default_factory=threading.Event)

    def begin(self, prompt: int) -> None:
        """Another reply begins, to a prompt of so many tokens."""
        self.prompt, self.written, self.ended = prompt, 0, ""


class PromptMeter(ABC):
    """What counts the tokens of a model's prompts; it need not answer.

    Attributes:
        limit: tokens that a prompt and its reply may have together.
        costs: what turns and lines take in its prompts.
    """

    limit: int
    costs: TokenCosts

    @abstractmethod
    def count_tokens(self, context: Context) -> int:
        """Tokens of the prompt that it makes of a context."""

    @abstractmethod
    def count(self, texts: list[str]) -> list[int]:
        """Tokens of each text, without anything around it."""

    @abstractmethod
    def end_of(self, text: str, tokens: int) -> str:
        """The end of a text, of about so many tokens and not more."""


class Engine(PromptMeter):
    """What computes replies.

    Attributes:
        knows_likelihood: whether it tells how likely its replies are.
        prefill_seconds: time that the last batch's prompts took; None where the engine does not tell.
    """

    name: str
    knows_likelihood: bool = True
    prefill_seconds: float | None = None

    @abstractmethod
    def prompt_text(self, context: Context) -> str:
        """What it makes of a context, to be read by people."""

    def told_first(self, context: Context) -> str:
        """What the model is told before all else; empty for nothing."""
        return context.preamble

    @abstractmethod
    def stream(self, context: Context, sampling: Sampling, cache: ConversationCache) -> Iterator[str]:
        """Yield a reply piece by piece; a piece ends at a whole character, never inside one."""

    @abstractmethod
    def generate_batch(
        self,
        contexts: Sequence[Context],
        sampling: Sampling,
        rows: Sequence[int],
        cancel: threading.Event | None = None,
    ) -> list[GrowingReply]:
        """A whole reply to each context.

        Args:
            rows: their numbers, which their seeds come from.
            cancel: set by any thread, it ends all of them as they are.
        """


class LocalEngine(Engine):
    """An engine that runs here: contexts become prompts by the checkpoint's format."""

    def __init__(self, prompt_format: PromptFormat, limit: int) -> None:
        self.format, self.limit = prompt_format, limit
        self.costs = prompt_format
        self._count = token_counter(prompt_format.tokenizer)

    def count_tokens(self, context: Context) -> int:
        return len(self.format.encode(context))

    def count(self, texts: list[str]) -> list[int]:
        return self._count(texts)

    def end_of(self, text: str, tokens: int) -> str:
        ids = self.format.encode_text(text)
        # Cut elsewhere than where its pieces begin, a text may have a few tokens more.
        return self.format.tokenizer.decode(ids[max(len(ids) - max(tokens - 8, 1), 0) :])

    def prompt_text(self, context: Context) -> str:
        return self.format.tokenizer.decode(self.format.encode(context).ids)

    def told_first(self, context: Context) -> str:
        return "" if self.format.preamble is None else context.preamble or self.format.preamble

    def stream(self, context: Context, sampling: Sampling, cache: ConversationCache) -> Iterator[str]:
        prompt = self.format.encode(context)
        return self.stream_prompt(prompt, sampling, cache, PartialReply(self.format, sampling))

    def generate_batch(
        self,
        contexts: Sequence[Context],
        sampling: Sampling,
        rows: Sequence[int],
        cancel: threading.Event | None = None,
    ) -> list[GrowingReply]:
        return self.generate_prompts([self.format.encode(context) for context in contexts], sampling, rows, cancel)

    @abstractmethod
    def stream_prompt(
        self, prompt: Prompt, sampling: Sampling, cache: ConversationCache, reply: PartialReply
    ) -> Iterator[str]:
        """Let a reply grow to its end; yields each piece of text that can be shown."""

    @abstractmethod
    def generate_prompts(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        rows: Sequence[int],
        cancel: threading.Event | None = None,
    ) -> list[PartialReply]:
        """A whole reply to each prompt of a batch; see `generate_batch`."""

    def require_room(self, prompt: Prompt, sampling: Sampling) -> None:
        """Raises UserError where the longest reply would not fit behind the prompt."""
        if len(prompt) + sampling.max_tokens > self.limit:
            raise UserError(
                f"a prompt of {len(prompt)} tokens and a reply of up to {sampling.max_tokens} do not fit: the model "
                f"holds {self.limit}"
            )


def stream_reply(engine: Engine, context: Context, sampling: Sampling, cache: ConversationCache) -> Iterator[str]:
    """Yield a reply piece by piece. With `n_best` several are drawn first, and the best comes as one piece."""
    if sampling.draws > 1:
        cache.begin(engine.count_tokens(context))
        rows = range(sampling.draws)
        best = _best(engine.generate_batch([context] * sampling.draws, sampling, rows, cache.cancel))
        cache.prefilled = cache.prompt
        cache.written, cache.ended = len(best.ids), best.ended
        yield best.text
    else:
        yield from engine.stream(context, sampling, cache)


def generate_replies(
    engine: Engine,
    contexts: Sequence[Context],
    sampling: Sampling,
    batch_tokens: int = 4096,
    advance: Callable[[int], None] = lambda count: None,
    rows: Sequence[int] | None = None,
) -> list[Reply]:
    """One reply to each context, in batches of similar length.

    Args:
        batch_tokens: tokens of a batch, at most, padding and replies included.
        rows: their numbers, where these are part of more contexts: seeds come from them.
    """
    replies: list[Reply] = [Reply("", 0, 0.0)] * len(contexts)
    draws = sampling.draws
    lengths = [(engine.count_tokens(context) + sampling.max_tokens) * draws for context in contexts]
    for batch in length_batches(lengths, batch_tokens):
        start = time.perf_counter()
        repeated = [contexts[i] for i in batch for _ in range(draws)]
        numbers = [rows[i] if rows else i for i in batch]
        seeds = [number * draws + draw for number in numbers for draw in range(draws)]
        drawn = engine.generate_batch(repeated, sampling, seeds)
        seconds = (time.perf_counter() - start) / len(batch)
        prefill = engine.prefill_seconds and engine.prefill_seconds / len(batch)
        for place, i in enumerate(batch):
            best = _best(drawn[place * draws : (place + 1) * draws])
            replies[i] = Reply(
                best.text, len(best.ids), seconds, best.likelihood, best.ended, prefill, best.prompt_tokens
            )
        advance(len(batch))
    return replies


def _best(replies: Sequence[GrowingReply]) -> GrowingReply:
    """The likeliest by its mean per token, so that short ones are not preferred; an empty one only where all are."""
    return max(replies, key=lambda reply: (bool(reply.text), reply.likelihood))
