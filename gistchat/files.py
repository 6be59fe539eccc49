"""Files and folders written whole or not at all, JSON, and fingerprints of content."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from gistchat.errors import UserError, first_line
from gistchat.limits import TOO_DEEP, is_too_deep


@contextlib.contextmanager
def atomic_text(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file that appears under its name only when it is complete and on disk."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
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
def atomic_folder(path: Path) -> Iterator[Path]:
    """Fill a folder that replaces `path` only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    old = path.with_name(path.name + ".old")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        sync_tree(temporary)
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        sync_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Restore the previous version of a folder if the process died between the two renames of `atomic_folder`."""
    old = path.with_name(path.name + ".old")
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
    """All lines of a JSONL file that a stage here wrote; only line feeds end a line."""
    with path.open(encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


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
