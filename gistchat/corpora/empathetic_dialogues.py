"""EmpatheticDialogues (Rashkin et al. 2019; CC BY-NC 4.0): the original CSV, its rows on the hub, or a row a dialogue.

The CSV is not quoted as CSV readers expect: quotes stand in the text as they were typed, and no field holds a real
comma, which is written `_comma_`. Rows are therefore cut at commas. Copies that a CSV writer has quoted again are
recognised by their rows.
"""

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.corpora.sources import records
from gistchat.dialogue.lines import text_lines
from gistchat.dialogue.turns import Dialogue, Item, LeftOut, Malformed, Turn
from gistchat.errors import UserError

PATTERNS = ("train.csv", "valid.csv", "test.csv", "empathetic*.csv", "*.parquet")
HUB = ("facebook/empathetic_dialogues@refs/convert/parquet", "Estwld/empathetic_dialogues_llm")
NEEDED = ("conv_id", "utterance_idx", "prompt", "utterance")
# A reader that heeded quotes took the following rows, conversation ids and all, for the rest of an utterance.
_SWALLOWED = re.compile(r"hit:\d+_conv:\d+")

Row = dict[str, Any]


def read(path: Path) -> Iterator[Item]:
    """Rows of one conversation stand together; a malformed row spoils its conversation, which is then left out."""
    rows = _csv_rows(path) if path.suffix == ".csv" else records(path)
    for (name, whole), group in itertools.groupby(rows, _conversation):
        found = list(group)
        problem = next((row for _, row in found if isinstance(row, Malformed)), None)
        if not problem and not whole:
            problem = next((_bad_place(where, row) for where, row in found if _bad_place(where, row)), None)
        if not name and not problem:
            problem = Malformed(found[0][0], "no conversation id (conv_id)")
        if problem:
            yield problem
        elif whole:
            yield from (_of_messages(where, row) for where, row in found)
        else:
            yield from _of_utterances(found)


def _bad_place(where: str, row: Row) -> Malformed | None:
    place = str(row.get("utterance_idx", "0"))
    return None if place.isdigit() else Malformed(where, f"utterance_idx {place!r} is not a number")


def _conversation(pair: tuple[str, Any]) -> tuple[str, bool]:
    """What tells a conversation's rows apart: its id, and whether a row holds all of it."""
    row = pair[1]
    if isinstance(row, Malformed):
        return row.dialogue, False
    return str(row.get("conv_id") or ""), "conversations" in row


def _of_messages(where: str, row: Row) -> Dialogue | Malformed:
    try:
        turns = tuple(Turn(message["role"], message["content"]) for message in row["conversations"])
        meta = {"situation": row["situation"], "emotion": row["emotion"]}
        return Dialogue(str(row["conv_id"]), turns, corpus="empathetic_dialogues", meta=meta)
    except (KeyError, TypeError) as error:
        return Malformed(where, f"unexpected layout ({error!r})")


def _of_utterances(rows: list[tuple[str, Row]]) -> Iterator[Item]:
    missing = [name for name in NEEDED if name not in rows[0][1]]
    if missing:
        raise UserError(f"{rows[0][0]}: missing column {', '.join(missing)}")
    whole = [row for _, row in rows if not _SWALLOWED.search(str(row["utterance"]))]
    if len(whole) < len(rows):
        yield LeftOut("utterances that hold other rows of a broken CSV", len(rows) - len(whole))
    ordered = sorted(whole, key=lambda row: int(row["utterance_idx"]))
    turns = tuple(
        Turn(str(row.get("speaker_idx") or "AB"[i % 2]), _commas(row["utterance"])) for i, row in enumerate(ordered)
    )
    first = rows[0][1]
    meta = {"situation": _commas(first["prompt"])}
    if first.get("context"):
        meta["emotion"] = first["context"]
    yield Dialogue(str(first["conv_id"]), turns, corpus="empathetic_dialogues", meta=meta)


def _commas(text: str) -> str:
    return str(text).replace("_comma_", ",")


def _csv_rows(path: Path) -> Iterator[tuple[str, Row | Malformed]]:
    """Rows by the names of their columns. A broken row still tells its conversation, if it tells anything."""
    lines = text_lines(path)
    header = _header(*next(lines, (f"{path}:1", "")))
    current = ""
    for where, line in lines:
        if isinstance(line, Malformed):
            yield where, Malformed(line.where, line.problem, current)
            continue
        current = line.split(",")[0]  # the first column holds no quotes
        fields = _fields(line, len(header))
        if fields:
            yield where, dict(zip(header, fields, strict=True))
        else:
            yield where, Malformed(where, f"expected {len(header)} columns", current)


def _header(where: str, line: str | Malformed) -> list[str]:
    header = [] if isinstance(line, Malformed) else line.split(",")
    missing = [name for name in NEEDED if name not in header]
    if missing or header[0] != NEEDED[0]:
        missing = missing or [f"{NEEDED[0]} at the start"]
        raise UserError(f"{where}: missing column {', '.join(missing)}")
    return header


def _fields(line: str, columns: int) -> list[str]:
    fields = line.split(",")
    if '"' in line:
        # Quoted again by a CSV writer, or quotes that somebody typed? Whichever reading fits the columns.
        [quoted] = csv.reader([line])
        if len(quoted) == columns:
            fields = quoted
    # The original has rows with more columns after the eighth, all of them empty or stray tags.
    return fields[:columns] if len(fields) >= columns else []
