"""Your own CSV, TSV or Parquet: a turn a row; columns for speaker and text, and perhaps dialogue, date and number.

Rows are gathered by dialogue, wherever they stand, so the whole table is held in memory. Without a column for the
dialogue, the table is one chat. Where all speakers are roles (user and assistant, Human and AI), only the assistant's
turns are scored, and the system's are `meta["system"]`. Rows that nobody speaks are left out and counted.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from datetime import UTC
from pathlib import Path
from types import MappingProxyType

from gistchat.corpora.columns import Row, has_turns, names_in, rows_of
from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.dates import as_date, writes_month_first
from gistchat.corpora.roles import said_by
from gistchat.dialogue.turns import LeftOut, Malformed, ReadResult, Turn
from gistchat.errors import shown

NO_ORDER = "rows in the file's order, as no column tells their date or place"
NOBODY = "rows without a speaker"

Placed = list[tuple[float | None, Turn]]  # turns with the number or date that they are sorted by


def looks_like(head: Head) -> bool:
    is_csv = head.path.suffix in (".csv", ".tsv")
    return has_turns(names_in(head.path, head.text) if is_csv else head.columns)


def read(path: Path, columns: Mapping[str, str] = MappingProxyType({})) -> Iterator[ReadResult]:
    """Dialogues in the order of their first rows. A dialogue with a bad row comes out as `Malformed`.

    If a column gives the turn's number or date, rows are sorted by it; else, and where it holds none (such as clock
    times alone), they stay in the order of the file, and a `LeftOut` of no rows says so.

    Args:
        columns: the caller's own names of columns, for "dialogue", "speaker", "text", "date", "time" and "order".
    """
    rows = list(rows_of(path, columns))
    cells = [row for _, row in rows if not isinstance(row, Malformed)]
    day_first = not writes_month_first([f"{row.get('date', '')} {row.get('time', '')}" for row in cells])
    is_ordered = any(_place(row, day_first)[0] is not None for row in cells)
    dialogues: dict[str, Placed] = {}
    problems: dict[str, Malformed] = {}
    nobody = 0
    for location, row in rows:
        name = row.dialogue if isinstance(row, Malformed) else row.get("dialogue", path.stem)
        if isinstance(row, Malformed):
            problems.setdefault(name, row)
        elif not row["speaker"]:
            nobody += 1
            continue
        elif not name:
            problems.setdefault(name, Malformed(location, "empty dialogue"))
        turns = dialogues.setdefault(name, [])
        if not isinstance(row, Malformed):
            place, date = _place(row, day_first)
            turns.append((place, Turn(row["speaker"], row["text"], date)))
            if place is None and is_ordered and (value := row.get("order") or row.get("date")):
                problem = (
                    f"the turn's place {shown(value)} is neither a number nor a date (2024-12-31 or with 23:59:59)"
                )
                problems.setdefault(name, Malformed(location, problem))
    if cells and not is_ordered:
        yield LeftOut(NO_ORDER, 0)
    if nobody:
        yield LeftOut(NOBODY, nobody)
    newest_first = sum(map(_direction, dialogues.values())) < 0
    for name, turns in dialogues.items():
        yield from [problems[name]] if name in problems else said_by(name, path.stem, _ordered(turns, newest_first))


def _direction(turns: Placed) -> int:
    """-1 where the newest comes first, 1 where the oldest does, 0 where neither does or all have one place."""
    known = [place for place, _ in turns if place is not None]
    if not known or known[0] == known[-1]:
        return 0
    if known[0] > known[-1]:
        return -1 if all(one >= two for one, two in itertools.pairwise(known)) else 0
    return 1


def _ordered(turns: Placed, newest_first: bool) -> list[Turn]:
    """By their places; those of one place, and those without one, stay behind the one before them."""
    direction = _direction(turns)
    same = len({place for place, _ in turns}) == 1
    if direction < 0 or (same and newest_first):
        turns = turns[::-1]
    before = next((place for place, _ in turns if place is not None), 0.0)
    placed = [(before := before if place is None else place, turn) for place, turn in turns]
    return [turn for _, turn in sorted(placed, key=lambda pair: pair[0])]  # stable


def _place(row: Row, day_first: bool) -> tuple[float | None, str]:
    """A number to sort the row by, None where it has none, and its date as `Turn` has it."""
    date, time = row.get("date", ""), row.get("time", "")
    moment = (as_date(f"{date} {time}", day_first) if date and time else None) or as_date(date, day_first)
    written = iso(moment) if moment else ""
    order = row.get("order", "" if moment else date)
    try:
        number = float(order)
        return None if math.isnan(number) else number, written
    except ValueError:
        moment = as_date(order, day_first) if "order" in row else moment
    # Dates with a zone are told in UTC; so are those without one, whatever zone this machine is in.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() if moment else None, written


CORPUS = Corpus(
    name="table",
    description="your CSV, TSV or Parquet: columns speaker and text, perhaps dialogue and date",
    read=read,
    patterns=("*.csv", "*.tsv", "*.parquet"),
    looks_like=looks_like,
    takes=("columns",),
    mark=b"\n",
)
