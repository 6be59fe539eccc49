"""How a stage knows that its output is current: a marker with a fingerprint of its inputs and file hashes."""

import json
import os
from pathlib import Path

from gistchat.files import file_hash, write_json


def is_current(marker: Path, key: str) -> bool:
    """Whether a stage left `marker` with this key, and every file it names is still there as it was."""
    try:
        done = json.loads(marker.read_text(encoding="utf-8"))
        return done["key"] == key and all(
            file_hash(marker.parent / name) == expected for name, expected in done["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def mark_done(marker: Path, key: str, files: list[Path]) -> None:
    """The last act of a stage: record what it was made from and what it left.

    A stage removes its marker before it writes anything, so that a kill never leaves the marker of another's output.
    """
    hashes = {os.path.relpath(file, marker.parent): file_hash(file) for file in files}
    write_json(marker, {"key": key, "files": hashes})
