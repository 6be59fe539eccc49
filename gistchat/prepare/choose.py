"""What of a chat becomes dialogues: whose turns, since when, under which names, and where one of them ends."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from gistchat.dialogue.text_repair import clean_line
from gistchat.dialogue.turns import Dialogue, Turn
from gistchat.prepare.scrub import scrub_name

clean_name = lru_cache(maxsize=10_000)(clean_line)
BY_OTHERS, TOO_OLD = "turns by other speakers (--speakers)", "turns before --from-date"
UNDATED = "turns without a date, so that none is after --from-date"


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

    def renames(self, speakers: Iterable[str]) -> dict[str, str]:
        """Of the names that are to be changed those that somebody has, with the new ones."""
        there = list(speakers)
        return {old: new for old, new in self.renamed if any(_is_called(speaker, (old,)) for speaker in there)}

    def name_of(self, speaker: str) -> str:
        """What a speaker is called from now on."""
        return next((new for old, new in self.renamed if _is_called(speaker, (old,))), speaker)


def choose(dialogue: Dialogue, choice: Choice) -> tuple[list[Dialogue], dict[str, int]]:
    """The dialogues of a chat, and how many turns were left out, by why."""
    if choice.renamed:
        turns = tuple(turn._replace(speaker=choice.name_of(turn.speaker)) for turn in dialogue.turns)
        scored = dialogue.scored_speakers and tuple(map(choice.name_of, dialogue.scored_speakers))
        dialogue = dataclasses.replace(dialogue, turns=turns, scored_speakers=scored)
    turns = dialogue.turns
    if choice.answer_as:
        scored = tuple(name for name in {turn.speaker: 0 for turn in turns} if _is_called(name, choice.answer_as))
        dialogue = dataclasses.replace(dialogue, scored_speakers=scored)
    reasons = [_reason_to_leave_out(turn, choice) for turn in turns]
    left_out = Counter(filter(None, reasons))
    if left_out:
        dialogue = taken(dialogue, [place for place, reason in enumerate(reasons) if not reason])
    return divide(dialogue, choice.gap) if choice.gap else [dialogue], left_out


def _reason_to_leave_out(turn: Turn, choice: Choice) -> str:
    if choice.speakers and not _is_called(turn.speaker, choice.speakers):
        return BY_OTHERS
    if choice.from_date and turn.date < choice.from_date:
        return TOO_OLD if turn.date else UNDATED
    return ""


def _is_called(speaker: str, names: Sequence[str]) -> bool:
    """Whether it is one of these names, as the file or as the report of `prepare` writes it."""
    name = clean_name(speaker)
    return name in names or scrub_name(name) in names


def taken(dialogue: Dialogue, places: Sequence[int]) -> Dialogue:
    """A dialogue of some of its turns, in this order."""
    unscored, turns = set(dialogue.unscored), tuple(dialogue.turns[place] for place in places)
    return dataclasses.replace(
        dialogue, turns=turns, unscored=tuple(new for new, old in enumerate(places) if old in unscored)
    )


def divide(dialogue: Dialogue, hours: float) -> list[Dialogue]:
    """The dialogues of a chat whose turns have dates: another begins where nobody wrote for so many hours.

    A chat whose newest turn comes first is turned round. A turn without a date was said when the one before it was.
    """
    order = in_order(dialogue.turns)
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


def in_order(turns: Sequence[Turn]) -> list[int]:
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
