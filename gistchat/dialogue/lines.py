"""Lines and records of text and JSONL files with their file:line; a bad one never stops the reading of the others."""

import re
import string
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from gistchat.dialogue.turns import Malformed, ReadResult, Unreadable
from gistchat.errors import UserError, shown
from gistchat.limits import LONGEST_LINE, TOO_DEEP, is_too_deep

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LAST_NUMBER = re.compile(r"\d+$")  # of a location: its line, entry or row

Parse = Callable[[str, str, Any], Iterable[ReadResult]]  # by the name of the file, an id and a decoded record


def require_text(path: Path) -> None:
    """Raises UserError if the first bytes show another encoding or an archive."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open("rb") as file:
        first = file.read(4)
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path}: UTF-16; save the file as UTF-8")
    if first.startswith((b"\x1f\x8b", b"PK\x03\x04", b"BZh")):
        raise UserError(f"{path}: a compressed file; unpack it first")


def raw_lines(path: Path) -> Iterator[tuple[str, bytes | Malformed]]:
    """Lines of a file as bytes, with their file:line; a byte order mark is dropped.

    A line longer than `LONGEST_LINE` comes out as `Malformed`, and reading goes on.
    """
    require_text(path)
    with path.open("rb") as file:
        if file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
            file.seek(0)
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
            location = f"{path}:{number}"
            if line.endswith(b"\n") or len(line) <= LONGEST_LINE:  # the last line may have no line end
                yield location, line.removesuffix(b"\n")
                continue
            length = len(line)
            while not line.endswith(b"\n") and (line := file.readline(2**20)):  # the rest, in constant memory
                length += len(line.removesuffix(b"\n"))
            yield location, Malformed(location, f"{length:,} bytes long; at most {LONGEST_LINE:,} are read")


def text_lines(path: Path, as_typed: bool = False) -> Iterator[tuple[str, str | Malformed]]:
    """Lines of a UTF-8 text file with their file:line.

    A bad line comes out as `Malformed`, and reading goes on. White space at the ends and empty lines are dropped,
    unless lines are wanted as they were typed.
    """
    for location, raw in raw_lines(path):
        line = raw if isinstance(raw, Malformed) else _decode(location, raw)
        if isinstance(line, str):
            line = line.removesuffix("\r") if as_typed else strip(line)
        if line or as_typed:
            yield location, line


def strip(text: str) -> str:
    """Without white space of ASCII at the ends.

    `str.strip` takes U+0085 and U+00A0, too, which are bytes of letters and emoji where UTF-8 was read as Latin-1.
    """
    return text.strip(string.whitespace)


def _decode(location: str, raw: bytes) -> str | Malformed:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        return Malformed(location, f"not UTF-8 (byte 0x{raw[error.start]:02x} at column {error.start + 1})")


def json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Decoded lines of a JSONL file with their file:line; a bad line comes out as `Malformed`."""
    return ((location, parse_json(location, raw)) for location, raw in raw_json_lines(path))


def raw_json_lines(path: Path) -> Iterator[tuple[str, bytes | Malformed]]:
    """The lines of a JSONL file that are not empty, for `parse_records` to decode."""
    return ((location, raw) for location, raw in raw_lines(path) if isinstance(raw, Malformed) or raw.strip())


def parse_json(location: str, raw: Any) -> Any:
    """The value of a line of JSON, or `Malformed`; whatever is not bytes is a value already."""
    if not isinstance(raw, bytes):
        return raw
    if is_too_deep(raw):
        return Malformed(location, TOO_DEEP)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        text = _decode(location, raw)
        problem = Malformed(location, f"not valid JSON at column {error.colno} ({error.msg})")
        return text if isinstance(text, Malformed) else problem


def parse_records(
    parse: Parse, file: str, records: Iterable[tuple[str, Any]], first: int | None = None
) -> Iterator[ReadResult]:
    """What `parse` makes of each record, a pair of location and value or line of JSON; `Malformed` where it cannot.

    Args:
        file: with a number, the id of a dialogue that has none.
        first: the number of the first record. Without it, a record's number is the one at the end of its location.
    """
    for number, (location, raw) in enumerate(records, first or 0):
        value = parse_json(location, raw)
        if isinstance(value, Malformed):
            yield value
            continue
        name = f"{file}-{_LAST_NUMBER.search(location)[0] if first is None else number}"
        try:
            yield from parse(file, name, value)
        except Unreadable as error:
            yield Malformed(location, str(error))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            yield Malformed(location, f"unexpected layout ({shown(error)})")
