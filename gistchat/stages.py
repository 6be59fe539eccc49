"""How a stage knows that its output is current: a marker with a fingerprint of its inputs and file hashes.

The marker also tells what gistchat wrote. What a person changed, or put there, is never replaced: the stage is done
anew, as its output would else not be what its recipe says, and the person's file is put aside.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.errors import UserError
from gistchat.files import file_hash, hidden, put_aside, sync_folder, sync_tree, write_json
from gistchat.names import fault_of_name
from gistchat.progress import say


def is_current(marker: Path, key: str) -> bool:
    """Whether a stage left `marker` with this key, and every file it names is still there as it was."""
    done = read_marker(marker)
    return done["key"] == key and not changed_files(marker)


def read_marker(marker: Path) -> dict[str, Any]:
    """The `key` of a marker and the hashes of its `files`; both empty where there is none that can be read."""
    try:
        done = json.loads(marker.read_text(encoding="utf-8"))
        files = {str(name): str(value) for name, value in done["files"].items()}
        # A stranger's marker must not have files renamed that are elsewhere, nor name what no file can be called.
        if any(
            Path(name).is_absolute() or ".." in Path(name).parts or any(map(fault_of_name, Path(name).parts))
            for name in files
        ):
            raise ValueError("a marker names files beside it, or below")
        return {"key": str(done["key"]), "files": files}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {"key": "", "files": {}}


def changed_files(marker: Path) -> list[Path]:
    """The files that a marker names which are missing, or not as the stage left them."""
    files = {marker.parent / name: expected for name, expected in read_marker(marker)["files"].items()}
    return [path for path, expected in files.items() if not path.is_file() or file_hash(path) != expected]


def keep_changed(marker: Path) -> None:
    """Put aside what was changed since a stage left it; before the stage writes it anew."""
    for path in changed_files(marker):
        if path.exists():
            put_aside(path, "was changed since gistchat wrote it")


def keep_foreign(path: Path, field: str) -> None:
    """Put a file aside unless it is a JSON object with this field, as gistchat writes it there."""
    try:
        is_own = field in dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        is_own = False
    if path.exists() and not is_own:
        put_aside(path, "stood there before")


def require_unchanged(marker: Path, path: Path) -> None:
    """Raises UserError where a stage left another file than is there now; where nothing tells, that is said."""
    expected = read_marker(marker)["files"].get(os.path.relpath(path, marker.parent))
    if expected is None:
        say(f"{path}: used unchecked, as {marker.name} has no hash of it")
    elif file_hash(path) != expected:
        raise UserError(f"{path}: changed or damaged since it was written; run the command that wrote it again")


def mark_done(marker: Path, key: str, files: list[Path]) -> None:
    """The last act of a stage: record what it was made from and what it left.

    A stage removes its marker before it writes anything, so that a killed one never leaves the marker of an older
    output.
    """
    write_json(marker, {"key": key, "files": _hashes(files, marker.parent)})


def _hashes(files: list[Path], folder: Path) -> dict[str, str]:
    return {os.path.relpath(file, folder): file_hash(file) for file in files}


@contextlib.contextmanager
def remade(marker: Path, key: str) -> Iterator[Path]:
    """A working folder; its files move beside the marker, which is written last, when the block ends without error.

    Files of these names that the stage did not leave there are put aside.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = marker.parent
    working = hidden(folder, "part")
    shutil.rmtree(working, ignore_errors=True)
    try:
        working.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    try:
        yield working
        sync_tree(working)
        # Of what was written here, so that a file that another process puts in its place is noticed.
        hashes = _hashes(sorted(working.iterdir()), working)
        folder.mkdir(exist_ok=True)
        keep_changed(marker)
        _keep_unknown(folder, read_marker(marker)["files"], hashes)
        marker.unlink(missing_ok=True)
        for name in hashes:
            (working / name).replace(folder / name)
        sync_folder(folder)
        write_json(marker, {"key": key, "files": hashes})
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _keep_unknown(folder: Path, known: dict[str, str], new: dict[str, str]) -> None:
    """Put aside what has the name of a new file, but other content, and was not left by the stage."""
    for name, expected in new.items():
        path = folder / name
        if name not in known and path.exists() and not (path.is_file() and file_hash(path) == expected):
            put_aside(path, "stood there before")
