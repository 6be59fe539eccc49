"""What a long computation has finished, line by line: the one cache that stages resume from."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from gistchat.errors import UserError

_START = b'{"key": "'


class ResumableJsonl:
    """JSON objects by their `key`, appended to a file as they come.

    Every line begins `{"key": "KEY"`, so that opening reads no more than that; values stay on disk until they are asked
    for. The last line of a key counts. A line that was cut off when the process died is overwritten by the next one.
    Several processes may append to one file; each sees the others' lines when it looks again.
    """

    def __init__(self, path: Path) -> None:
        """Raises UserError where a line does not begin with its key."""
        self.path = path
        self.lock_path = path.with_name(f".{path.name}.lock")
        self._places: dict[str, tuple[int, int]] = {}  # key -> (offset, length) of its line
        self._end = 0  # where the last whole line that was seen ends
        self.refresh()

    def refresh(self) -> None:
        """Take in the lines that another process added since the last look."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._end)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                key, quote, _ = line[len(_START) :].partition(b'"')
                if not line.startswith(_START) or not quote:
                    raise self._damage(self._end, "a line without its key")
                self._places[key.decode()] = (self._end, len(line))
                self._end += len(line)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        """The keys."""
        return iter(self._places)

    def get(self, key: str) -> dict[str, Any] | None:
        """The object of a key; None where there is none. Raises UserError, with file:line, where it is damaged."""
        if key not in self._places:
            return None
        offset, length = self._places[key]
        with self.path.open("rb") as file:
            file.seek(offset)
            try:
                return json.loads(file.read(length))
            except (ValueError, RecursionError):
                raise self._damage(offset, "not valid JSON") from None

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
            with self.path.open("ab") as file:
                file.truncate(self._end)
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        self.refresh()

    def _damage(self, offset: int, problem: str) -> UserError:
        with self.path.open("rb") as file:
            number = file.read(offset).count(b"\n") + 1
        return UserError(f"{self.path}:{number}: {problem}; delete the line, or the file, to make it again")
