"""Names of people whom an export knows by an id: who changes name stays one person, two of one name stay two."""

from collections.abc import Iterable
from typing import NamedTuple

from gistchat.dialogue.turns import Turn


class Message(NamedTuple):
    person: str  # the id, or the name where there is none
    name: str
    text: str
    date: str


def named(messages: Iterable[Message]) -> tuple[Turn, ...]:
    """Turns by the latest name of each person; a second person of that name is "Ann (2)"."""
    messages = list(messages)
    latest: dict[str, str] = {}
    for message in messages:
        latest[message.person] = message.name or latest.get(message.person, "")
    names: dict[str, str] = {}
    taken: set[str] = set()
    for person, name in latest.items():
        wanted, number = name or person, 1
        names[person] = wanted
        while names[person] in taken:
            number += 1
            names[person] = f"{wanted} ({number})"
        taken.add(names[person])
    return tuple(Turn(names[message.person], message.text, message.date) for message in messages)
