"""When a reply ends: end tokens, stop texts, length. The same rules for every engine."""

from collections.abc import Sequence

from gistchat.engines.sampling import Sampling
from gistchat.progress import say_once
from gistchat.prompts.format import PromptFormat, as_reply
from gistchat.prompts.thoughts import begun_mark, without_thoughts

ALL_THOUGHT = (
    "the model thought and did not answer, so its reply is empty; a higher --max-reply-tokens (in an evaluation "
    "evaluate.max_reply_tokens) may help"
)
UNFINISHED = "\ufffd"  # what bytes decode to that are not a whole character yet


class GrowingReply:
    """A reply as it grows.

    Attributes:
        ids: its tokens so far, without what ended it.
        text: what is shown: whole characters, without what ended it.
        ended: why the reply is over: "end" (an end token or a new speaker's), "stop" (a stop text), "length", or
            "cancel" (somebody wanted no more of it).
        likelihood: mean log-likelihood per token (nats); 0 where the engine does not tell.
        prompt_tokens: of its prompt, where whoever answered counted them.
    """

    ids: Sequence[int]
    likelihood: float = 0.0
    prompt_tokens: int | None = None

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self.text = ""
        self.ended = "" if sampling.max_tokens > 0 else "length"

    def _grow(self, text: str) -> str:
        """Take the text so far; returns what of it can be shown now and could not before."""
        stops = [text.find(stop) for stop in self.sampling.stop if stop in text]
        if stops:
            return self._end("stop", text[: min(stops)].rstrip())
        return self._show(text[: len(text) - self._held(text)].rstrip())

    def _held(self, text: str) -> int:
        """How many characters at the end wait: unfinished ones, and what may become a stop text."""
        unfinished = len(text) - len(text.rstrip(UNFINISHED))
        begun = [n for stop in self.sampling.stop for n in range(1, len(stop)) if text.endswith(stop[:n])]
        return max([unfinished, begun_mark(text), *begun])

    def _end(self, why: str, text: str) -> str:
        self.ended = why
        return self._show(text)

    def _show(self, text: str) -> str:
        new = text[len(self.text) :]
        if new:
            self.text = text
        return new


class PartialReply(GrowingReply):
    """A reply of an engine that writes token by token.

    Where the engine gives texts beside the tokens, these are its text; else its tokens are decoded.
    """

    def __init__(self, prompt_format: PromptFormat, sampling: Sampling) -> None:
        super().__init__(sampling)
        self.format = prompt_format
        self.ids: list[int] = []
        self._raw: str | None = ""  # what the engine gave as text so far; None where it gives none
        self._nats = 0.0
        self._scored = 0

    @property
    def likelihood(self) -> float:
        """Mean log-likelihood per token (nats), the end token included."""
        return self._nats / max(self._scored, 1)

    def add(self, token: int, log_likelihood: float | None = 0.0, text: str | None = None) -> str:
        """Add a token; returns the text that can be shown now and could not before.

        Args:
            log_likelihood: None where the engine does not tell, and then it does not count.
            text: whole characters that it adds, where the engine tells; empty while one is unfinished.
        """
        if log_likelihood is not None:
            self._nats += log_likelihood
            self._scored += 1
        if token in self.format.stop_ids:
            return self.end("end")
        self.ids.append(token)
        self._raw = None if text is None else (self._raw or "") + text
        shown = self._grow(self._decoded())
        if not self.ended and len(self.ids) >= self.sampling.max_tokens:
            shown += self.end("length")
        return shown

    def end(self, why: str) -> str:
        """End it; returns what can be shown now and could not before."""
        shown = self._end(why, self._decoded().rstrip(UNFINISHED))
        if why != "cancel" and self.ids and not self.text and self._thought():
            say_once(ALL_THOUGHT)
        return shown

    def _thought(self) -> bool:
        text = self.format.tokenizer.decode(self.ids) if self._raw is None else self._raw
        return without_thoughts(text) != text

    def _decoded(self) -> str:
        return self.format.decode_reply(self.ids) if self._raw is None else as_reply(self._raw)
