"""Lines of text and JSONL files with their file:line; a bad line never stops the reading of the others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from gistchat.dialogue.turns import Malformed
from gistchat.errors import UserError

LONGEST_LINE = 32 * 2**20  # bytes; no dialogue comes near, and a file without line ends must not fill the memory
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def require_text(path: Path) -> None:
    """Raises UserError if the first bytes show another encoding or an archive."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open("rb") as file:
        first = file.read(4)
    if first[:2] in (b"\xff\xfe", b"\xfe\xff"):
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
            if line.endswith(b"\n"):
                yield location, line[:-1]
            elif len(line) <= LONGEST_LINE:  # the last line, without a line end
                yield location, line
            else:
                length = len(line) + _skip_line(file)
                yield location, Malformed(location, f"{length:,} bytes long; at most {LONGEST_LINE:,} are read")


def text_lines(path: Path, keep_empty: bool = False) -> Iterator[tuple[str, str | Malformed]]:
    """Lines of a UTF-8 text file with their file:line, white space at the ends stripped.

    A bad line comes out as `Malformed`, and reading goes on. Empty lines are dropped unless they are to be kept.
    """
    for location, raw in raw_lines(path):
        line = raw if isinstance(raw, Malformed) else _decode(location, raw)
        if line or keep_empty:
            yield location, line


def _decode(location: str, raw: bytes) -> str | Malformed:
    try:
        return raw.decode().strip()
    except UnicodeDecodeError as error:
        return Malformed(location, f"not UTF-8 (byte 0x{raw[error.start]:02x} at column {error.start + 1})")


def _skip_line(file: BinaryIO) -> int:
    """Skip the rest of a line in constant memory; returns its length in bytes, without the line end."""
    length = 0
    while raw := file.readline(2**20):
        length += len(raw)
        if raw.endswith(b"\n"):
            return length - 1
    return length


def json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Decoded lines of a JSONL file with their file:line; a bad line comes out as `Malformed`."""
    for location, raw in raw_lines(path):
        if isinstance(raw, Malformed):
            yield location, raw
        elif raw and not raw.isspace():
            yield location, parse_json(location, raw)


def parse_json(location: str, raw: bytes) -> Any:
    """The value of a line of JSON, or `Malformed`."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        text = _decode(location, raw)
        return (
            text
            if isinstance(text, Malformed)
            else Malformed(location, f"not valid JSON at column {error.colno} ({error.msg})")
        )
