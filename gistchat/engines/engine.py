"""Replies from a model: one after another for chat, many at once for evaluation and files."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gistchat.engines.sampling import Sampling
from gistchat.engines.stopping import PartialReply
from gistchat.models.likelihood import length_batches
from gistchat.prompts.format import PromptFormat


@dataclass(frozen=True)
class Reply:
    """A generated reply.

    Attributes:
        tokens: how many it has, its end token not counted.
        seconds: its share of its batch's wall time.
        prefill: of these, its share of the time until the batch's first token, where the engine tells.
        likelihood: mean log-likelihood per token (nats), the end token included.
        ended: "end" | "stop" | "length".
    """

    text: str
    tokens: int
    seconds: float
    likelihood: float = 0.0
    ended: str = ""
    prefill: float | None = None


class Engine(Protocol):
    """What computes replies.

    Attributes:
        prefilled: tokens of the last streamed prompt that had to be read; the others were in the cache.
        prefill_seconds: time that the last batch's prompts took; None where the engine does not tell.
    """

    name: str
    format: PromptFormat
    prefilled: int
    prefill_seconds: float | None

    def lay_out(self, single: bool) -> None:
        """Get ready for single replies, or for batches, where that takes time; the two below do so themselves."""
        ...

    def stream(self, prompt: list[int], sampling: Sampling, draft: PartialReply) -> Iterator[str]:
        """Let a draft grow to its end; yields each piece of text that can be shown."""
        ...

    def fill(self, prompts: Sequence[list[int]], sampling: Sampling, rows: Sequence[int]) -> list[PartialReply]:
        """A whole draft for each prompt of a batch. `rows`: their numbers, which their seeds come from."""
        ...


def stream_reply(engine: Engine, prompt: list[int], sampling: Sampling) -> Iterator[str]:
    """Yield a reply piece by piece; a piece ends at a whole character, never inside one.

    With `n_best` several replies are drawn first, and the best comes as one piece.
    """
    if sampling.draws > 1:
        drafts = engine.fill([prompt] * sampling.draws, sampling, range(sampling.draws))
        yield _best(drafts).text
    else:
        yield from engine.stream(prompt, sampling, PartialReply(engine.format, sampling))


def generate_replies(
    engine: Engine,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    batch_tokens: int = 4096,
    advance: Callable[[int], None] = lambda count: None,
    rows: Sequence[int] | None = None,
) -> list[Reply]:
    """One reply for each prompt (a list of token ids), in batches of similar length.

    Args:
        rows: their numbers, where these are part of more prompts: seeds come from them.
    """
    replies: list[Reply] = [Reply("", 0, 0.0)] * len(prompts)
    engine.lay_out(single=False)  # not in the time of the first batch
    lengths = [(len(prompt) + sampling.max_tokens) * sampling.draws for prompt in prompts]
    for batch in length_batches(lengths, batch_tokens):
        start = time.perf_counter()
        wanted = [i for i in batch for _ in range(sampling.draws)]
        numbers = [rows[i] if rows else i for i in batch]
        seeds = [number * sampling.draws + draw for number in numbers for draw in range(sampling.draws)]
        drafts = engine.fill([prompts[i] for i in wanted], sampling, seeds)
        seconds = (time.perf_counter() - start) / len(batch)
        prefill = engine.prefill_seconds and engine.prefill_seconds / len(batch)
        for place, i in enumerate(batch):
            best = _best(drafts[place * sampling.draws : (place + 1) * sampling.draws])
            replies[i] = Reply(best.text, len(best.ids), seconds, best.likelihood, best.ended, prefill)
        advance(len(batch))
    return replies


def _best(drafts: Sequence[PartialReply]) -> PartialReply:
    """The likeliest by its mean per token, so that short ones are not preferred; an empty one only where all are."""
    return max(drafts, key=lambda draft: (bool(draft.text), draft.likelihood))
