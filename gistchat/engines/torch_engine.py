"""The reference engine: a model of transformers, with a key-value cache."""

import threading
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from gistchat.engines.engine import ConversationCache, LocalEngine
from gistchat.engines.sampling import Sampling
from gistchat.engines.stopping import PartialReply
from gistchat.engines.token_sampler import TokenSampler
from gistchat.models.architecture import STATES, cache_argument
from gistchat.models.base import model_limit
from gistchat.models.key_values import empty_cache, is_divisible
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.prompt import Prompt, common_prefix

PART = 256  # tokens of a prompt that are read at a time: between two of them a reply can be cancelled


class TorchEngine(LocalEngine):
    """A model of `transformers`."""

    name = "torch"

    def __init__(self, model: PreTrainedModel, prompt_format: PromptFormat) -> None:
        super().__init__(prompt_format, model_limit(model.config))
        self.model = model
        self.cache_argument = cache_argument(model.config)

    @torch.inference_mode()
    def stream_prompt(
        self, prompt: Prompt, sampling: Sampling, cache: ConversationCache, reply: PartialReply
    ) -> Iterator[str]:
        """Let a reply grow to its end. A prompt that goes on from what the cache holds costs only what is new."""
        self.require_room(prompt, sampling)
        cache.begin(len(prompt))
        self._keep_shared(cache, prompt.ids)
        new = prompt.ids[len(cache.ids) :]
        cache.prefilled = len(new)
        types = prompt.types and prompt.types[-len(new) :]
        sampler = TokenSampler(sampling, [0])
        while not reply.ended and (logits := self._read(new, types, cache)) is not None:
            tokens, scores = sampler(logits, torch.tensor([reply.ids], dtype=torch.long))
            piece, cache.written = reply.add(tokens[0], scores[0]), len(reply.ids)
            if piece:
                yield piece
            new, types = tokens, types and types[-1:]  # the reply has the type of the token before it
        if not reply.ended and (piece := reply.end("cancel")):
            yield piece
        cache.ended = reply.ended

    def _read(self, new: list[int], types: list[int] | None, cache: ConversationCache) -> Tensor | None:
        """Logits after new tokens, which the cache holds from then on; None where somebody wants no more."""
        logits, part = None, PART if is_divisible(cache.state) else len(new)
        for start in range(0, len(new), part):
            if cache.cancel.is_set():
                return None
            ids = new[start : start + part]
            held, cache.ids = cache.ids, []  # an interrupted forward pass leaves nothing that looks valid
            positions = torch.arange(len(ids))[None] + len(held)
            logits = self._forward([ids], types and [types[start : start + part]], None, cache.state, positions)
            cache.ids = held + ids
        return logits

    def _keep_shared(self, cache: ConversationCache, ids: list[int]) -> None:
        """Leave in the cache what these ids begin with; the last one is always read again, for its logits."""
        shared = common_prefix(cache.ids, ids[:-1])
        if shared and is_divisible(cache.state):
            cache.state.crop(shared - len(cache.ids))
            cache.ids = cache.ids[:shared]
        else:
            cache.state, cache.ids = empty_cache(self.model), []

    @torch.inference_mode()
    def generate_prompts(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        rows: Sequence[int],
        cancel: threading.Event | None = None,
    ) -> list[PartialReply]:
        """A whole reply to each prompt of a batch, which is padded on the left; rows that end leave it."""
        for prompt in prompts:
            self.require_room(prompt, sampling)
        replies = [PartialReply(self.format, sampling) for _ in prompts]
        growing = [i for i, reply in enumerate(replies) if not reply.ended]
        sampler, cache = TokenSampler(sampling, rows), empty_cache(self.model)
        longest, pad = max(map(len, prompts)), self.format.stop_ids[0]
        padding = [longest - len(prompt) for prompt in prompts]
        new = [[pad] * empty + prompt.ids for empty, prompt in zip(padding, prompts, strict=True)]
        types = None
        if self.format.has_types:
            types = [[pad] * empty + prompt.types for empty, prompt in zip(padding, prompts, strict=True)]
        seen = torch.arange(longest) >= torch.tensor(padding)[:, None]
        positions = (seen.long().cumsum(1) - 1).clamp(min=0)
        start, self.prefill_seconds = time.perf_counter(), None
        while growing and not (cancel and cancel.is_set()):
            logits = self._forward(new, types, seen if max(padding) else None, cache, positions)
            self.prefill_seconds = self.prefill_seconds or time.perf_counter() - start
            tokens, scores = sampler(logits, torch.tensor([replies[i].ids for i in growing], dtype=torch.long))
            for i, token, score in zip(growing, tokens, scores, strict=True):
                replies[i].add(token, score)
            left = [place for place, i in enumerate(growing) if not replies[i].ended]
            if len(left) < len(growing):
                cache.reorder_cache(torch.tensor(left, dtype=torch.long, device=self.model.device))
                sampler.keep(left)
            growing = [growing[place] for place in left]
            new = [[tokens[place]] for place in left]
            types = types and [types[place][-1:] for place in left]
            seen = torch.nn.functional.pad(seen[left], (0, 1), value=True)
            positions = positions[left, -1:] + 1
        for i in growing:
            replies[i].end("cancel")
        return replies

    def _forward(
        self, ids: list[list[int]], types: list[list[int]] | None, seen: Tensor | None, cache: Cache, positions: Tensor
    ) -> Tensor:
        """Logits after the last token of each row, of shape (rows, vocabulary)."""
        tokens = torch.tensor(ids, device=self.model.device)
        inputs = {"input_ids": tokens, "position_ids": positions.to(tokens.device), self.cache_argument: cache}
        # Where states are all that is kept, padding is behind them once the prompts are read.
        if seen is not None and (seen.shape == tokens.shape or self.cache_argument != STATES):
            inputs["attention_mask"] = seen.to(tokens.device)
        if types is not None:
            inputs["token_type_ids"] = torch.tensor(types, device=tokens.device)
        return self.model(**inputs, use_cache=True, logits_to_keep=1).logits[:, -1]
