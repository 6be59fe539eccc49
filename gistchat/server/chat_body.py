"""The body of a chat request by its own bytes: messages can be taken out of it and put in, and all else stays as it is.

A body that is read and written again would not be the same: numbers lose digits, texts their way of being written.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from gistchat.errors import UserError

_SPACE = re.compile(r"[ \t\n\r]*")
_AFTER = re.compile(r"[ \t\n\r]*([,\]}])[ \t\n\r]*")  # of a value among several
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
        beginning: the text up to the end of the last message; empty where there is none.
    """

    def __init__(self, text: str, earlier: "ChatBody | None" = None) -> None:
        """
        Args:
            earlier: a body whose beginning is also this one's: that is not read again.

        Raises:
            UserError: it is no JSON object with a list of messages.
        """
        self._text, self._begin, self._end = text, 0, 0
        self.messages: list[RawMessage] = []
        self.fields: dict[str, Any] = {}
        self.beginning = ""
        try:
            if earlier:
                self._begin, self.messages, self.fields = earlier._begin, list(earlier.messages), dict(earlier._before)
                end = len(earlier.beginning)
                place = self._rest_of_messages(self._next(end, "]"), end)
            else:
                place = self._past(_space(text, 0), "{")
            self._read(place)
        except (ValueError, IndexError, RecursionError):
            raise UserError("the body is no JSON object with one list of messages") from None

    def _read(self, place: int) -> None:
        text = self._text
        while text[place] != "}":
            name, place = _decode(text, place)
            place = self._past(_space(text, place), ":")
            if name == "messages":
                if self._end:
                    raise ValueError  # which of the two counts, each server decides for itself
                self._begin = place
                place = self._rest_of_messages(self._past(place, "["))
            else:
                self.fields[name], place = _decode(text, place)
                place = self._next(place, "}")
        if not self._end or text[place + 1 :].strip(" \t\n\r"):
            raise ValueError

    def _rest_of_messages(self, place: int, end: int = 0) -> int:
        """Read them to the end of the list; returns where the next field begins.

        Args:
            end: of the last one that was read before.
        """
        text = self._text
        while text[place] != "]":
            value, end = _decode(text, place)
            if not isinstance(value, dict):
                raise ValueError
            self.messages.append(RawMessage(value, text[place:end]))
            place = self._next(end, "]")
        self.beginning, self._before = text[:end], dict(self.fields)
        self._end = place + 1
        return self._next(self._end, "}")

    def _past(self, place: int, sign: str) -> int:
        if self._text[place] != sign:
            raise ValueError
        return _space(self._text, place + 1)

    def _next(self, place: int, closing: str) -> int:
        """Where the next of several values begins, or what closes them stands."""
        found = _AFTER.match(self._text, place)
        if found is None:
            raise ValueError
        if found[1] == ",":
            if self._text[found.end()] == closing:
                raise ValueError
            return found.end()
        return found.start(1)

    def with_messages(self, messages: Iterable[str]) -> bytes:
        """The body with these messages, each of them JSON, in place of its own."""
        return f"{self._text[: self._begin]}[{','.join(messages)}]{self._text[self._end :]}".encode()


def _space(text: str, place: int) -> int:
    return _SPACE.match(text, place).end()
