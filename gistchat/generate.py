"""Replies from a model: one after another for chat, many at once for evaluation and files."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import Cache, PreTrainedModel

from gistchat.errors import UserError
from gistchat.likelihood import length_batches
from gistchat.models import model_limit
from gistchat.prompt import PromptFormat
from gistchat.sampling import Chooser, Draft, Sampling
from gistchat.step import make_step, new_cache


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

    def stream(self, prompt: list[int], sampling: Sampling, draft: Draft) -> Iterator[str]:
        """Let a draft grow to its end; yields each piece of text that can be shown."""
        ...

    def fill(self, prompts: Sequence[list[int]], sampling: Sampling, rows: Sequence[int]) -> list[Draft]:
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
        yield from engine.stream(prompt, sampling, Draft(engine.format, sampling))


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


def _best(drafts: Sequence[Draft]) -> Draft:
    """The likeliest by its mean per token, so that short ones are not preferred; an empty one only where all are."""
    return max(drafts, key=lambda draft: (bool(draft.text), draft.likelihood))


class TorchEngine:
    """A model of `transformers`.

    The keys and values of the last streamed prompt and its reply stay: a prompt that goes on from them costs only
    what is new. Prompts of a chat do, until a new summary changes their beginning.
    """

    name = "torch"

    def __init__(self, model: PreTrainedModel, prompt_format: PromptFormat, quick: bool = True) -> None:
        """`quick`: whether weights may be laid out for few rows; not those of a model that trains on."""
        self.model, self.format = model, prompt_format
        self._quick = quick
        self._step, self._single = None, None  # what computes a token, and whether it is laid out for one row
        self.prefilled = 0
        self.prefill_seconds: float | None = None
        self._known: list[int] = []  # the tokens whose keys and values are in the cache
        self._cache = new_cache()

    @torch.inference_mode()
    def stream(self, prompt: list[int], sampling: Sampling, draft: Draft) -> Iterator[str]:
        """Let a draft grow to its end; yields each piece of text that can be shown."""
        self._require_room(prompt, sampling)
        self._forget_all_but(prompt)
        self.lay_out(single=True)
        new = prompt[len(self._known) :]
        self.prefilled = len(new)
        types = self.format.token_types(prompt)
        choose = Chooser(sampling, [0])
        while not draft.ended:
            known, self._known = self._known, []  # so that a forward pass that is broken off leaves nothing behind
            logits = self._forward([new], None, types and [types[-len(new) :]], self._cache, None)
            self._known = known + new
            tokens, scores = choose(logits, torch.tensor([draft.ids], dtype=torch.long))
            if piece := draft.add(tokens[0], scores[0]):
                yield piece
            new, types = tokens, types and types[-1:]  # the reply has the type of the token before it

    def _forget_all_but(self, prompt: list[int]) -> None:
        """Leave in the cache what this prompt begins with; its last token is always read again, for its logits."""
        shared = 0
        for known, wanted in zip(self._known, prompt[:-1], strict=False):
            if known != wanted:
                break
            shared += 1
        if shared:
            self._cache.crop(shared - self._cache.get_seq_length())
        else:
            self._cache = new_cache()
        self._known = self._known[:shared]

    @torch.inference_mode()
    def fill(self, prompts: Sequence[list[int]], sampling: Sampling, rows: Sequence[int]) -> list[Draft]:
        """A whole draft for each prompt of a batch, which is padded on the left; rows that end leave it."""
        for prompt in prompts:
            self._require_room(prompt, sampling)
        drafts = [Draft(self.format, sampling) for _ in prompts]
        places = [i for i, draft in enumerate(drafts) if not draft.ended]  # of the rows that still grow
        choose, cache = Chooser(sampling, rows), new_cache()
        longest, pad = max(map(len, prompts)), self.format.stop_ids[0]
        padding = [longest - len(prompt) for prompt in prompts]
        new = [[pad] * empty + prompt for empty, prompt in zip(padding, prompts, strict=True)]
        types = None
        if self.format.token_types([]) is not None:
            types = [
                [pad] * empty + self.format.token_types(prompt) for empty, prompt in zip(padding, prompts, strict=True)
            ]
        seen = torch.arange(longest) >= torch.tensor(padding)[:, None]
        positions = (seen.long().cumsum(1) - 1).clamp(min=0)
        start, self.prefill_seconds = time.perf_counter(), None
        self.lay_out(single=False)
        while places:
            logits = self._forward(new, seen if max(padding) else None, types, cache, positions)
            self.prefill_seconds = self.prefill_seconds or time.perf_counter() - start
            replies = torch.tensor([drafts[i].ids for i in places], dtype=torch.long)
            tokens, scores = choose(logits, replies)
            for i, token, score in zip(places, tokens, scores, strict=True):
                drafts[i].add(token, score)
            growing = [place for place, i in enumerate(places) if not drafts[i].ended]
            if len(growing) < len(places):
                cache.batch_select_indices(torch.tensor(growing, dtype=torch.long, device=self.model.device))
                choose.keep(growing)
            places = [places[place] for place in growing]
            new = [[tokens[place]] for place in growing]
            types = types and [types[place][-1:] for place in growing]
            seen = torch.nn.functional.pad(seen[growing], (0, 1), value=True)
            positions = positions[growing, -1:] + 1
        return drafts

    def _forward(
        self,
        ids: list[list[int]],
        seen: torch.Tensor | None,
        types: list[list[int]] | None,
        cache: Cache,
        positions: torch.Tensor | None,
    ) -> torch.Tensor:
        """Logits after the last token of each row, of shape (rows, vocabulary)."""
        tokens = torch.tensor(ids, device=self.model.device)
        given = None if types is None else torch.tensor(types, device=tokens.device)
        if seen is not None:
            seen = seen.to(tokens.device)
        if positions is None:
            positions = torch.arange(tokens.shape[1])[None] + cache.get_seq_length()
        positions = positions.to(tokens.device)
        if self._step is not None and tokens.shape[1] == 1:
            return self._step(tokens[:, 0], given if given is None else given[:, 0], positions[:, 0], seen, cache)
        inputs = {} if given is None else {"token_type_ids": given}
        output = self.model(
            input_ids=tokens,
            attention_mask=seen,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **inputs,
        )
        return output.logits[:, -1]

    def lay_out(self, single: bool) -> None:
        """Let the weights lie in memory as single replies, or batches, read them fastest; takes up to a second."""
        if self._quick and self._single != single:
            self._step, self._single = make_step(self.model, single), single

    def _require_room(self, prompt: list[int], sampling: Sampling) -> None:
        limit = model_limit(self.model.config)
        if len(prompt) + sampling.max_tokens > limit:
            raise UserError(
                f"a prompt of {len(prompt)} tokens and a reply of up to {sampling.max_tokens} do not fit: the model "
                f"holds {limit}"
            )
