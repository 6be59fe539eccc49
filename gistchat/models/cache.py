"""Models that gistchat makes itself, once, and keeps: conversions, and bases from random weights."""

import json
from collections.abc import Callable
from pathlib import Path

import platformdirs
import safetensors

from gistchat.files import atomic_folder
from gistchat.locks import locked
from gistchat.progress import say
from gistchat.stages import changed_files, mark_done, read_marker

RECORD = "gistchat-made.json"
WORDS = ("tokenizer.json", "vocabulary.json")  # one of these is in every such folder


def cache_dir() -> Path:
    """Where converted and downloaded models are kept."""
    return Path(platformdirs.user_cache_dir("gistchat"))


def made_once(folder: Path, key: str, make: Callable[[Path], None]) -> None:
    """Have a folder filled by `make`, unless it is there; made anew, and said, where a file of it is damaged.

    Args:
        key: of what it is made from, for the record.
    """
    if is_made(folder):  # several processes may check at once
        return
    with locked(folder):
        make_whole(folder, key, make)


def make_whole(folder: Path, key: str, make: Callable[[Path], None]) -> None:
    """The same for whoever holds the folder."""
    record = folder / RECORD
    if not read_marker(record)["files"] and _can_be_read(folder):
        _keep_record(folder, key)  # made by a version of gistchat that kept none
    if is_made(folder):
        return
    if damaged := changed_files(record):
        say(f"{damaged[0]} is missing or damaged; making it anew")
    with atomic_folder(folder, RECORD) as temporary:
        make(temporary)
        _keep_record(temporary, key)


def is_made(folder: Path) -> bool:
    """Whether a folder was filled, and every file of it is as it was left."""
    record = folder / RECORD
    return bool(read_marker(record)["files"]) and not changed_files(record)


def _keep_record(folder: Path, key: str) -> None:
    mark_done(folder / RECORD, key, sorted(path for path in folder.iterdir() if path.name != RECORD))


def _can_be_read(folder: Path) -> bool:
    """Whether there are weights and a vocabulary, and neither they nor the files beside them are cut off."""
    try:
        for path in folder.glob("*.json"):
            json.loads(path.read_text(encoding="utf-8"))
        for path in folder.glob("*.safetensors"):
            with safetensors.safe_open(path, "np") as weights:
                weights.keys()
    except (OSError, ValueError, safetensors.SafetensorError):
        return False
    return any(folder.glob("model.*")) and any((folder / name).is_file() for name in WORDS)
