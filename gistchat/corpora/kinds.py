"""What kind of file somebody has, told by its content."""

import csv
import io
from pathlib import Path
from typing import Any

import ijson
import orjson

from gistchat.corpora.corpus import Head
from gistchat.corpora.readers import CORPORA
from gistchat.corpora.sources import TABLES, records
from gistchat.dialogue.lines import BYTE_ORDER_MARK, require_text
from gistchat.errors import UserError
from gistchat.limits import is_too_deep

BEGINNING = 2**18  # bytes


def kind_of_file(path: Path) -> str:
    """The corpus whose reader is for a user's own file.

    Raises:
        UserError: no reader is for such a file.
    """
    head = head_of(path)
    for name, corpus in CORPORA.items():
        if corpus.looks_like and corpus.looks_like(head):
            return name
    raise UserError(f"{path}: cannot tell what kind of file this is; name it with --corpus (see gistchat corpora)")


def head_of(path: Path) -> Head:
    """The beginning of a file."""
    if path.suffix in TABLES:
        row = next((value for _, value in records(path)), {})
        return Head(path, value=row, columns=tuple(map(str.lower, row)))
    require_text(path)
    with path.open("rb") as file:
        raw = file.read(BEGINNING).removeprefix(BYTE_ORDER_MARK)
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
