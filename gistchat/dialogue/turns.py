"""Dialogues: the unit of everything here. One dialogue is one line of JSONL (schema in docs/formats.md)."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from gistchat.files import fingerprint

SPLITS = ("train", "validation", "test")


class Turn(NamedTuple):
    """What one speaker says before another speaks."""

    speaker: str
    text: str


_make_turn = functools.partial(tuple.__new__, Turn)  # a third of the cost of Turn(...), for all turns there are


@dataclass(frozen=True)
class Dialogue:
    """An ordered exchange of turns.

    `scored_speakers` (`targets` in files) are those whose replies may be scored; None means all. Held-out participants
    are scored in their conversations with others, whose own replies may resemble what the model was trained on.
    """

    id: str
    turns: tuple[Turn, ...]
    corpus: str = ""
    split: str = ""
    scored_speakers: tuple[str, ...] | None = None
    meta: dict[str, Any] = field(default_factory=dict, hash=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # Lists of plain strings travel between processes at a fifth of the cost of as many turns.
        return _unpack, (self.id, *columns(self.turns), self.corpus, self.split, self.scored_speakers, self.meta)

    @property
    def content_hash(self) -> str:
        """Twelve hex digits of speakers and texts; the key under which summaries are stored."""
        return fingerprint([[turn.speaker, turn.text] for turn in self.turns])

    def reply_indices(self) -> list[int]:
        """Indices of the turns that answer another speaker and may be scored."""
        return [
            i
            for i in range(1, len(self.turns))
            if self.turns[i].speaker != self.turns[i - 1].speaker
            and (self.scored_speakers is None or self.turns[i].speaker in self.scored_speakers)
        ]

    def to_line(self) -> bytes:
        """A line of JSONL. Raises ValueError where something is no text or number that a file can hold."""
        speakers, texts = columns(self.turns)
        return json_line(self.id, self.corpus, self.split, self.scored_speakers, self.meta, speakers, texts)


def columns(turns: Sequence[Turn]) -> tuple[list[str], list[str]]:
    """The speakers and the texts of some turns."""
    return [turn.speaker for turn in turns], [turn.text for turn in turns]


def json_line(
    name: str,
    corpus: str,
    split: str,
    scored_speakers: Sequence[str] | None,
    meta: dict[str, Any],
    speakers: Sequence[str],
    texts: Sequence[str],
) -> bytes:
    """A dialogue as a line of JSONL. Raises ValueError where something is no text or number that a file can hold."""
    value: dict[str, Any] = {"id": name, "corpus": corpus, "split": split}
    if scored_speakers is not None:
        value["targets"] = scored_speakers
    if meta:
        value["meta"] = meta
    value["turns"] = [{"speaker": speaker, "text": text} for speaker, text in zip(speakers, texts, strict=True)]
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError as error:
        raise ValueError(f"cannot be written as JSON ({error})") from None


def _unpack(name: str, speakers: list[str], texts: list[str], *rest: Any) -> Dialogue:
    return Dialogue(name, tuple(map(_make_turn, zip(speakers, texts, strict=True))), *rest)


@dataclass(frozen=True)
class Malformed:
    """A piece of input that is not a dialogue, and why; `dialogue` names the one that it spoils, if that is known."""

    where: str
    problem: str
    dialogue: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


@dataclass(frozen=True)
class LeftOut:
    """Part of a dialogue that is no turn of it, such as a messenger's notice: left out by its reader, and counted."""

    what: str
    count: int = 1


Item = Dialogue | Malformed | LeftOut


def parse_dialogue(value: Any, default_id: str, default_corpus: str = "") -> Dialogue:
    """Check one decoded JSON object against the schema.

    Raises:
        ValueError: with what is wrong, in words for the person who wrote the file.
    """
    if not isinstance(value, dict):
        raise ValueError("expected an object with 'turns'")
    if "turns" not in value:
        raise ValueError(f"missing field 'turns' (found: {', '.join(sorted(value)) or 'nothing'})")
    if not isinstance(value["turns"], list) or not value["turns"]:
        raise ValueError("'turns' must be a list of at least one turn")
    turns = _parse_turns(value["turns"])
    split = value.get("split") or ""
    if split not in ("", *SPLITS):
        raise ValueError(f"'split' must be one of {', '.join(SPLITS)}, not {split!r}")
    scored_speakers = value.get("targets")
    if scored_speakers is not None and not _is_texts(scored_speakers):
        raise ValueError("'targets' must be a list of speakers")
    if scored_speakers and (strangers := set(scored_speakers) - {turn.speaker for turn in turns}):
        raise ValueError(f"'targets' names {', '.join(sorted(strangers))}, who does not speak")
    meta = value.get("meta") or {}
    if not isinstance(meta, dict):
        raise ValueError("'meta' must be an object")
    if not _is_gold(meta.get("gold", [])):
        raise ValueError("'gold' in 'meta' must be a list of objects with 'speaker' and 'text'")
    return Dialogue(
        id=str(value.get("id") or default_id),
        corpus=str(value.get("corpus") or default_corpus),
        split=split,
        scored_speakers=None if scored_speakers is None else tuple(scored_speakers),
        meta=meta,
        turns=turns,
    )


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _is_gold(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(line, dict) and isinstance(line.get("speaker"), str) and isinstance(line.get("text"), str)
        for line in value
    )


def _parse_turns(values: list[Any]) -> tuple[Turn, ...]:
    try:
        speakers, texts = [value["speaker"] for value in values], [value["text"] for value in values]
        if all(map(str.strip, speakers)) and all(map(str.strip, texts)):
            return tuple(map(_make_turn, zip(speakers, texts, strict=True)))
    except (KeyError, TypeError):
        pass
    for number, value in enumerate(values, 1):
        _explain_turn(value, number)
    raise ValueError("a turn is neither text nor speaker")


def _explain_turn(value: Any, number: int) -> None:
    """Raise ValueError with what is wrong with a turn."""
    if not isinstance(value, dict):
        raise ValueError(f"turn {number} must be an object with 'speaker' and 'text'")
    for name in ("speaker", "text"):
        if name not in value:
            raise ValueError(f"turn {number} has no '{name}'")
        if not isinstance(value[name], str):
            raise ValueError(f"'{name}' of turn {number} must be a string")
        if not value[name].strip():
            raise ValueError(f"'{name}' of turn {number} is empty")
