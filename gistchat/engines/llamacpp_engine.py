"""The fast engine: llama.cpp inside this process, of a GGUF file."""

import contextlib
import math
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

from gistchat.engines.engine import ConversationCache, LocalEngine
from gistchat.engines.llama_server import LlamaServer, Progress, Token
from gistchat.engines.sampling import Sampling, not_a_number
from gistchat.engines.stopping import PartialReply
from gistchat.errors import UserError
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.prompt import Prompt

FIXED = {
    "stream": True,
    "cache_prompt": True,  # what a prompt begins with as the one before it did is not read again
    "return_progress": True,  # tells how much of the prompt is read; between two parts of it, it can be cancelled
    "timings_per_token": True,  # tells how many tokens were written, as not all are named
    "samplers": ["temperature", "top_k", "top_p"],  # in the order of transformers
}
SCORED = {"n_probs": 1}
UNNAMED = -1  # the id of a token of which only the text is told


class LlamaCppEngine(LocalEngine):
    """A GGUF model. It keeps what was read of the conversation that it answered last."""

    name = "llamacpp"

    def __init__(self, server: LlamaServer, prompt_format: PromptFormat) -> None:
        super().__init__(prompt_format, server.context)
        self.server = server
        spelled = {number: token for token, number in prompt_format.tokenizer.get_vocab().items()}
        self._stops = {spelled[number]: number for number in prompt_format.stop_ids}

    def stream_prompt(
        self,
        prompt: Prompt,
        sampling: Sampling,
        cache: ConversationCache,
        reply: PartialReply,
        row: int = 0,
        scored: bool = False,
    ) -> Iterator[str]:
        """Let a reply grow to its end; yields each piece of text that can be shown.

        Args:
            scored: whether its tokens' ids and likelihoods are asked for, which takes a tenth longer.

        Raises:
            UserError: no room for the reply, or a rule that llama.cpp has otherwise than gistchat.
        """
        self.require_room(prompt, sampling)
        if fault := rules_fault(sampling.repetition_penalty, sampling.no_repeat_ngram):
            raise UserError(fault)
        cache.begin(len(prompt))
        progress = Progress()
        if not reply.ended:
            request = self._request(prompt, sampling, row) | (SCORED if scored else {})
            with contextlib.closing(self.server.complete(request, progress, cache.cancel)) as tokens:
                yield from self._grow(reply, tokens)
            # Else it came to an end token that the format does not know, or inside a character.
            why = "cancel" if cache.cancel.is_set() else "length" if progress.cut else "end"
            if not reply.ended and (piece := reply.end(why)):
                yield piece
        cache.prefilled, cache.ended = progress.read, reply.ended
        cache.written = progress.written - (progress.written > 0 and reply.ended == "end")

    def _grow(self, reply: PartialReply, tokens: Iterator[Token]) -> Iterator[str]:
        for token in map(self._named, tokens):
            if token.log_likelihood is not None and math.isnan(token.log_likelihood):
                raise not_a_number()
            if piece := reply.add(token.id, token.log_likelihood, token.text):
                yield piece
            if reply.ended:
                break

    def generate_prompts(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        rows: Sequence[int],
        cancel: threading.Event | None = None,
    ) -> list[PartialReply]:
        """A whole reply to each prompt, as many at once as there are slots."""
        replies = [PartialReply(self.format, sampling) for _ in prompts]
        cancel, stopped = cancel or threading.Event(), threading.Event()

        def write(prompt: Prompt, reply: PartialReply, row: int) -> None:
            cache = ConversationCache(cancel=cancel)
            with contextlib.closing(self.stream_prompt(prompt, sampling, cache, reply, row, scored=True)) as pieces:
                for _ in pieces:
                    if stopped.is_set():
                        return

        if self.server.slots == 1:
            for prompt, reply, row in zip(prompts, replies, rows, strict=True):
                write(prompt, reply, row)
            return replies
        with ThreadPoolExecutor(self.server.slots) as threads:
            futures = [threads.submit(write, *one) for one in zip(prompts, replies, rows, strict=True)]
            try:
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            finally:  # where one failed, or somebody pressed Ctrl-C, the others end, too
                stopped.set()
                for future in futures:
                    future.cancel()
        return replies

    def _named(self, token: Token) -> Token:
        """With the id of a token that ends a reply, which shows nothing; other ids do not matter."""
        if token.text in self._stops:
            return token._replace(id=self._stops[token.text], text="")
        return token._replace(id=UNNAMED) if token.id is None else token

    def _request(self, prompt: Prompt, sampling: Sampling, row: int) -> dict[str, Any]:
        return {
            **FIXED,
            "prompt": prompt.ids,
            "preserved_tokens": [*self._stops, *self.format.shown_tokens],  # told by their text, which no other has
            "n_predict": sampling.max_tokens,
            "temperature": sampling.temperature,
            # A greedy reply wants one candidate; to weigh the whole vocabulary for it takes a twelfth of the time.
            "top_k": sampling.top_k if sampling.temperature > 0 else 1,
            "top_p": sampling.top_p,
            "seed": sampling.seed_of(row) % 2**32,
        }


def rules_fault(repetition_penalty: float, no_repeat_ngram: int) -> str:
    """Why llama.cpp cannot keep these rules, as it counts the prompt as part of the reply; empty where it need not."""
    if repetition_penalty != 1 or no_repeat_ngram:
        return "chat.repetition_penalty and chat.no_repeat_ngram are rules that only torch keeps (--engine torch)"
    return ""
