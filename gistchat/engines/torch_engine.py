"""The reference engine: a model of transformers, with a key-value cache."""

import time
from collections.abc import Iterator, Sequence

import torch
from transformers import Cache, PreTrainedModel

from gistchat.engines.cpu_decode import make_step, new_cache
from gistchat.engines.sampling import Sampling, TokenSampler
from gistchat.engines.stopping import PartialReply
from gistchat.errors import UserError
from gistchat.models.base import model_limit
from gistchat.prompts.format import PromptFormat


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
    def stream(self, prompt: list[int], sampling: Sampling, draft: PartialReply) -> Iterator[str]:
        """Let a draft grow to its end; yields each piece of text that can be shown."""
        self._require_room(prompt, sampling)
        self._forget_all_but(prompt)
        self.lay_out(single=True)
        new = prompt[len(self._known) :]
        self.prefilled = len(new)
        types = self.format.token_types(prompt)
        choose = TokenSampler(sampling, [0])
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
    def fill(self, prompts: Sequence[list[int]], sampling: Sampling, rows: Sequence[int]) -> list[PartialReply]:
        """A whole draft for each prompt of a batch, which is padded on the left; rows that end leave it."""
        for prompt in prompts:
            self._require_room(prompt, sampling)
        drafts = [PartialReply(self.format, sampling) for _ in prompts]
        places = [i for i, draft in enumerate(drafts) if not draft.ended]  # of the rows that still grow
        choose, cache = TokenSampler(sampling, rows), new_cache()
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
