"""What every prompt format does: Context -> Prompt. Training, evaluation and chat all come through here."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache

from gistchat.context.types import Context, GistLine, RoleTurn
from gistchat.dialogue.visible import has_text
from gistchat.errors import UserError
from gistchat.prompts.prompt import Prompt
from gistchat.prompts.thoughts import Decoder, without_thoughts
from gistchat.prompts.token_store import TokenStore
from gistchat.prompts.tokenizer import Tokenizer
from gistchat.prompts.wording import render_line


class PromptFormat(ABC):
    """Turns a context into the ids that the model reads, and a reply into the ids that it should write.

    Text is always encoded apart from the control tokens, so nothing that a person types becomes one.
    """

    name: str
    stop_ids: list[int]  # any of these ends a reply; the first is the one that is learned
    preamble: str | None = ""  # what a model is told first, unless a dialogue has its own; None: no place for it
    has_types = False  # whether prompts have GPT-2's token types
    control_ids: Sequence[int] = ()  # the format's own tokens; LoRA trains their rows
    added_ids: Sequence[int] = ()  # those of them that the tokenizer lacked, whose rows have no values yet
    stored: TokenStore | dict[str, list[int]] | None = None  # ids of texts that were encoded before

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._count = lru_cache(maxsize=100_000)(lambda text: len(self.encode_text(text)))
        self._decode = Decoder(tokenizer)

    def encode_text(self, text: str) -> list[int]:
        """Ids of plain text; what looks like a control token is spelled out in ordinary pieces."""
        if self.stored and (ids := self.stored.get(text)) is not None:
            return ids
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    def encode_ahead(self, texts: Sequence[str]) -> None:
        """Keep the ids of texts that will be asked for: all at once take a third of the time."""
        ids = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
        known = self.stored if isinstance(self.stored, dict) else {}
        self.stored = known | dict(zip(texts, ids, strict=True))

    def encode_reply(self, text: str) -> list[int]:
        """Ids of a reply and the token that ends it; these are the positions with a label."""
        return [*self.encode_text(text), self.stop_ids[0]]

    def decode_reply(self, ids: Sequence[int]) -> str:
        """The text of generated ids, without control tokens and thoughts; a reply that shows nothing is empty."""
        return as_reply(self._decode(ids))

    @property
    def shown_tokens(self) -> list[str]:
        """Control tokens around thoughts: who is given a reply as text has to see them."""
        return list(self._decode.marks.values())

    def spent(self, context: Context) -> int:
        """Tokens that all before the last turn takes in the prompt; the sum of the costs, where these are exact."""
        return context.tokens

    def line_cost(self, line: GistLine) -> int:
        return self._count(render_line(line)) + 1  # and a line break

    @abstractmethod
    def encode(self, context: Context) -> Prompt:
        """The prompt, up to where the reply begins."""

    @abstractmethod
    def turn_cost(self, turn: RoleTurn) -> int:
        """Tokens of a verbatim turn, its wrapping included."""

    @abstractmethod
    def gist_cost(self) -> int:
        """Tokens around the lines of a gist."""

    @abstractmethod
    def found_cost(self) -> int:
        """Tokens around the lines of turns that were found."""


def as_reply(text: str) -> str:
    """Generated text without thoughts, and white space around it; a reply that shows nothing is empty."""
    text = without_thoughts(text).strip()
    return text if has_text(text) else ""


def add_tokens(tokenizer: Tokenizer, names: Sequence[str]) -> tuple[list[int], list[int]]:
    """The ids of control tokens, and of those that were missing, and are added.

    Raises:
        UserError: the tokenizer has no end token.
    """
    if tokenizer.eos_token_id is None:
        raise UserError("this tokenizer has no end token, so replies could not end")
    known = tokenizer.get_vocab()  # made at each call, which takes a while
    missing = [token for token in names if token not in known]
    if missing:
        tokenizer.add_special_tokens({"extra_special_tokens": missing}, replace_extra_special_tokens=False)
    ids = tokenizer.convert_tokens_to_ids(list(names))
    return ids, [id for token, id in zip(names, ids, strict=True) if token not in known]
