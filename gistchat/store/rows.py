"""Messages and conversations as programs have them, and as rows of the tables."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from gistchat.dialogue.turns import Turn
from gistchat.store.message_keys import FORGOTTEN, folded, storable, with_extras
from gistchat.store.tables import messages

NO_PERSON = frozenset(("model", "assistant", "bot", "system", "developer", "tool", "function"))
LONGEST_TITLE = 200  # characters
TITLE_OF_TEXT = 60  # characters of one that is made from what was said first


@dataclass(frozen=True)
class Message:
    """A turn as it is stored.

    Attributes:
        key: hash of the message and of all before it (`message_keys.message_key`).
        parent: key of the message before it; empty for a first one.
        text: FORGOTTEN where it was forgotten.
        created: when it was stored, in seconds since 1970.
        position: how many messages are before it.
        extra: what the caller of an API sent beside the text.
    """

    key: str
    parent: str
    speaker: str
    text: str
    date: str
    created: float
    position: int
    extra: dict[str, Any] = field(default_factory=dict)


# The columns that make a Message, in its order.
OF_MESSAGE = [messages.c[name] for name in Message.__dataclass_fields__]


@dataclass(frozen=True)
class ConversationInfo:
    """What there is to know of a conversation without its messages.

    Attributes:
        id: cannot be guessed.
        namespace: whose it is; empty for the terminal, and for a server without keys.
        created, updated: in seconds since 1970.
        head: key of the message that it ends with; empty before the first.
        messages: how many there are from a first one to the head.
        origin: "chat", "page", "api" or "proxy".
        settings: plain JSON, for whoever began it.
    """

    id: str
    namespace: str
    title: str
    created: float
    updated: float
    head: str
    messages: int
    origin: str
    settings: dict[str, Any]


def as_info(row: Row[Any]) -> ConversationInfo:
    values = {name: getattr(row, name) for name in ConversationInfo.__dataclass_fields__}
    return ConversationInfo(**values | {"settings": json.loads(row.settings)})


def as_message(row: Row[Any]) -> Message:
    """Of a row that begins with `OF_MESSAGE`. By position, as a path may have tens of thousands."""
    *values, extra = row[: len(OF_MESSAGE)]
    return Message(*values, {} if extra == "{}" else json.loads(extra))


def as_rows(
    number: int, keys: list[str], parent: str, position: int, turns: Sequence[Turn], extras: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Of turns that follow one another in conversation `number`, the first at `position` after `parent`."""
    now, parents = time.time(), [parent, *keys[:-1]]
    return [
        {
            "conversation": number,
            "key": key,
            "parent": before,
            "position": place,
            "speaker": storable(turn.speaker),
            "text": storable(turn.text),
            "folded": folded(turn.text),
            "date": storable(turn.date),
            "created": now,
            "extra": json.dumps(extra),
        }
        for place, (key, before, (turn, extra)) in enumerate(
            zip(keys, parents, with_extras(turns, extras), strict=False), position
        )
    ]


def titled(title: str) -> dict[str, str]:
    """The columns of a title: on one line, and cut where it is too long."""
    title = storable(" ".join(title.split())[:LONGEST_TITLE])
    return {"title": title, "folded_title": folded(title)}


def title_of(turn: Turn) -> str:
    """What a conversation is called that begins with a person's turn; empty for others' turns."""
    if turn.speaker.lower() in NO_PERSON or turn.text == FORGOTTEN:
        return ""
    text = " ".join(turn.text[: 4 * TITLE_OF_TEXT].split())
    if len(text) <= TITLE_OF_TEXT:
        return text
    cut = text[:TITLE_OF_TEXT].rsplit(" ", 1)[0]
    return f"{cut if len(cut) > TITLE_OF_TEXT // 2 else text[:TITLE_OF_TEXT]}…"
