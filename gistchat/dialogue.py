"""Dialogues: the unit of everything here. One dialogue is one line of JSONL (schema in docs/formats.md)."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gistchat.errors import UserError
from gistchat.storage import atomic_text, fingerprint

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Turn:
    """What one speaker says before another speaks."""

    speaker: str
    text: str


@dataclass(frozen=True)
class Dialogue:
    """An ordered exchange of turns.

    `targets` names the speakers whose replies may be scored; None means all. Held-out participants are scored
    in their conversations with others, whose own replies may resemble what the model was trained on.
    """

    id: str
    turns: tuple[Turn, ...]
    corpus: str = ""
    split: str = ""
    targets: tuple[str, ...] | None = None
    meta: dict[str, Any] = field(default_factory=dict, hash=False)

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
            and (self.targets is None or self.turns[i].speaker in self.targets)
        ]

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"id": self.id, "corpus": self.corpus, "split": self.split}
        if self.targets is not None:
            value["targets"] = list(self.targets)
        if self.meta:
            value["meta"] = self.meta
        value["turns"] = [{"speaker": turn.speaker, "text": turn.text} for turn in self.turns]
        return value


@dataclass(frozen=True)
class Malformed:
    """A piece of input that is not a dialogue, and why."""

    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


def parse_dialogue(value: Any, default_id: str) -> Dialogue:
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
    turns = tuple(_parse_turn(turn, i) for i, turn in enumerate(value["turns"], 1))
    if len({turn.speaker for turn in turns}) < 2:
        raise ValueError("only one speaker; a dialogue needs at least two")
    split = value.get("split") or ""
    if split not in ("", *SPLITS):
        raise ValueError(f"'split' must be one of {', '.join(SPLITS)}, not {split!r}")
    targets = value.get("targets")
    if targets is not None and not (isinstance(targets, list) and all(isinstance(name, str) for name in targets)):
        raise ValueError("'targets' must be a list of speakers")
    if strangers := set(targets or ()) - {turn.speaker for turn in turns}:
        raise ValueError(f"'targets' names {', '.join(sorted(strangers))}, who does not speak")
    meta = value.get("meta") or {}
    if not isinstance(meta, dict):
        raise ValueError("'meta' must be an object")
    try:
        json.dumps([value.get("id"), meta, [turn.speaker for turn in turns]], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("half a character (a lone surrogate) in 'id', 'meta' or a speaker") from None
    return Dialogue(
        id=str(value.get("id") or default_id),
        corpus=str(value.get("corpus") or ""),
        split=split,
        targets=None if targets is None else tuple(targets),
        meta=meta,
        turns=turns,
    )


def _parse_turn(value: Any, number: int) -> Turn:
    if not isinstance(value, dict):
        raise ValueError(f"turn {number} must be an object with 'speaker' and 'text'")
    for name in ("speaker", "text"):
        if name not in value:
            raise ValueError(f"turn {number} has no '{name}'")
        if not isinstance(value[name], str):
            raise ValueError(f"'{name}' of turn {number} must be a string")
        if not value[name].strip():
            raise ValueError(f"'{name}' of turn {number} is empty")
    return Turn(value["speaker"].strip(), value["text"])


def text_lines(path: Path) -> Iterator[tuple[str, str | Malformed]]:
    """Lines of a UTF-8 text file with their file:line, white space at the ends stripped; empty lines are passed over.

    A line that is not UTF-8 comes out as `Malformed`, and reading goes on. A byte order mark is dropped.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            where = f"{path}:{number}"
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                problem = f"not UTF-8 (byte 0x{raw[error.start]:02x} at column {error.start + 1})"
                yield where, Malformed(where, problem)
                continue
            if line:
                yield where, line


def json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Decoded lines of a JSONL file with their file:line; a bad line comes out as `Malformed`."""
    for where, line in text_lines(path):
        if isinstance(line, Malformed):
            yield where, line
            continue
        try:
            yield where, json.loads(line)
        except json.JSONDecodeError as error:
            yield where, Malformed(where, f"not valid JSON at column {error.colno} ({error.msg})")
        except RecursionError:
            yield where, Malformed(where, "not valid JSON (nested too deeply)")


def read_jsonl(path: Path) -> Iterator[Dialogue | Malformed]:
    """Read dialogues line by line; a bad line comes out as `Malformed` with its file:line, and reading goes on."""
    for where, value in json_lines(path):
        if isinstance(value, Malformed):
            yield value
            continue
        try:
            yield parse_dialogue(value, f"{path.stem}-{where.rsplit(':', 1)[1]}")
        except ValueError as error:
            yield Malformed(where, str(error))


def load_dialogues(path: Path) -> list[Dialogue]:
    """All dialogues of a prepared file. Raises UserError at the first bad line."""
    dialogues = []
    for item in read_jsonl(path):
        if isinstance(item, Malformed):
            raise UserError(str(item))
        dialogues.append(item)
    return dialogues


def write_jsonl(path: Path, dialogues: Iterable[Dialogue]) -> None:
    with atomic_text(path) as file:
        for dialogue in dialogues:
            file.write(json.dumps(dialogue.to_json(), ensure_ascii=False) + "\n")
