"""Lines of text and JSONL files with their file:line; a bad line never stops the reading of the others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from gistchat.dialogue.turns import Malformed
from gistchat.errors import UserError

LONGEST_LINE = 32 * 2**20  # bytes; no dialogue comes near, and a file without line ends must not fill the memory


BLOCK_BYTES = 2**19


BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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
