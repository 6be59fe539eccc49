"""What stands at the beginning of a GGUF file: which model it is, its vocabulary, its chat template.

Package gguf reads headers too, but takes two seconds for a vocabulary of 50,000 tokens, longer than llama.cpp needs to
open the model. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import mmap
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gistchat.errors import UserError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}  # of numbers
MOST_KEYS = 10_000
MOST_VALUES = 10_000_000  # of an array; the largest vocabularies have a quarter of a million tokens
CONTROL, USER_DEFINED = 3, 4  # types of tokens


@dataclass(frozen=True)
class GgufHeader:
    """The values of a GGUF file by their names, such as "general.architecture"."""

    path: Path
    values: dict[str, Any]

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture", ""))

    @property
    def context_length(self) -> int:
        """Tokens that the model was trained to hold; 0 where the file does not say."""
        value = self.values.get(f"{self.architecture}.context_length", 0)
        return value if isinstance(value, int) else 0

    @property
    def chat_template(self) -> str | None:
        value = self.values.get("tokenizer.chat_template")
        return value if isinstance(value, str) and value.strip() else None

    @cached_property
    def tokens(self) -> list[str]:
        """The vocabulary, as the file spells it."""
        return [str(token) for token in self.values.get("tokenizer.ggml.tokens", [])]

    def ids_of_type(self, *kinds: int) -> list[int]:
        types = self.values.get("tokenizer.ggml.token_type", [])
        return [number for number, kind in enumerate(types) if kind in kinds]

    def token_id(self, role: str) -> int | None:
        """The id of the token with a role such as "eos"; None where the model has none."""
        value = self.values.get(f"tokenizer.ggml.{role}_token_id")
        return value if isinstance(value, int) and 0 <= value < len(self.tokens) else None


def is_gguf(path: Path) -> bool:
    """Whether a path is meant as a GGUF file: by its name, or by how it begins."""
    if path.is_dir():
        return False
    if path.suffix == ".gguf":
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == MAGIC
    except OSError:
        return False


def read_header(path: Path) -> GgufHeader:
    """Raises UserError: no such file, or not the beginning of a GGUF file."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return GgufHeader(path, _Reader(data).header())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # also of an empty file
        raise UserError(f"{path}: not a GGUF file, or a damaged one ({error})") from None
    except (struct.error, KeyError, OverflowError):
        raise UserError(f"{path}: a GGUF file that is cut off or damaged at its beginning; download it again") from None


class _Reader:
    """Reads value after value. Raises ValueError, struct.error or KeyError where there is none."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def header(self) -> dict[str, Any]:
        if self.data[:4] != MAGIC:
            raise ValueError("it does not begin with GGUF")
        self.at = 4
        if (version := self._number("I")) not in VERSIONS:
            raise ValueError(f"version {version} of the format is not known")
        self._number("Q")  # tensors
        if (count := self._number("Q")) > MOST_KEYS:
            raise ValueError(f"{count:,} values")
        return {self._string(): self._value(self._number("I")) for _ in range(count)}

    def _number(self, kind: str) -> Any:
        [value] = struct.unpack_from(f"<{kind}", self.data, self.at)
        self.at += struct.calcsize(f"<{kind}")
        return value

    def _string(self) -> str:
        length = self._number("Q")
        end = self.at + length
        if end > len(self.data):
            raise struct.error
        text = self.data[self.at : end].decode("utf-8", errors="replace")
        self.at = end
        return text

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._string()
        if kind != ARRAY:
            return self._number(FORMATS[kind])
        inner, count = self._number("I"), self._number("Q")
        if count > MOST_VALUES:
            raise ValueError(f"a list of {count:,} values")
        if inner in FORMATS:
            values = struct.unpack_from(f"<{count}{FORMATS[inner]}", self.data, self.at)
            self.at += struct.calcsize(f"<{count}{FORMATS[inner]}")
            return values
        if inner != STRING:
            raise ValueError("a list of lists")
        return [self._string() for _ in range(count)]
