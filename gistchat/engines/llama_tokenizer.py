"""The tokenizer of a GGUF model: llama.cpp's own, under the names that prompts know from transformers."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from gistchat.engines.llama_server import LlamaServer
from gistchat.errors import UserError
from gistchat.models.gguf_file import NORMALIZER
from gistchat.models.gguf_header import CONTROL, USER_DEFINED, GgufHeader
from gistchat.processes import batched
from gistchat.prompts.jinja import render_template

KEPT = 20_000  # texts whose ids are kept
MANY = 200  # texts that are asked for in one request; of fewer, most are kept
START, END = "\U000f0000", "\U000f0001"  # private-use characters around control tokens that somebody typed


class AddedToken(NamedTuple):
    """A token that stands beside the vocabulary."""

    content: str
    special: bool


class LlamaTokenizer:
    """What prompts need of a tokenizer (`prompts.tokenizer.Tokenizer`). Ids are those of llama.cpp."""

    def __init__(self, header: GgufHeader, server: LlamaServer) -> None:
        """Raises UserError where the file has no vocabulary, or one that llama.cpp reads otherwise."""
        self.header, self.server = header, server
        self._kept = lru_cache(maxsize=KEPT)(self._ask)  # a memory counts the same sentences turn after turn
        self.name_or_path = header.path.name
        self.chat_template = header.chat_template
        if not header.tokens:
            raise UserError(f"{header.path}: no vocabulary in this file")
        self.eos_token_id, self.bos_token_id = header.token_id("eos"), header.token_id("bos")
        self.bos_token, self.eos_token = self._spelled(self.bos_token_id), self._spelled(self.eos_token_id)
        self.extra_special_tokens: Sequence[str] = ()
        # SentencePiece vocabularies put a space before a text; byte-level ones do not.
        default = header.values.get("tokenizer.ggml.model") == "llama"
        self._adds_space = bool(header.values.get("tokenizer.ggml.add_space_prefix", default))

        self._composes = header.values.get(NORMALIZER) == "NFC"  # llama.cpp takes texts as they are

    def _spelled(self, number: int | None) -> str | None:
        return None if number is None else self.header.tokens[number]

    @cached_property
    def added_tokens_decoder(self) -> Mapping[int, AddedToken]:
        control = set(self.header.ids_of_type(CONTROL))
        ends = {i for i in (self.eos_token_id, self.bos_token_id) if i is not None}
        numbers = sorted({*self.header.ids_of_type(CONTROL, USER_DEFINED), *ends})
        return {i: AddedToken(self.header.tokens[i], i in control or i in ends) for i in numbers}

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.header.tokens)}

    @cached_property
    def _control(self) -> re.Pattern[str]:
        """Any control token, longer ones first."""
        names = sorted((token.content for token in self.added_tokens_decoder.values() if token.content), key=len)
        return re.compile("|".join(map(re.escape, reversed(names))) or "(?!)")

    def __call__(self, text: str | list[str], split_special_tokens: bool = False, **options: Any) -> dict[str, Any]:
        """`input_ids`; `split_special_tokens` spells out what looks like a control token."""
        if isinstance(text, str):
            return {"input_ids": self._tokenize(text, not split_special_tokens)}
        if split_special_tokens and len(text) >= MANY and self.eos_token_id is not None:
            return {"input_ids": [ids for some in batched(text, MANY) for ids in self._tokenize_all(some)]}
        return {"input_ids": [self._tokenize(one, not split_special_tokens) for one in text]}

    def _tokenize_all(self, texts: list[str]) -> list[list[int]]:
        return self.server.tokenize_all(list(map(self._composed, texts)), self.eos_token_id)

    def _tokenize(self, text: str, control: bool) -> list[int]:
        return list(self._kept(text, control))

    def _ask(self, text: str, control: bool) -> tuple[int, ...]:
        return tuple(self.server.tokenize(self._composed(text), control))

    def _composed(self, text: str) -> str:
        return unicodedata.normalize("NFC", text) if self._composes else text

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        special = self.added_tokens_decoder if skip_special_tokens else {}
        return self.server.detokenize([i for i in ids if i not in special or not special[i].special])

    def get_vocab(self) -> dict[str, int]:
        return self._ids

    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int]:
        return [self._ids[token] for token in tokens]

    def add_special_tokens(self, tokens: dict[str, Any], **options: Any) -> int:
        """Raises UserError: the model has no rows for more tokens."""
        raise UserError(f"{self.name_or_path}: lacks the control tokens of this prompt format; export it with gistchat")

    def get_chat_template(self) -> str:
        return self.chat_template or ""

    def apply_chat_template(
        self,
        messages: list[dict[str, Any]],
        chat_template: str,
        add_generation_prompt: bool = False,
        tokenize: bool = True,
        sanitize_control_tokens: bool = False,
        **options: Any,
    ) -> Any:
        """What a template makes of messages, as text or ids.

        Args:
            sanitize_control_tokens: spell out control tokens in the messages' texts; the template's own stay.
        """
        tokens = {"bos_token": self.bos_token or "", "eos_token": self.eos_token or ""}
        if sanitize_control_tokens:
            messages = [{name: self._marked(value) for name, value in message.items()} for message in messages]
        text = render_template(chat_template, messages, add_generation_prompt, tokens)
        return self._encode_marked(text) if tokenize else text

    def _marked(self, value: Any) -> Any:
        """A text with markers around its control tokens, and without such as were there."""
        if not isinstance(value, str):
            return value
        return self._control.sub(f"{START}\\g<0>{END}", value.replace(START, "").replace(END, ""))

    def _encode_marked(self, text: str) -> list[int]:
        ids: list[int] = []
        # Text, marked token, text ...; a marker that the template separated from its other half breaks the text, too.
        for number, piece in enumerate(re.split(f"{START}({self._control.pattern}){END}|[{START}{END}]", text)):
            if piece:
                ids += self._encode_piece(piece, control=number % 2 == 0, first=not ids)
        return ids

    def _encode_piece(self, piece: str, control: bool, first: bool) -> list[int]:
        """Ids of a piece of a text; of one from the middle, without the space that some vocabularies put first."""
        if first or not self._adds_space:
            return self._tokenize(piece, control)
        before = self._tokenize("\n", control)
        ids = self._tokenize("\n" + piece, control)
        return ids[len(before) :] if ids[: len(before)] == before else self._tokenize(piece, control)
