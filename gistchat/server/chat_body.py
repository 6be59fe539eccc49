"""The body of a chat request by its own bytes: messages can be taken out of it and put in, and all else stays as it is.

A body that is read and written again would not be the same: numbers lose digits, texts their way of being written.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from gistchat.errors import UserError

_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


class RawMessage(NamedTuple):
    """A message as it was sent."""

    value: dict[str, Any]
    json: str

    @property
    def role(self) -> str:
        """Empty where it has none that is a text."""
        role = self.value.get("role")
        return role if isinstance(role, str) else ""


class ChatBody:
    """What a client sent.

    Attributes:
        messages: in their order.
        fields: the values of all other fields.
    """

    def __init__(self, body: bytes) -> None:
        """Raises UserError where it is no JSON object with a list of messages."""
        try:
            self._text = body.decode()
            self.messages, self.fields = self._read()
        except (ValueError, IndexError, RecursionError):
            raise UserError("the body is no JSON object with a list of messages") from None

    def _read(self) -> tuple[list[RawMessage], dict[str, Any]]:
        text, fields = self._text, {}
        messages: list[RawMessage] | None = None
        place = self._past(_space(text, 0), "{")
        while text[place] != "}":
            name, place = _decode(text, place)
            place = self._past(_space(text, place), ":")
            if name == "messages":
                if messages is not None:
                    raise ValueError  # which of the two counts, each server decides for itself
                self._begin = place
                messages, place = self._read_messages(self._past(place, "["))
                self._end = place
            else:
                fields[name], place = _decode(text, place)
            place = self._next(place, "}")
        if messages is None or text[place + 1 :].strip(" \t\n\r"):
            raise ValueError
        return messages, fields

    def _read_messages(self, place: int) -> tuple[list[RawMessage], int]:
        text, messages = self._text, []
        while text[place] != "]":
            value, end = _decode(text, place)
            if not isinstance(value, dict):
                raise ValueError
            messages.append(RawMessage(value, text[place:end]))
            place = self._next(end, "]")
        return messages, place + 1

    def _past(self, place: int, sign: str) -> int:
        if self._text[place] != sign:
            raise ValueError
        return _space(self._text, place + 1)

    def _next(self, place: int, closing: str) -> int:
        """Where the next of several values begins, or what closes them stands."""
        place = _space(self._text, place)
        if self._text[place] == closing:
            return place
        place = self._past(place, ",")
        if self._text[place] == closing:
            raise ValueError
        return place

    def with_messages(self, messages: Iterable[str]) -> bytes:
        """The body with these messages, each of them JSON, in place of its own."""
        return f"{self._text[: self._begin]}[{','.join(messages)}]{self._text[self._end :]}".encode()


def _space(text: str, place: int) -> int:
    return _SPACE.match(text, place).end()
