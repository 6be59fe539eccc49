"""What kind of file somebody has, told by its content."""

import csv
import io
from pathlib import Path
from typing import Any

import ijson
import orjson

from gistchat.corpora.archive import SUFFIXES, is_archive, unpacked
from gistchat.corpora.corpus import Head
from gistchat.corpora.readers import CORPORA
from gistchat.corpora.sources import TABLES, records
from gistchat.dialogue.lines import BYTE_ORDER_MARK, require_text
from gistchat.errors import UserError
from gistchat.limits import is_too_deep

BEGINNING = 2**18  # bytes


def kind_of(place: Path) -> str:
    """The corpus whose reader is for a user's own file, or for all files of a folder or an archive.

    Raises:
        UserError: no reader is for such a file, or not all files are of one kind.
    """
    files = [place] if place.is_file() and not is_archive(place) else files_in(place)
    kinds = {kind_of_file(file): file for file in files}
    if len(kinds) > 1:
        found = ", ".join(f"{kind} ({file.name})" for kind, file in kinds.items())
        raise UserError(f"{place}: files of several kinds: {found}; prepare them as KIND=FILE KIND=FILE")
    return next(iter(kinds))


def kind_of_file(path: Path) -> str:
    """The same of a single file."""
    _require_not_refused(Head(path))
    head = head_of(path)
    _require_not_refused(head)
    for name, corpus in CORPORA.items():
        if corpus.looks_like and corpus.looks_like(head):
            return name
    raise UserError(f"{path}: cannot tell what kind of file this is; name it with --corpus (see gistchat corpora)")


def _require_not_refused(head: Head) -> None:
    for corpus in CORPORA.values():
        if corpus.refused and (why := corpus.refused(head)):
            raise UserError(f"{head.path}: {why}")


def files_in(place: Path) -> list[Path]:
    """The files of a folder or an archive that may hold conversations."""
    folder = unpacked(place) if place.is_file() else place
    if not folder.is_dir():
        raise UserError(f"{place}: no such file or folder")
    if not (files := sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())):
        raise UserError(f"{place}: no file in it that may hold conversations ({', '.join(SUFFIXES)})")
    return files


def head_of(path: Path) -> Head:
    """The beginning of a file."""
    if path.suffix in TABLES:
        row = next((value for _, value in records(path)), {})
        return Head(path, value=row, columns=tuple(map(str.lower, row)))
    require_text(path)
    with path.open("rb") as file:
        raw = file.read(BEGINNING).removeprefix(BYTE_ORDER_MARK)
    if raw.startswith(b"SQLite format 3"):
        raise UserError(f"{path}: a database; export the chats from the program that made it")
    text = raw.decode("utf-8", "replace")
    if text.lstrip()[:1] in ("{", "["):
        return Head(path, text, _json_so_far(raw))
    return Head(path, text, columns=_columns(path, text))


def _json_so_far(raw: bytes) -> Any:
    first_line, more, _ = raw.lstrip().partition(b"\n")
    if more and not is_too_deep(first_line):
        try:
            return orjson.loads(first_line)  # JSONL
        except orjson.JSONDecodeError:
            pass
    if is_too_deep(raw):
        return None
    builder = ijson.ObjectBuilder()
    try:
        for event in ijson.basic_parse(io.BytesIO(raw), use_float=True):
            builder.event(*event)
    except (ijson.JSONError, UnicodeDecodeError):
        pass  # the beginning ends somewhere
    return getattr(builder, "value", None)


def _columns(path: Path, text: str) -> tuple[str, ...]:
    if path.suffix not in (".csv", ".tsv"):
        return ()
    first = text.splitlines()[0] if text.strip() else ""
    delimiter = "\t" if path.suffix == ".tsv" else ";" if ";" in first and "," not in first else ","
    return tuple(cell.strip().lower() for cell in next(csv.reader([first], delimiter=delimiter), ()))
