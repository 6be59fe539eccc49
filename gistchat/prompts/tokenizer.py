"""What prompts need of a tokenizer: the part of transformers' interface that other tokenizers offer, too."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class AddedToken(Protocol):
    """A token that stands beside the vocabulary."""

    content: str
    special: bool


class Tokenizer(Protocol):
    """A tokenizer of transformers, or llama.cpp's own (`engines.llama_tokenizer`), under the names of transformers.

    Attributes:
        name_or_path: of the model, for messages.
        chat_template: its template; a dict where there are several; None where there is none.
        added_tokens_decoder: by id, the tokens that stand beside the vocabulary; `special` ones control the model.
    """

    name_or_path: str
    chat_template: Any
    eos_token_id: int | None
    bos_token: str | None
    extra_special_tokens: Sequence[str]
    added_tokens_decoder: Mapping[int, AddedToken]

    def __call__(self, text: str | list[str], **options: Any) -> Mapping[str, Any]:
        """`input_ids` of a text, or of each of several."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str: ...

    def get_vocab(self) -> dict[str, int]: ...

    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int]: ...

    def add_special_tokens(self, tokens: dict[str, Any], **options: Any) -> int: ...

    def get_chat_template(self) -> str: ...

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: Any) -> Any: ...
