"""Chats of which there are too few for three splits are cut into parts, so that one long chat fills them all."""

import dataclasses
import itertools
from collections.abc import Sequence
from datetime import timedelta

from gistchat.dialogue.turns import SPLITS, Dialogue, Turn
from gistchat.prepare.choose import moment_of, taken

LEAST_TURNS = 10  # of a part
MOST_PARTS = 20  # of a chat: one of them is the usual share of validation, two are that of test


def cut(dialogue: Dialogue, gap: float) -> list[Dialogue]:
    """A dialogue in parts, one after another: at gaps of so many hours where it has enough, else of equal length.

    It stays whole where the parts would be short.
    """
    length = len(dialogue.turns)
    bounds = _bounds_at_gaps(dialogue.turns, timedelta(hours=gap))
    if len(bounds) <= len(SPLITS):
        parts = min(MOST_PARTS, length // LEAST_TURNS)
        bounds = [length * number // parts for number in range(parts + 1)] if parts >= len(SPLITS) else []
    if not bounds:
        return [dialogue]
    return [_part(dialogue, number, *part) for number, part in enumerate(itertools.pairwise(bounds), 1)]


def _bounds_at_gaps(turns: Sequence[Turn], gap: timedelta) -> list[int]:
    """Where parts begin and the last one ends, each with two speakers."""
    bounds, before = [0], None
    for place, turn in enumerate(turns):
        moment = moment_of(turn)
        if before and moment and moment - before > gap and _two_speak(turns[bounds[-1] : place]):
            bounds.append(place)
        before = moment or before
    if len(bounds) > 1 and not _two_speak(turns[bounds[-1] :]):
        bounds.pop()
    return [*bounds, len(turns)]


def _two_speak(turns: Sequence[Turn]) -> bool:
    return len({turn.speaker for turn in turns}) > 1


def _part(dialogue: Dialogue, number: int, start: int, end: int) -> Dialogue:
    part = taken(dialogue, range(start, end))
    speakers = {turn.speaker for turn in part.turns}
    scored = dialogue.scored_speakers and tuple(name for name in dialogue.scored_speakers if name in speakers)
    meta = {name: value for name, value in dialogue.meta.items() if name != "session_turns"}
    return dataclasses.replace(part, id=f"{dialogue.id}-{number}", scored_speakers=scored, meta=meta)
