"""CSV, TSV or Parquet, a turn a row, with columns named for dialogue, speaker and text (and perhaps the turn's number).

Rows are gathered by dialogue, wherever they stand, so the whole table is held in memory.
"""

import contextlib
import csv
import functools
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from gistchat.corpora.sources import TABLES, records
from gistchat.dialogue.lines import LONGEST_LINE, require_text
from gistchat.dialogue.turns import Dialogue, Item, Malformed, Turn
from gistchat.errors import UserError

PATTERNS = ("*.csv", "*.tsv", "*.parquet")
# Names a column may have, in falling order of preference; the dialogue's own comes before a row's.
COLUMNS = {
    "dialogue": ("dialogue", "dialogue_id", "dialog_id", "conversation", "conversation_id", "conv_id", "thread_id"),
    "speaker": ("speaker", "speaker_id", "role", "author", "sender", "from", "user", "name"),
    "text": ("text", "utterance", "message", "content", "body", "turn"),
}
ORDER = ("turn", "turn_id", "turn_number", "utterance_idx", "utterance_id", "index", "position", "timestamp", "time")

Row = dict[str, str]


def read(path: Path) -> Iterator[Item]:
    """Dialogues in the order of their first rows. A bad row spoils its dialogue, which comes out as `Malformed`.

    Where a column tells the turn's number, rows are put in its order; else they stay in the file's.
    """
    dialogues: dict[str, list[tuple[Any, Turn]]] = {}
    problems: dict[str, Malformed] = {}
    for where, row in _table_rows(path) if path.suffix in TABLES else _csv_rows(path):
        name = row.dialogue if isinstance(row, Malformed) else row["dialogue"]
        turns = dialogues.setdefault(name, [])
        if isinstance(row, Malformed):
            problems.setdefault(name, row)
            continue
        empty = [part for part in COLUMNS if not row[part]]
        if empty:
            problems.setdefault(name, Malformed(where, f"empty {empty[0]}"))
        order = _order(row["order"]) if "order" in row else 0.0
        if order is None:
            problem = f"the turn's place {row['order']!r} is neither a number nor a date (2024-12-31 or with 23:59:59)"
            problems.setdefault(name, Malformed(where, problem))
        turns.append((order or 0.0, Turn(row["speaker"], row["text"])))
    for name, turns in dialogues.items():
        turns.sort(key=lambda pair: pair[0])  # stable: rows of one place stay as they stand
        yield problems.get(name) or Dialogue(name, tuple(turn for _, turn in turns), corpus=path.stem)


def _order(text: str) -> float | None:
    """A number, or a date by ISO 8601, as a number to sort by."""
    with contextlib.suppress(ValueError):
        return float(text)
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text).timestamp()
    return None


def _table_rows(path: Path) -> Iterator[tuple[str, Row | Malformed]]:
    places: dict[str, str] = {}
    for where, row in records(path):
        places = places or _places(where, list(row))
        yield where, {part: "" if row[name] is None else str(row[name]).strip() for part, name in places.items()}


def _csv_rows(path: Path) -> Iterator[tuple[str, Row | Malformed]]:
    """Rows with the file:line at which they end (a quoted text may go over several lines)."""
    rows = _cells(path)
    where, header = next(rows, (f"{path}:1", []))
    places = {part: header.index(name) for part, name in _places(where, header).items()}
    for where, cells in rows:
        name = cells[places["dialogue"]].strip() if len(cells) > places["dialogue"] else ""
        if len(cells) != len(header):
            yield where, Malformed(where, f"expected {len(header)} columns, found {len(cells)}", name)
        elif any("\udc80" <= char <= "\udcff" for cell in cells for char in cell):
            yield where, Malformed(where, "not UTF-8; save the file as UTF-8", name)
        else:
            yield where, {part: cells[place].strip() for part, place in places.items()}


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
            problem = (
                "a quote that is never closed, in this row or one before" if "end of data" in str(error) else error
            )
            raise UserError(f"{path}:{reader.line_num}: {problem}") from None


def _places(where: str, header: Sequence[str]) -> dict[str, str]:
    """The name of the column of each part."""
    names = {name.strip().lower(): name for name in reversed(header)}
    places = {}
    for part, known in COLUMNS.items():
        found = next((name for name in known if name in names), None)
        if found is None:
            there = ", ".join(name.strip().lower() for name in header) or "nothing"
            raise UserError(f"{where}: no column for the {part} (one of: {', '.join(known)}); found: {there}")
        places[part] = names[found]
    order = next((names[name] for name in ORDER if name in names and names[name] not in places.values()), None)
    if order is not None:
        places["order"] = order
    return places
