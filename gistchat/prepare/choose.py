"""What of a chat becomes dialogues: whose turns, since when, under which names, and where one of them ends."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from gistchat.dialogue.text_repair import clean_line
from gistchat.dialogue.turns import Dialogue, Turn

clean_name = lru_cache(maxsize=10_000)(clean_line)
BY_OTHERS, TOO_OLD = "turns by other speakers (--speakers)", "turns before --from-date"


@dataclass(frozen=True)
class Choice:
    """What is kept of chats.

    Attributes:
        gap: hours without a turn after which another dialogue begins; 0: a chat is one dialogue.
        renamed: pairs of names, as they are and as they shall be.
        speakers: whose turns are kept; empty: everybody's.
        answer_as: whose replies are learned and tested; empty: everybody's.
        from_date: earlier turns are left out; their dates are compared as texts, which ISO 8601 is made for.
    """

    gap: float = 0
    renamed: tuple[tuple[str, str], ...] = ()
    speakers: tuple[str, ...] = ()
    answer_as: tuple[str, ...] = ()
    from_date: str = ""


def choose(dialogue: Dialogue, choice: Choice) -> tuple[list[Dialogue], dict[str, int]]:
    """The dialogues of a chat, and how many turns were left out, by why."""
    names = dict(choice.renamed)
    turns = [turn._replace(speaker=_renamed(turn.speaker, names)) for turn in dialogue.turns]
    theirs = [i for i, turn in enumerate(turns) if not choice.speakers or clean_name(turn.speaker) in choice.speakers]
    recent = [i for i in theirs if not choice.from_date or turns[i].date >= choice.from_date]
    left_out = {BY_OTHERS: len(turns) - len(theirs), TOO_OLD: len(theirs) - len(recent)}
    scored = dialogue.scored_speakers and tuple(_renamed(name, names) for name in dialogue.scored_speakers)
    named = dataclasses.replace(dialogue, turns=tuple(turns), scored_speakers=choice.answer_as or scored)
    whole = named if len(recent) == len(turns) else taken(named, recent)
    return divide(whole, choice.gap) if choice.gap else [whole], {why: n for why, n in left_out.items() if n}


def taken(dialogue: Dialogue, places: Sequence[int]) -> Dialogue:
    """A dialogue of some of its turns, in this order."""
    unscored, turns = set(dialogue.unscored), tuple(dialogue.turns[place] for place in places)
    return dataclasses.replace(
        dialogue, turns=turns, unscored=tuple(new for new, old in enumerate(places) if old in unscored)
    )


def _renamed(name: str, names: dict[str, str]) -> str:
    return names.get(clean_name(name), name) if names else name


def divide(dialogue: Dialogue, hours: float) -> list[Dialogue]:
    """The dialogues of a chat whose turns have dates: another begins where nobody wrote for so many hours.

    A chat whose newest turn comes first is turned round. A turn without a date was said when the one before it was.
    """
    order = _in_order(dialogue.turns)
    starts, before = [0], None
    for place, turn in enumerate(order):
        moment = moment_of(dialogue.turns[turn])
        if before and moment and moment - before > timedelta(hours=hours):
            starts.append(place)
        before = moment or before
    if len(starts) == 1:
        return [taken(dialogue, order)]
    parts = [order[start:end] for start, end in itertools.pairwise([*starts, len(order)])]
    return [
        dataclasses.replace(taken(dialogue, part), id=f"{dialogue.id}-{number}") for number, part in enumerate(parts, 1)
    ]


def _in_order(turns: Sequence[Turn]) -> list[int]:
    """The places of turns by their dates; those of one moment stay as they stand."""
    moments, places = [moment_of(turn) for turn in turns], list(range(len(turns)))
    known = [moment for moment in moments if moment]
    if len(known) < 2:
        return places
    if known[0] > known[-1]:
        places.reverse()
    filled, before = {}, next(moments[place] for place in places if moments[place])
    for place in places:
        filled[place] = before = moments[place] or before
    return sorted(places, key=filled.__getitem__)


def moment_of(turn: Turn) -> datetime | None:
    """When it was said; None where that is not known, or not written by ISO 8601."""
    try:
        moment = datetime.fromisoformat(turn.date)
    except ValueError:
        return None
    return moment.replace(tzinfo=None)
