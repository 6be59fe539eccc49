"""How a stage knows that its output is current: a marker with a fingerprint of its inputs and file hashes."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from gistchat.errors import UserError
from gistchat.files import file_hash, sync_folder, sync_tree, write_json


def is_current(marker: Path, key: str) -> bool:
    """Whether a stage left `marker` with this key, and every file it names is still there as it was."""
    try:
        done = json.loads(marker.read_text(encoding="utf-8"))
        return done["key"] == key and all(
            (marker.parent / name).is_file() and file_hash(marker.parent / name) == expected  # no device, no pipe
            for name, expected in done["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def mark_done(marker: Path, key: str, files: list[Path]) -> None:
    """The last act of a stage: record what it was made from and what it left.

    A stage removes its marker before it writes anything, so that a killed one never leaves the marker of an older
    output.
    """
    hashes = {os.path.relpath(file, marker.parent): file_hash(file) for file in files}
    write_json(marker, {"key": key, "files": hashes})


@contextlib.contextmanager
def remade(marker: Path, key: str) -> Iterator[Path]:
    """A working folder; its files move beside the marker, which is written last, when the block ends without error.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = marker.parent
    working = folder.with_name(folder.name + ".part")
    shutil.rmtree(working, ignore_errors=True)
    try:
        working.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    try:
        yield working
        sync_tree(working)
        marker.unlink(missing_ok=True)
        folder.mkdir(exist_ok=True)
        files = [file.replace(folder / file.name) for file in sorted(working.iterdir())]
        sync_folder(folder)
        mark_done(marker, key, files)
    finally:
        shutil.rmtree(working, ignore_errors=True)
