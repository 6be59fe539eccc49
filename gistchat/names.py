"""Names that become files and folders, and folders to write to: faults are said before anything starts."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from gistchat.errors import UserError

MOST_BYTES = 200  # file systems take 255, and endings are added
OWN_ENDINGS = (".part", ".old", ".lock")  # of files and folders that are being written, replaced, or held
# Windows has devices of these names, whatever the ending.
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


def fault_of_name(name: str, most_bytes: int = MOST_BYTES) -> str:
    """What hinders a text from being the name of a file or folder on every system; empty where nothing does."""
    faults = {
        "is empty": not name,
        "is a path": "/" in name or "\\" in name,
        "holds a control character": any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name),
        "begins or ends with a space": name != name.strip(),
        "begins with a dot": name.startswith("."),
        "ends with a dot": name.endswith("."),
        f"ends as gistchat's own files do ({', '.join(OWN_ENDINGS)})": name.lower().endswith(OWN_ENDINGS),
        "is the name of a device on Windows": name.split(".")[0].strip().lower() in DEVICES,
        f"is longer than {most_bytes} bytes": len(name.encode("utf-8", "replace")) > most_bytes,
    }
    return next((fault for fault, applies in faults.items() if applies), "")


def require_plain_name(what: str, name: str, hint: str = "") -> str:
    """Returns the name. Raises UserError where it cannot be that of a file or folder."""
    if fault := fault_of_name(name):
        raise UserError(f"{what}: {name[:100]!r} must be a plain name{hint} (it {fault})")
    return name


def repeated(names: Sequence[str]) -> str:
    """A name that is there twice; those that differ only in case count as the same, as some file systems have it."""
    seen = set()
    for name in names:
        alike = unicodedata.normalize("NFC", name).casefold()
        if alike in seen:
            return name
        seen.add(alike)
    return ""


def folder_to_write(path: Path | str) -> Path:
    """The path, absolute where it has no name of its own, such as `.`; nothing is made yet.

    Raises:
        UserError: it is empty, a file or below one, or the root.
    """
    folder = checked_path(path)
    if folder.name in ("", ".."):
        folder = Path(os.path.abspath(folder))
    if not folder.name:
        raise UserError(f"{folder}: is the root of the file system; give a folder")
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise UserError(f"{place}: is a file; give a folder")
    return folder


def file_to_write(path: Path | str) -> Path:
    """The path of a new file; nothing is made yet. Raises UserError: it is taken, or below a file."""
    file = checked_path(path)
    if os.path.lexists(file):
        raise UserError(f"{file} is there already; give another name")
    folder_to_write(file.parent)
    return file


def checked_path(path: Path | str) -> Path:
    """Raises UserError where a text cannot be a path."""
    if not str(path):
        raise UserError("an empty name of a file or folder; the folder you are in is .")
    if "\0" in str(path):
        raise UserError(f"{str(path)[:100]!r}: no file has such a name")
    return Path(path)
