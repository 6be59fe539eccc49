"""Turns and dialogues. One dialogue is one line of JSONL (schema in docs/formats.md)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import orjson

from gistchat.errors import shown
from gistchat.files import fingerprint
from gistchat.limits import LONGEST_LINE

ROLES = frozenset(("user", "assistant", "model", "bot", "system"))  # speakers that are parts in a chat and no names
LONGEST_DATE = 40  # characters
SPLITS = ("train", "validation", "test")


def today() -> str:
    """As people write it: 27 November 2026."""
    now = datetime.now()
    return f"{now.day} {now:%B %Y}"


class Turn(NamedTuple):
    """What one speaker says before another speaks, and when, where that is known: as people write a date."""

    speaker: str
    text: str
    date: str = ""

    def to_dict(self) -> dict[str, str]:
        """As files have it."""
        return self._asdict() if self.date else {"speaker": self.speaker, "text": self.text}


def name_of(turn: Turn) -> str:
    """Who said it, where that is a name."""
    return "" if turn.speaker.lower() in ROLES else turn.speaker


@dataclass(frozen=True)
class Dialogue:
    """An ordered exchange of turns.

    `scored_speakers` (`targets` in files) are those whose replies may be scored; None means all. Held-out participants
    are scored in their conversations with others, whose own replies may resemble what the model was trained on.
    `unscored` are indices of turns that are not scored whoever says them, as the source asks for.
    """

    id: str
    turns: tuple[Turn, ...]
    corpus: str = ""
    split: str = ""
    scored_speakers: tuple[str, ...] | None = None
    meta: dict[str, Any] = field(default_factory=dict, hash=False)
    unscored: tuple[int, ...] = ()

    @property
    def content_hash(self) -> str:
        """Twelve hex digits of speakers and texts; the key under which summaries are stored."""
        return fingerprint([[turn.speaker, turn.text] for turn in self.turns])

    @property
    def preamble(self) -> str:
        """What the model is told first in this dialogue, a system message; empty where it has none of its own."""
        system = self.meta.get("system")
        return system if isinstance(system, str) and system.strip() else ""

    def reply_indices(self) -> list[int]:
        """Indices of the turns that answer another speaker and may be scored."""
        return [
            i
            for i in range(1, len(self.turns))
            if self.turns[i].speaker != self.turns[i - 1].speaker
            and (self.scored_speakers is None or self.turns[i].speaker in self.scored_speakers)
            and i not in self.unscored
        ]

    def session_starts(self) -> list[int]:
        """Index of the first turn of each session, where `meta` tells how many turns each has; else of the first."""
        counts = self.meta.get("session_turns")
        if not is_counts(counts) or sum(counts) != len(self.turns):
            return [0]
        return [0, *accumulate(counts[:-1])]

    def openings(self) -> list[int]:
        """Indices of the first turn of each later session that answers another speaker and may be scored."""
        starts = [*self.session_starts(), len(self.turns)]
        replies = self.reply_indices()
        firsts = (next((i for i in replies if start <= i < end), None) for start, end in pairwise(starts[1:]))
        return [i for i in firsts if i is not None]

    def to_line(self) -> bytes:
        """A line of JSONL. Raises ValueError if a value cannot be written as JSON."""
        value: dict[str, Any] = {"id": self.id, "corpus": self.corpus, "split": self.split}
        if self.scored_speakers is not None:
            value["targets"] = self.scored_speakers
        if self.unscored:
            value["unscored"] = self.unscored
        if self.meta:
            value["meta"] = self.meta
        value["turns"] = [turn.to_dict() for turn in self.turns]
        try:
            line = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
        except orjson.JSONEncodeError as error:
            raise ValueError(f"cannot be written as JSON ({error})") from None
        if len(line) > LONGEST_LINE:
            raise ValueError(f"{len(line):,} bytes long; at most {LONGEST_LINE:,} would be read again")
        return line


def is_group(turns: Iterable[Turn]) -> bool:
    """Whether more than two speak, so that only names tell who said what."""
    return len({turn.speaker for turn in turns}) > 2


@dataclass(frozen=True)
class Malformed:
    """A piece of input that cannot be read."""

    location: str  # file:line, or the file and the entry or row
    problem: str
    dialogue: str = ""  # id of the dialogue that it belongs to, if that is known

    def __str__(self) -> str:
        return f"{self.location}: {self.problem}"


@dataclass(frozen=True)
class LeftOut:
    """Something in a file that is not a turn, such as a messenger's notice; the reader leaves it out and counts it."""

    what: str
    count: int = 1


