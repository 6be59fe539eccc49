"""Vectors of texts that were made before, in a file, so that a long conversation is searched at once when it is opened.

It is a cache: where it cannot be read or written, vectors are made again.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np

from gistchat.errors import first_line
from gistchat.processes import batched
from gistchat.progress import say_once

MOST_KEPT = 500_000  # vectors: 0.8 GB of MiniLM's; the oldest go
AT_A_TIME = 500  # keys of a query; SQLite takes some thousands
WAIT = 5  # seconds for another process
Result = TypeVar("Result")


def key_of(text: str) -> bytes:
    """What stands for a text; its words cannot be told from it."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class VectorCache:
    """Float32 vectors by the text's key, in one SQLite file, which several processes may use."""

    def __init__(self, path: Path, width: int) -> None:
        self.path, self.width = path, width

    def get(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """The vectors that are kept."""

        def read(database: sqlite3.Connection) -> dict[bytes, np.ndarray]:
            rows: list[tuple[bytes, bytes]] = []
            for part in batched(keys, AT_A_TIME):
                marks = ",".join("?" * len(part))
                rows += database.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part)
            whole = (row for row in rows if len(row[1]) == 4 * self.width)
            return {key: np.frombuffer(vector, np.float32) for key, vector in whole}

        return self._do(read, {}) if self.path.exists() else {}

    def put(self, vectors: Mapping[bytes, np.ndarray]) -> None:
        """Keep vectors; the oldest go where there are too many."""

        def write(database: sqlite3.Connection) -> None:
            rows = [(key, vector.astype(np.float32).tobytes()) for key, vector in vectors.items()]
            database.executemany("INSERT OR IGNORE INTO vectors (key, vector) VALUES (?, ?)", rows)
            database.execute("DELETE FROM vectors WHERE number <= (SELECT max(number) FROM vectors) - ?", (MOST_KEPT,))

        self._do(write, None)

    def forget(self, keys: Iterable[bytes]) -> None:
        """Keep these no longer; their bytes are written over."""

        def delete(database: sqlite3.Connection) -> None:
            database.executemany("DELETE FROM vectors WHERE key = ?", [(key,) for key in keys])

        if self.path.exists():
            self._do(delete, None)

    def _do(self, work: Callable[[sqlite3.Connection], Result], otherwise: Result) -> Result:
        try:
            with closing(self._open()) as database, database:
                return work(database)
        except (OSError, sqlite3.OperationalError) as error:  # no room, no right, in use for long
            say_once(
                f"{self.path}: vectors of turns cannot be kept ({first_line(error)}); they are made anew each time"
            )
        except sqlite3.DatabaseError:
            say_once(f"{self.path} is damaged; the vectors of turns in it are made anew")
            self.path.unlink(missing_ok=True)
        return otherwise

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))  # vectors tell something of what was said
        database = sqlite3.connect(self.path, timeout=WAIT)
        # Safe when the process is killed; what a power cut damages is made anew.
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA secure_delete = ON")
        database.execute(
            "CREATE TABLE IF NOT EXISTS vectors (number INTEGER PRIMARY KEY, key BLOB UNIQUE, vector BLOB)"
        )
        return database
