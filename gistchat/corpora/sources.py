"""What the readers of original files share: finding a corpus's files, and the split that a file's name tells."""

import re
from collections.abc import Sequence
from pathlib import Path

from gistchat.errors import UserError

SPLIT_WORDS = {"train": "train", "valid": "validation", "validation": "validation", "val": "validation"}
SPLIT_WORDS |= {"dev": "validation", "test": "test"}


def split_of_name(path: Path) -> str:
    """train, validation or test, by the words of a file's name; empty where it names none."""
    words = re.split(r"[^a-z]+", path.name.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "")


def find_files(corpus: str, source: Path | None, patterns: Sequence[str]) -> list[Path]:
    """The file `source`, or the corpus's files in the folder `source`.

    Raises:
        UserError: no source, or nothing of that corpus there.
    """
    if source is None:
        raise UserError(f"say where the {corpus} files are: --from FILE_OR_FOLDER, in a recipe data.source")
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder")
    # Folders of a distribution are nested; a prepared folder's own subfolders are not meant.
    for search in (source.glob, source.rglob):
        if found := sorted({path for pattern in patterns for path in search(pattern) if path.is_file()}):
            return found
    raise UserError(f"{source}: no {corpus} file in this folder ({' or '.join(patterns)})")
