"""What a long computation has finished, line by line: the one cache that stages resume from."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import xxhash
from filelock import FileLock

from gistchat.errors import UserError
from gistchat.progress import say_once

_START = b'{"key": "'
_CHECKSUM = b', "checksum": "'
_END = len(_CHECKSUM) + 16 + len(b'"}')  # bytes of a line's end, from the checksum on
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ResumableJsonl:
    """JSON objects by their `key`, appended to a file as they come.

    Every line begins `{"key": "KEY"` and ends with a checksum of what stands before it, so that opening parses nothing;
    values stay on disk until they are asked for. The last line of a key counts. A line that was cut off when the
    process died is overwritten by the next one. Several processes may append to one file; each sees the others' lines
    when it looks again.

    Lines that are not as they were written (damaged, edited, or of a version that wrote no checksums) do not count:
    their keys are missing, so whoever fills the file makes them again. They are reported when the file is opened, and
    move to a file beside it when it is next written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock_path = path.with_name(f".{path.name}.lock")
        self.damaged_path = path.with_name(f"{path.name}.damaged")
        self._places: dict[str, tuple[int, int]] = {}  # key -> (offset, length) of its line
        self._damaged: list[tuple[int, int]] = []  # the same of lines that do not count
        self._end = 0  # where the last whole line that was seen ends
        self.refresh()

    def refresh(self) -> None:
        """Take in the lines that another process added since the last look."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < self._end:  # deleted, or cut by another program
            self._forget()
        if size == self._end:
            return
        known = len(self._damaged)
        with self.path.open("rb") as file:
            file.seek(self._end)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                place = (self._end, len(line))
                if key := _key_of(line):
                    self._places[key] = place
                elif not line.isspace():
                    self._damaged.append(place)
                self._end += len(line)
        self._report(self._damaged[known:])

    def _forget(self) -> None:
        self._places.clear()
        self._damaged.clear()
        self._end = 0

    def _report(self, damaged: Sequence[tuple[int, int]]) -> None:
        if not damaged:
            return
        lines = "a line is" if len(damaged) == 1 else f"this and {len(damaged) - 1:,} other lines are"
        say_once(
            f"{self._where(damaged[0][0])}: {lines} damaged, edited or without a checksum; what is needed of it is "
            f"made again, and what was there is kept in {self.damaged_path.name}"
        )

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        """The keys."""
        return iter(self._places)

    def get(self, key: str) -> dict[str, Any] | None:
        """The object of a key; None where there is none.

        Raises:
            UserError: its line has changed since the file was opened.
        """
        if key not in self._places:
            return None
        offset, length = self._places[key]
        line = _read(self.path, offset, length)
        if _key_of(line) != key:
            raise UserError(f"{self._where(offset)}: the line was changed or damaged just now; start again")
        value = json.loads(_content(line))
        del value["checksum"]
        return value

    def append(self, objects: Iterable[dict[str, Any]]) -> None:
        """Write objects, each with its `key` first, and bring them to disk."""
        self.append_lines("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in objects).encode())

    def append_lines(self, lines: bytes) -> None:
        """The same for lines that are JSON already."""
        if not lines:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.lock_path):
            self.refresh()  # else the end would be where another process has written since
            self._set_damaged_aside()
            with self.path.open("ab") as file:
                file.truncate(self._end)
                file.writelines(map(_with_checksum, lines.splitlines()))
                file.flush()
                os.fsync(file.fileno())
        self.refresh()

    def _set_damaged_aside(self) -> None:
        """Move lines that do not count to another file; blanks take their place, as others may know where lines are."""
        if not self._damaged:
            return
        with self.path.open("r+b") as file, self.damaged_path.open("ab") as aside:
            for offset, length in self._damaged:
                file.seek(offset)
                line = file.read(length)
                if not line.isspace():  # else another process moved it
                    aside.write(line)
            aside.flush()
            os.fsync(aside.fileno())
            for offset, length in self._damaged:
                file.seek(offset)
                file.write(b" " * (length - 1) + b"\n")
        self._damaged.clear()

    def _where(self, offset: int) -> str:
        """file:line of a line."""
        number = _read(self.path, 0, offset).count(b"\n") + 1
        return f"{self.path}:{number}"


def _read(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _content(line: bytes) -> bytes:
    """Without what an editor may have put around it."""
    return line.removeprefix(_BYTE_ORDER_MARK).rstrip(b"\r\n")


def _key_of(line: bytes) -> str:
    """The key of a line that is as it was written, else nothing."""
    content = _content(line)
    key, quote, _ = content[len(_START) :].partition(b'"')
    if not content.startswith(_START) or not quote or content[-_END:] != _ending(content[:-_END]):
        return ""
    return key.decode()


def _with_checksum(line: bytes) -> bytes:
    body = line.removesuffix(b"}")
    return body + _ending(body) + b"\n"


def _ending(body: bytes) -> bytes:
    """How a line ends that begins so."""
    return b'%s%s"}' % (_CHECKSUM, xxhash.xxh3_64_hexdigest(body).encode())
