"""Files and folders written whole or not at all, JSON, and fingerprints of content."""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from gistchat.errors import UserError, first_line
from gistchat.limits import TOO_DEEP, is_too_deep
from gistchat.progress import say


def hidden(path: Path, role: str) -> Path:
    """A name of gistchat's own beside a path, for what is there while a file or folder is written."""
    path = path.absolute()
    return path.with_name(f".{path.name}.gistchat-{role}")


def put_aside(path: Path, why: str) -> Path:
    """Rename what a person may want to keep to a free name beside it, which is returned, and say so.

    Args:
        why: the rest of a sentence about it, such as "was changed".
    """
    for number in itertools.count(1):
        # After the suffix: a folder's *.jsonl are read as data, and what was put aside is not to be among them.
        free = path.with_name(f"{path.name}-before" + (f"-{number}" if number > 1 else ""))
        if not os.path.lexists(free):
            break
    path.rename(free)
    say(f"{path} {why}; kept as {free.name}")
    return free


@contextlib.contextmanager
def atomic_text(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file that appears under its name only when it is complete and on disk."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = hidden(path, "part")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A name to write a file under, which appears under its own only when it is complete and on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = hidden(path, "part")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk: fsync of a file does not cover them."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush a folder and every file below it to disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


@contextlib.contextmanager
def atomic_folder(path: Path, mark: str) -> Iterator[Path]:
    """Fill a folder that replaces `path` only when it is complete.

    Between the two renames the previous version stands under its hidden name, where readers find it
    (`previous_version`); only a writer may rename it.

    Args:
        mark: a file that such folders of gistchat's hold; what stands at `path` without it is put aside.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = hidden(path, "part"), previous_version(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        _give_usual_mode(temporary)
        sync_tree(temporary)
        recover_folder(path)
        shutil.rmtree(old, ignore_errors=True)
        if path.exists() and not (path / mark).is_file() and any(path.iterdir() if path.is_dir() else [path]):
            put_aside(path, "stood there before")
        elif path.exists():
            path.rename(old)
        temporary.rename(path)
        sync_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _give_usual_mode(folder: Path) -> None:
    """Let everybody read the files who may read the folder: the writers of some libraries leave them to the owner."""
    mode = folder.stat().st_mode & 0o666  # as the user's umask wants it
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def previous_version(path: Path) -> Path:
    """Where the previous version of a folder is while `atomic_folder` replaces it."""
    return hidden(path, "old")


def recover_folder(path: Path) -> None:
    """Restore the previous version of a folder if the process died between the two renames of `atomic_folder`.

    For the one process that writes the folder: to another's eyes, it may be just between them.
    """
    old = previous_version(path)
    if old.exists() and not path.exists():
        old.rename(path)


def write_json(path: Path, value: Any) -> None:
    with atomic_text(path) as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
        file.write("\n")


def read_json(path: Path) -> Any:
    """Raises UserError with file:line when the file is missing, torn or not JSON."""
    try:
        data = path.read_bytes()
        if is_too_deep(data):
            raise UserError(f"{path}: {TOO_DEEP}")
        return json.loads(data.decode())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from None
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{path}: not valid JSON ({first_line(error)})") from None


def read_json_lines(path: Path) -> list[Any]:
    """All lines of a JSONL file; only line feeds end a line. Raises UserError, with file:line, if one is not JSON."""
    values = []
    try:
        with path.open("rb") as file:
            for line in file:
                values.append(json.loads(line.decode()))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}:{len(values) + 1}: not valid JSON ({first_line(error)})") from None
    return values


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged_file(folder: Path, hashes: dict[str, str]) -> str:
    """The first of the files that is missing or not as it was written; empty when all are well."""
    for name, expected in hashes.items():
        if not (folder / name).is_file() or file_hash(folder / name) != expected:
            return name
    return ""


def fingerprint(value: Any) -> str:
    """Twelve hex digits that stand for a JSON-like value: equal values, equal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
