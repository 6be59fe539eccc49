"""Dialogues: the unit of everything here. One dialogue is one line of JSONL (schema in docs/formats.md)."""

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from gistchat.errors import UserError
from gistchat.storage import atomic_text, fingerprint

SPLITS = ("train", "validation", "test")
LONGEST_LINE = 32 * 2**20  # bytes; no dialogue comes near, and a file without line ends must not fill the memory
BLOCK_BYTES = 2**19
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_LAST_NUMBER = re.compile(r"\d+$")


class Turn(NamedTuple):
    """What one speaker says before another speaks."""

    speaker: str
    text: str


_make_turn = functools.partial(tuple.__new__, Turn)  # a third of the cost of Turn(...), for all turns there are


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

    def __reduce__(self) -> tuple[Any, ...]:
        # Lists of plain strings travel between processes at a fifth of the cost of as many turns.
        return _unpack, (self.id, *columns(self.turns), self.corpus, self.split, self.targets, self.meta)

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

    def to_line(self) -> bytes:
        """A line of JSONL. Raises ValueError where something is no text or number that a file can hold."""
        speakers, texts = columns(self.turns)
        return json_line(self.id, self.corpus, self.split, self.targets, self.meta, speakers, texts)


def columns(turns: Sequence[Turn]) -> tuple[list[str], list[str]]:
    """The speakers and the texts of some turns."""
    return [turn.speaker for turn in turns], [turn.text for turn in turns]


def json_line(
    name: str,
    corpus: str,
    split: str,
    targets: Sequence[str] | None,
    meta: dict[str, Any],
    speakers: Sequence[str],
    texts: Sequence[str],
) -> bytes:
    """A dialogue as a line of JSONL. Raises ValueError where something is no text or number that a file can hold."""
    value: dict[str, Any] = {"id": name, "corpus": corpus, "split": split}
    if targets is not None:
        value["targets"] = targets
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
    targets = value.get("targets")
    if targets is not None and not (isinstance(targets, list) and all(isinstance(name, str) for name in targets)):
        raise ValueError("'targets' must be a list of speakers")
    if targets and (strangers := set(targets) - {turn.speaker for turn in turns}):
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
        targets=None if targets is None else tuple(targets),
        meta=meta,
        turns=turns,
    )


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


def require_text(path: Path) -> None:
    """Raises UserError for what is no UTF-8 text from its first bytes on, with what to do."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open("rb") as file:
        first = file.read(4)
    if first[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{path}: UTF-16; save the file as UTF-8")
    if first.startswith((b"\x1f\x8b", b"PK\x03\x04", b"BZh")):
        raise UserError(f"{path}: a compressed file; unpack it first")


class Block(NamedTuple):
    """Whole lines of a file."""

    path: str
    first: int  # number of the first line
    lines: bytes
    count: int


def raw_blocks(path: Path) -> Iterator[Block | Malformed]:
    """A file's lines, about half a megabyte at a time, not decoded; a byte order mark is dropped.

    A line longer than `LONGEST_LINE` comes out as `Malformed`, and reading goes on.
    """
    require_text(path)
    number, begun = 1, b""  # the next block's first line, and the part of it that was read
    with path.open("rb") as file:
        if file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
            file.seek(0)
        while read := file.read(BLOCK_BYTES):
            end = read.rfind(b"\n") + 1
            if not end:
                begun += read
                if len(begun) > LONGEST_LINE:
                    yield _too_long(f"{path}:{number}", len(begun) + _skip_line(file))
                    number, begun = number + 1, b""
                continue
            lines, begun = begun + read[:end], read[end:]
            count = lines.count(b"\n")
            yield Block(str(path), number, lines, count)
            number += count
    if begun:
        yield Block(str(path), number, begun, 1)


def lines_of(block: Block) -> Iterator[tuple[str, bytes | Malformed]]:
    """The lines of a block with their file:line; what is too long comes out as `Malformed`."""
    lines = block.lines.split(b"\n")
    if not lines[-1]:
        lines.pop()  # after the last line's end
    for number, line in enumerate(lines, block.first):
        where = f"{block.path}:{number}"
        yield where, line if len(line) <= LONGEST_LINE else _too_long(where, len(line))


def _too_long(where: str, length: int) -> Malformed:
    return Malformed(where, f"{length:,} bytes long; at most {LONGEST_LINE:,} are read")


def raw_lines(path: Path) -> Iterator[tuple[str, bytes | Malformed]]:
    """Lines of a file, not decoded, with their file:line; otherwise as `raw_blocks`."""
    for block in raw_blocks(path):
        if isinstance(block, Malformed):
            yield block.where, block
        else:
            yield from lines_of(block)


def text_lines(path: Path, keep_empty: bool = False) -> Iterator[tuple[str, str | Malformed]]:
    """Lines of a UTF-8 text file with their file:line, white space at the ends stripped.

    A bad line comes out as `Malformed`, and reading goes on. Empty lines are dropped unless they are to be kept.
    """
    for where, raw in raw_lines(path):
        line = raw if isinstance(raw, Malformed) else _decoded(where, raw)
        if line or keep_empty:
            yield where, line


def _decoded(where: str, raw: bytes) -> str | Malformed:
    try:
        return raw.decode().strip()
    except UnicodeDecodeError as error:
        return Malformed(where, f"not UTF-8 (byte 0x{raw[error.start]:02x} at column {error.start + 1})")


def _skip_line(file: BinaryIO) -> int:
    """Pass over the rest of a line in constant memory; returns its length in bytes, without the line end."""
    length = 0
    while raw := file.readline(2**20):
        length += len(raw)
        if raw.endswith(b"\n"):
            return length - 1
    return length


def json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Decoded lines of a JSONL file with their file:line; a bad line comes out as `Malformed`."""
    for where, raw in raw_lines(path):
        if isinstance(raw, Malformed):
            yield where, raw
        elif raw and not raw.isspace():
            yield where, parse_json(where, raw)


def parse_json(where: str, raw: bytes) -> Any:
    """The value of a line of JSON, or `Malformed`."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        text = _decoded(where, raw)
        return (
            text
            if isinstance(text, Malformed)
            else Malformed(where, f"not valid JSON at column {error.colno} ({error.msg})")
        )


def read_jsonl(path: Path) -> Iterator[Dialogue | Malformed]:
    """Read dialogues line by line; a bad line comes out as `Malformed` with its file:line, and reading goes on."""
    return parse_records(path.stem, json_lines(path))


def parse_records(name: str, records: Iterable[tuple[str, Any]]) -> Iterator[Dialogue | Malformed]:
    """Dialogues of decoded records and their places; those without an id are called by `name` and their number."""
    for where, value in records:
        yield value if isinstance(value, Malformed) else parse_record(name, where, value)


def parse_record(name: str, where: str, value: Any, corpus: str = "") -> Dialogue | Malformed:
    """The dialogue of a decoded record; `name` and its number are its id, and `corpus` its corpus, if it has none."""
    named = isinstance(value, dict) and value.get("id")
    try:
        return parse_dialogue(value, "" if named else f"{name}-{_LAST_NUMBER.search(where)[0]}", corpus)
    except ValueError as error:
        return Malformed(where, str(error))


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
            file.write(dialogue.to_line().decode())
