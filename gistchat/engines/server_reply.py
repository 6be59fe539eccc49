"""A reply from a server as it grows: what of it is shown, and when it is over."""

from collections.abc import Sequence

from gistchat.dialogue.visible import has_text
from gistchat.engines.openai_answer import CHARACTERS_PER_TOKEN, NoText
from gistchat.engines.openai_stream import Delta, Usage
from gistchat.engines.sampling import Sampling
from gistchat.engines.server_tokens import TokenMeter
from gistchat.engines.stopping import GrowingReply
from gistchat.errors import UserError, first_line
from gistchat.printable import printable
from gistchat.prompts.thoughts import after_thoughts


class ServerReply(GrowingReply):
    """Texts come from a server, not tokens.

    Attributes:
        usage: what the server counted; None before the end, or where it does not tell.
        is_whole: whether the server ended it, and not a rule here.
    """

    def __init__(self, sampling: Sampling, meter: TokenMeter) -> None:
        super().__init__(sampling)
        self.usage: Usage | None = None
        self._meter = meter
        self._came, self._finish, self._refusal = "", "", ""
        self._pieces, self._counted_at, self._thought = 0, 0, False

    @property
    def is_whole(self) -> bool:
        return bool(self._finish)

    @property
    def prompt_tokens(self) -> int | None:
        """As the server counted them; None where it does not tell."""
        return self.usage.prompt if self.usage else None

    @property
    def ids(self) -> Sequence[int]:
        """As many as it has tokens; a server does not say which."""
        if self.usage and not self._thought and not self._meter.is_exact:
            return range(self.usage.reply)
        return range(self._meter.count([self.text])[0])

    def add(self, delta: Delta) -> str:
        """Add a piece; returns the text that can be shown now and could not before."""
        self.usage = delta.usage or self.usage
        self._finish = delta.finish or self._finish
        self._refusal += delta.refusal
        self._thought |= delta.thought
        if not delta.text or self.ended:
            return ""
        self._came += delta.text[: self.sampling.max_tokens * CHARACTERS_PER_TOKEN]
        self._pieces += 1
        return self._grow_to(self._said())

    def finish(self) -> str:
        """Nothing more comes. Returns what waited until now.

        Raises:
            NoText: the model, or a filter, refused.
            UserError: it said nothing, as its tokens went into thoughts.
        """
        if self.ended:
            return ""
        shown = self._grow(self._said())  # a stop text may have come last
        if not self.ended:
            shown += self._end("length" if self._finish == "length" else "end", self._said())
        if self._finish == "content_filter" and not self.text:
            raise NoText("a filter of the endpoint withheld the answer")
        if self._refusal and not self.text:
            raise NoText(f"the model refused ({printable(first_line(self._refusal))[:80]})")
        if not self.text and (self._thought or self._finish == "length"):
            raise UserError(
                f"the answer ended before it said anything, after {self.sampling.max_tokens} tokens; does the model "
                "think before it speaks? Raise --max-reply-tokens (in an evaluation evaluate.max_reply_tokens), or "
                "turn its thinking off"
            )
        return shown

    def end(self, why: str) -> str:
        """Nobody wants more of it, unless it is over. Returns what waited until now."""
        return "" if self.ended else self._end(why, self._said())

    def _grow_to(self, text: str) -> str:
        """Show what can be; end the reply where a server lets it grow beyond its length."""
        most = self.sampling.max_tokens
        # Most servers send a token at a time, so few pieces need no counting, and a token has a character.
        if self._pieces > most and len(text) >= self._counted_at:
            left = most - self._meter.least(text)
            if left < 0:
                return self._end("length", self.text)
            self._counted_at = len(text) + left
        return self._grow(text)

    def _said(self) -> str:
        """What came, without thoughts."""
        text = after_thoughts(self._came)
        self._thought |= text != self._came
        text = text.strip()
        return text if has_text(text) else ""
