"""Your own CSV, TSV or Parquet: a turn a row; columns for speaker and text, and perhaps dialogue, date and number.

Rows are gathered by dialogue, wherever they stand, so the whole table is held in memory. Without a column for the
dialogue, the table is one chat.
"""

import contextlib
import csv
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.dates import as_date, writes_month_first
from gistchat.corpora.sources import TABLES, records
from gistchat.dialogue.lines import require_text, strip
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn
from gistchat.errors import UserError, shown
from gistchat.limits import LONGEST_LINE

# Names a column may have, in falling order of preference; the dialogue's own comes before a row's.
COLUMNS = {
    "dialogue": ("dialogue", "dialogue_id", "dialog_id", "conversation", "conversation_id", "conv_id", "thread_id"),
    "speaker": ("speaker", "speaker_id", "role", "author", "sender", "from", "user", "name"),
    "text": ("text", "utterance", "message", "content", "body", "turn"),
}
ORDER = ("turn", "turn_id", "turn_number", "utterance_idx", "utterance_id", "index", "position")
DATES = ("timestamp", "date", "datetime", "date_time", "sent", "sent_at", "date_sent", "created_at", "created", "time")
DATES += ("message_date", "send_date", "unix timestamp", "ts", "datum", "fecha")
NO_ORDER = "rows in the file's order, as no column tells their date or place"

Row = dict[str, str]


def looks_like(head: Head) -> bool:
    return all(set(head.columns) & set(COLUMNS[part]) for part in ("speaker", "text"))


def read(path: Path, columns: Mapping[str, str] = MappingProxyType({})) -> Iterator[ReadResult]:
    """Dialogues in the order of their first rows. A dialogue with a bad row comes out as `Malformed`.

    If a column gives the turn's number or date, rows are sorted by it; else they stay in the order of the file, and
    a `LeftOut` of no rows says so.

    Args:
        columns: the caller's own names of columns, for "dialogue", "speaker", "text", "date" and "order".
    """
    rows = list(_table_rows(path, columns) if path.suffix in TABLES else _csv_rows(path, columns))
    cells = [row for _, row in rows if not isinstance(row, Malformed)]
    day_first = not writes_month_first([row.get("date", "") for row in cells])
    dialogues: dict[str, list[tuple[Any, Turn]]] = {}
    problems: dict[str, Malformed] = {}
    for location, row in rows:
        name = row.dialogue if isinstance(row, Malformed) else row.get("dialogue", path.stem)
        turns = dialogues.setdefault(name, [])
        if isinstance(row, Malformed):
            problems.setdefault(name, row)
            continue
        if empty := [part for part in COLUMNS if part in row and not row[part].strip()]:
            problems.setdefault(name, Malformed(location, f"empty {empty[0]}"))
        place, date = _place(row, day_first)
        if place is None:
            value = row.get("order", row.get("date"))
            problem = f"the turn's place {shown(value)} is neither a number nor a date (2024-12-31 or with 23:59:59)"
            problems.setdefault(name, Malformed(location, problem))
        turns.append((place or 0.0, Turn(row["speaker"], row["text"], date)))
    if cells and not {"order", "date"} & cells[0].keys():
        yield LeftOut(NO_ORDER, 0)
    for name, turns in dialogues.items():
        turns.sort(key=lambda pair: pair[0])  # stable: rows of one place stay as they stand
        yield problems.get(name) or Dialogue(name, tuple(turn for _, turn in turns), corpus=path.stem)


def _place(row: Row, day_first: bool) -> tuple[float | None, str]:
    """A number to sort the row by, None where it has none, and its date as `Turn` has it."""
    moment = as_date(row.get("date", ""), day_first)
    date = iso(moment) if moment else ""
    if "order" in row or (moment is None and "date" in row):
        with contextlib.suppress(ValueError):
            number = float(row.get("order", row.get("date", "")))
            return None if math.isnan(number) else number, date
    if "order" in row:
        moment = as_date(row["order"], day_first)
    if moment is None:
        return (None if {"order", "date"} & row.keys() else 0.0), date
    # Dates with a zone are told in UTC; so are those without one, whatever zone this machine is in.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), date


def _table_rows(path: Path, chosen: Mapping[str, str]) -> Iterator[tuple[str, Row | Malformed]]:
    columns: dict[str, str] = {}
    for location, row in records(path):
        columns = columns or _columns(location, list(row), chosen)
        cells = {part: "" if row[name] is None else str(row[name]) for part, name in columns.items()}
        yield location, _trimmed(cells)


def _csv_rows(path: Path, chosen: Mapping[str, str]) -> Iterator[tuple[str, Row | Malformed]]:
    """Rows with the file:line at which they end (a quoted text may go over several lines)."""
    rows = _cells(path)
    location, header = next(rows, (f"{path}:1", []))
    columns = {part: header.index(name) for part, name in _columns(location, header, chosen).items()}
    for location, cells in rows:
        dialogue = columns.get("dialogue", len(cells))
        name = strip(cells[dialogue]) if len(cells) > dialogue else "" if "dialogue" in columns else path.stem
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


def _columns(location: str, header: Sequence[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """The column name for each of `COLUMNS`, and for the order and date if there are any."""
    names = {name.strip().lower(): name for name in reversed(header)}
    present = ", ".join(name.strip().lower() for name in header) or "nothing"
    columns = {}
    for part, own in chosen.items():
        if part not in (*COLUMNS, "date", "order"):
            raise UserError(f"{part}: no part of a table; one of: {', '.join(COLUMNS)}, date, order")
        if own.strip().lower() not in names:
            raise UserError(f"{location}: no column {shown(own)} for the {part}; found: {present}")
        columns[part] = names[own.strip().lower()]
    for part, accepted in (*COLUMNS.items(), ("order", ORDER), ("date", DATES)):
        free = [names[name] for name in accepted if name in names and names[name] not in columns.values()]
        if part in columns or (free and columns.setdefault(part, free[0])):
            continue
        if part in ("speaker", "text"):
            raise UserError(f"{location}: no column for the {part} (one of: {', '.join(accepted)}); found: {present}")
    return columns


CORPUS = Corpus(
    name="table",
    description="your CSV, TSV or Parquet: columns speaker and text, perhaps dialogue and date",
    read=read,
    patterns=("*.csv", "*.tsv", "*.parquet"),
    looks_like=looks_like,
    takes=("columns",),
    mark=b"\n",
)
