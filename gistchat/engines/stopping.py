"""When a reply ends: end tokens, stop texts, length. The same rules for every engine."""

from gistchat.engines.sampling import Sampling
from gistchat.prompts.format import PromptFormat, as_reply

UNFINISHED = "\ufffd"  # what bytes decode to that are not a whole character yet


class PartialReply:
    """A reply as it grows, token by token.

    Attributes:
        ids: its tokens so far, without what ended it.
        text: what is shown: whole characters, without what ended it.
        ended: why the reply is over: "end" (an end token or a new speaker's), "stop" (a stop text), "length".

    Where an engine gives texts beside the tokens, these are its text; else its tokens are decoded.
    """

    def __init__(self, prompt_format: PromptFormat, sampling: Sampling) -> None:
        self.format, self.sampling = prompt_format, sampling
        self.ids: list[int] = []
        self.text = ""
        self.ended = "" if sampling.max_tokens > 0 else "length"
        self._raw: str | None = ""  # what an engine gave as text so far; None where it gives none
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
        text = self._decoded()
        stops = [text.find(stop) for stop in self.sampling.stop if stop in text]
        if stops:
            return self.end("stop", text[: min(stops)].rstrip())
        if len(self.ids) >= self.sampling.max_tokens:
            return self.end("length")
        return self._show(text[: len(text) - self._held(text)])

    def _held(self, text: str) -> int:
        """How many characters at the end wait: unfinished ones, and what may become a stop text."""
        unfinished = len(text) - len(text.rstrip(UNFINISHED))
        begun = [n for stop in self.sampling.stop for n in range(1, len(stop)) if text.endswith(stop[:n])]
        return max([unfinished, *begun])

    def end(self, why: str, text: str | None = None) -> str:
        """End it, with its text or the one that is left of it; returns what can be shown now and could not before."""
        self.ended = why
        return self._show(self._decoded().rstrip(UNFINISHED) if text is None else text)

    def _decoded(self) -> str:
        return self.format.decode_reply(self.ids) if self._raw is None else as_reply(self._raw)

    def _show(self, text: str) -> str:
        new = text[len(self.text) :]
        if new:
            self.text = text
        return new
