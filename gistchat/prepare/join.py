"""Chats that an export cuts into several files of one folder: message_1.json, message_2.json, a file a day."""

import dataclasses
from collections.abc import Iterable, Iterator

from gistchat.dialogue.turns import Dialogue, ReadResult
from gistchat.prepare.choose import in_order, taken


def join(files: Iterable[Iterable[ReadResult]]) -> Iterator[ReadResult]:
    """What the files of a folder hold, where a dialogue goes on in the next file with one of its id as one dialogue.

    Two of one id within a file are two chats. What two files hold is in memory.
    """
    held: dict[str, Dialogue] = {}
    for entries in files:
        new: dict[str, Dialogue] = {}
        for entry in entries:
            if not isinstance(entry, Dialogue) or entry.id in new:
                yield entry
            else:
                before = held.pop(entry.id, None)
                new[entry.id] = _together(before, entry) if before else entry
        yield from held.values()
        held = new
    yield from held.values()


def _together(one: Dialogue, other: Dialogue) -> Dialogue:
    """The turns of two parts of a chat by their dates; the earlier part may come second."""
    parts = [taken(part, in_order(part.turns)) for part in (one, other)]
    if all(part.turns for part in parts):
        parts.sort(key=lambda part: part.turns[0].date)
    first, second = parts
    unscored = (*first.unscored, *(len(first.turns) + place for place in second.unscored))
    speakers = {*(first.scored_speakers or ()), *(second.scored_speakers or ())}
    scored = one.scored_speakers and tuple(sorted(speakers))
    return dataclasses.replace(one, turns=first.turns + second.turns, unscored=unscored, scored_speakers=scored)
