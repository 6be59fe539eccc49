"""EmpatheticDialogues (Rashkin et al. 2019; CC BY-NC 4.0): CSV, an utterance a row, commas written `_comma_`.

The file is not quoted as CSV readers expect: quotes stand in the text as they were typed, and no field holds a real
comma. Rows are therefore cut at commas. Copies that a CSV writer has quoted again are recognised by their rows.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from gistchat.dialogue import Dialogue, Malformed, Turn, text_lines
from gistchat.errors import UserError

PATTERNS = ("train.csv", "valid.csv", "test.csv", "empathetic*.csv")
NEEDED = ("conv_id", "utterance_idx", "prompt", "utterance")


def read(path: Path) -> Iterator[Dialogue | Malformed]:
    """Rows of one conversation stand together; a malformed row spoils its conversation, which is then left out."""
    header: list[str] | None = None
    current = ""
    rows: list[dict[str, str]] = []
    problem: Malformed | None = None
    for where, line in text_lines(path):
        if header is None:
            header = _header(where, line)
            continue
        # A broken row still tells its conversation, if it tells anything: the first column holds no quotes.
        name = current if isinstance(line, Malformed) else line.split(",")[0]
        if name != current and (rows or problem):
            yield problem or _dialogue(path, rows)
            rows, problem = [], None
        current = name
        fields = [] if isinstance(line, Malformed) else _fields(line, len(header))
        if fields:
            rows.append(dict(zip(header, fields, strict=True)))
        elif problem is None:
            problem = line if isinstance(line, Malformed) else Malformed(where, f"expected {len(header)} columns")
    if rows or problem:
        yield problem or _dialogue(path, rows)


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


def _dialogue(path: Path, rows: list[dict[str, str]]) -> Dialogue | Malformed:
    rows = sorted(rows, key=lambda row: int(row["utterance_idx"]) if row["utterance_idx"].isdigit() else 0)
    turns = tuple(
        Turn(row.get("speaker_idx") or "AB"[i % 2], row["utterance"].replace("_comma_", ","))
        for i, row in enumerate(rows)
    )
    meta = {"situation": rows[0]["prompt"].replace("_comma_", ",")}
    if rows[0].get("context"):
        meta["emotion"] = rows[0]["context"]
    return Dialogue(rows[0]["conv_id"], turns, corpus="empathetic_dialogues", meta=meta)
