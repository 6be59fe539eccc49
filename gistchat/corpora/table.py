"""Your own CSV, TSV or Parquet: a turn a row; columns for dialogue, speaker, text, and perhaps the turn's number.

Rows are gathered by dialogue, wherever they stand, so the whole table is held in memory.
"""

import contextlib
import csv
import functools
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.sources import TABLES, records
from gistchat.dialogue.lines import require_text, strip
from gistchat.dialogue.turns import Dialogue, Malformed, ReadResult, Turn
from gistchat.errors import UserError, shown
from gistchat.limits import LONGEST_LINE

# Names a column may have, in falling order of preference; the dialogue's own comes before a row's.
COLUMNS = {
    "dialogue": ("dialogue", "dialogue_id", "dialog_id", "conversation", "conversation_id", "conv_id", "thread_id"),
    "speaker": ("speaker", "speaker_id", "role", "author", "sender", "from", "user", "name"),
    "text": ("text", "utterance", "message", "content", "body", "turn"),
}
ORDER = ("turn", "turn_id", "turn_number", "utterance_idx", "utterance_id", "index", "position", "timestamp", "time")

Row = dict[str, str]


def read(path: Path) -> Iterator[ReadResult]:
    """Dialogues in the order of their first rows. A dialogue with a bad row comes out as `Malformed`.

    If a column gives the turn's number or time, rows are sorted by it; else they stay in the order of the file.
    """
    dialogues: dict[str, list[tuple[Any, Turn]]] = {}
    problems: dict[str, Malformed] = {}
    for location, row in _table_rows(path) if path.suffix in TABLES else _csv_rows(path):
        name = row.dialogue if isinstance(row, Malformed) else row["dialogue"]
        turns = dialogues.setdefault(name, [])
        if isinstance(row, Malformed):
            problems.setdefault(name, row)
            continue
        if empty := [part for part in COLUMNS if not row[part].strip()]:
            problems.setdefault(name, Malformed(location, f"empty {empty[0]}"))
        order = _order(row.get("order", "0"))
        if order is None:
            problem = (
                f"the turn's place {shown(row['order'])} is neither a number nor a date (2024-12-31 or with 23:59:59)"
            )
            problems.setdefault(name, Malformed(location, problem))
        turns.append((order or 0.0, Turn(row["speaker"], row["text"])))
    for name, turns in dialogues.items():
        turns.sort(key=lambda pair: pair[0])  # stable: rows of one place stay as they stand
        yield problems.get(name) or Dialogue(name, tuple(turn for _, turn in turns), corpus=path.stem)


def _order(text: str) -> float | None:
    """A number, or a date by ISO 8601, as a number to sort by."""
    with contextlib.suppress(ValueError):
        number = float(text)
        return None if math.isnan(number) else number
    with contextlib.suppress(ValueError, OverflowError):
        return datetime.fromisoformat(text).timestamp()
    return None


def _table_rows(path: Path) -> Iterator[tuple[str, Row | Malformed]]:
    columns: dict[str, str] = {}
    for location, row in records(path):
        columns = columns or _columns(location, list(row))
        cells = {part: "" if row[name] is None else str(row[name]) for part, name in columns.items()}
        yield location, _trimmed(cells)


def _csv_rows(path: Path) -> Iterator[tuple[str, Row | Malformed]]:
    """Rows with the file:line at which they end (a quoted text may go over several lines)."""
    rows = _cells(path)
    location, header = next(rows, (f"{path}:1", []))
    columns = {part: header.index(name) for part, name in _columns(location, header).items()}
    for location, cells in rows:
        name = strip(cells[columns["dialogue"]]) if len(cells) > columns["dialogue"] else ""
        if len(cells) != len(header):
            yield location, Malformed(location, f"expected {len(header)} columns, found {len(cells)}", name)
        elif any("\udc80" <= char <= "\udcff" for cell in cells for char in cell):
            yield location, Malformed(location, "not UTF-8; save the file as UTF-8", name)
        else:
            yield location, _trimmed({part: cells[place] for part, place in columns.items()})


def _trimmed(row: Row) -> Row:
    """Without white space around names and numbers; a text stays as it is, as code may begin with an indentation."""
    return {part: value if part == "text" else strip(value) for part, value in row.items()}


def _cells(path: Path) -> Iterator[tuple[str, list[str]]]:
    require_text(path)
    # Bytes that are not UTF-8 come through as surrogates, so that only their own rows are bad.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        first = file.readline(LONGEST_LINE)
        file.seek(0)
        # Spreadsheets write semicolons where the comma is the decimal mark.
        delimiter = "\t" if path.suffix == ".tsv" else ";" if ";" in first and "," not in first else ","
        csv.field_size_limit(LONGEST_LINE)
        lines = (line.replace("\0", "") for line in iter(functools.partial(file.readline, LONGEST_LINE), ""))
        reader = csv.reader(lines, delimiter=delimiter, strict=True)  # else an open quote swallows the file's rest
        try:
            for row in reader:
                if row:
                    yield f"{path}:{reader.line_num}", row
        except csv.Error as error:
            unclosed = "a quote that is never closed, in this row or one before"
            problem = unclosed if "end of data" in str(error) else error
            raise UserError(f"{path}:{reader.line_num}: {problem}") from None


def _columns(location: str, header: Sequence[str]) -> dict[str, str]:
    """The column name for each of `COLUMNS`, and for the order if there is one."""
    names = {name.strip().lower(): name for name in reversed(header)}
    columns = {}
    for part, accepted in COLUMNS.items():
        columns[part] = next((names[name] for name in accepted if name in names), None)
        if columns[part] is None:
            present = ", ".join(name.strip().lower() for name in header) or "nothing"
            raise UserError(f"{location}: no column for the {part} (one of: {', '.join(accepted)}); found: {present}")
    order = next((names[name] for name in ORDER if name in names and names[name] not in columns.values()), None)
    if order is not None:
        columns["order"] = order
    return columns


CORPUS = Corpus(
    name="table",
    description="your CSV, TSV or Parquet: columns dialogue, speaker and text",
    read=read,
    patterns=("*.csv", "*.tsv", "*.parquet"),
    looks_like=lambda head: bool(head.columns),
    mark=b"\n",
)
