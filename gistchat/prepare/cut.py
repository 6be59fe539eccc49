"""Chats of which there are too few for three splits are cut into parts, so that one long chat fills them all."""

import dataclasses

from gistchat.dialogue.turns import SPLITS, Dialogue
from gistchat.prepare.choose import taken

LEAST_TURNS = 10  # of a part
MOST_PARTS = 20  # of a chat: one of them is the usual share of validation, two are that of test


def cut(dialogue: Dialogue) -> list[Dialogue]:
    """A dialogue in parts of equal length, one after another; whole where they would be short."""
    length = len(dialogue.turns)
    parts = min(MOST_PARTS, length // LEAST_TURNS)
    if parts < len(SPLITS):
        return [dialogue]
    bounds = [length * number // parts for number in range(parts + 1)]
    return [_part(dialogue, number, bounds[number - 1], bounds[number]) for number in range(1, parts + 1)]


def _part(dialogue: Dialogue, number: int, start: int, end: int) -> Dialogue:
    part = taken(dialogue, range(start, end))
    speakers = {turn.speaker for turn in part.turns}
    scored = dialogue.scored_speakers and tuple(name for name in dialogue.scored_speakers if name in speakers)
    meta = {name: value for name, value in dialogue.meta.items() if name != "session_turns"}
    return dataclasses.replace(part, id=f"{dialogue.id}-{number}", scored_speakers=scored, meta=meta)