class Unreadable(ValueError):
    """What is wrong with a record, in words for the person who wrote it."""


ReadResult = Dialogue | Malformed | LeftOut  # what a corpus reader yields


def parse_dialogue(value: Any, default_id: str, default_corpus: str = "") -> Dialogue:
    """Check one decoded JSON object against the schema.

    Raises:
        Unreadable: what is wrong.
    """
    if not isinstance(value, dict):
        raise Unreadable("expected an object with 'turns'")
    if "turns" not in value:
        raise Unreadable(f"missing field 'turns' (found: {', '.join(sorted(value)) or 'nothing'})")
    if not isinstance(value["turns"], list) or not value["turns"]:
        raise Unreadable("'turns' must be a list of at least one turn")
    turns = _parse_turns(value["turns"])
    split = value.get("split") or ""
    if split not in ("", *SPLITS):
        raise Unreadable(f"'split' must be one of {', '.join(SPLITS)}, not {shown(split)}")
    scored_speakers = value.get("targets")
    if scored_speakers is not None and not is_texts(scored_speakers):
        raise Unreadable("'targets' must be a list of speakers")
    if scored_speakers and (strangers := set(scored_speakers) - {turn.speaker for turn in turns}):
        raise Unreadable(f"'targets' names {', '.join(sorted(strangers))}, who does not speak")
    meta = value.get("meta") or {}
    if not isinstance(meta, dict):
        raise Unreadable("'meta' must be an object")
    if not _is_gold(meta.get("gold", [])):
        raise Unreadable("'gold' in 'meta' must be a list of objects with 'speaker' and 'text'")
    unscored = value.get("unscored") or []
    if unscored and not (is_counts(unscored) and max(unscored) < len(turns)):
        raise Unreadable("'unscored' must be a list of indices of turns, the first being 0")
    targets = None if scored_speakers is None else tuple(scored_speakers)
    corpus = str(value.get("corpus") or default_corpus)
    return Dialogue(str(value.get("id") or default_id), turns, corpus, split, targets, meta, tuple(unscored))


def is_counts(value: Any) -> bool:
    """Whether it is a list of whole numbers, none below 0, that is not empty."""
    return isinstance(value, list) and bool(value) and all(type(count) is int and count >= 0 for count in value)


def is_texts(value: Any) -> bool:
    """Whether it is a list of strings."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _is_gold(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(line, dict) and is_texts([line.get("speaker"), line.get("text")]) for line in value
    )


def _parse_turns(values: list[Any]) -> tuple[Turn, ...]:
    try:
        speakers, texts = [value["speaker"] for value in values], [value["text"] for value in values]
        dates = [str(value.get("date") or "")[:LONGEST_DATE] for value in values]
        if all(map(str.strip, speakers)) and all(map(str.strip, texts)):
            return tuple(map(Turn, speakers, texts, dates))
    except (KeyError, TypeError):
        pass
    for number, value in enumerate(values, 1):  # one of them is bad: which, and why?
        if not isinstance(value, dict):
            raise Unreadable(f"turn {number} must be an object with 'speaker' and 'text'")
        for name in ("speaker", "text"):
            if name not in value:
                raise Unreadable(f"turn {number} has no '{name}'")
            if not isinstance(value[name], str):
                raise Unreadable(f"'{name}' of turn {number} must be a string")
            if not value[name].strip():
                raise Unreadable(f"'{name}' of turn {number} is empty")
