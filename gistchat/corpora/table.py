"""CSV or TSV, a turn a row, with a header that names the columns for dialogue, speaker and text."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from gistchat.dialogue import Dialogue, Malformed, Turn
from gistchat.errors import UserError

PATTERNS = ("*.csv", "*.tsv")
# Names a column may have, in falling order of preference; the dialogue's own comes before a row's.
COLUMNS = {
    "dialogue": ("dialogue", "dialogue_id", "dialog_id", "conversation", "conversation_id", "conv_id", "thread_id"),
    "speaker": ("speaker", "speaker_id", "role", "author", "sender", "from", "user", "name"),
    "text": ("text", "utterance", "message", "content", "body", "turn"),
}


def read(path: Path) -> Iterator[Dialogue | Malformed]:
    """Rows are gathered by dialogue, in their order. A bad row spoils its dialogue, which comes out as `Malformed`."""
    rows = _rows(path)
    where, header = next(rows, (f"{path}:1", []))
    places = _places(where, header)
    dialogues: dict[str, list[Turn]] = {}
    problems: dict[str, Malformed] = {}
    for where, row in rows:
        # A row with missing columns still tells its dialogue, if it is long enough.
        name = row[places["dialogue"]].strip() if len(row) > places["dialogue"] else ""
        turns = dialogues.setdefault(name, [])
        if len(row) != len(header):
            problems.setdefault(name, Malformed(where, f"expected {len(header)} columns, found {len(row)}"))
            continue
        speaker, text = row[places["speaker"]].strip(), row[places["text"]].strip()
        empty = [part for part, value in (("dialogue", name), ("speaker", speaker), ("text", text)) if not value]
        if empty:
            problems.setdefault(name, Malformed(where, f"empty {empty[0]}"))
        turns.append(Turn(speaker, text))
    for name, turns in dialogues.items():
        yield problems.get(name) or Dialogue(name, tuple(turns), corpus=path.stem)


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Rows with the file:line at which they end (a quoted text may go over several lines)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None
    first = text.split("\n", 1)[0]
    # Spreadsheets write semicolons where the comma is the decimal mark.
    delimiter = "\t" if path.suffix == ".tsv" else ";" if ";" in first and "," not in first else ","
    reader = csv.reader(io.StringIO(text.replace("\0", "")), delimiter=delimiter)
    try:
        for row in reader:
            if row:
                yield f"{path}:{reader.line_num}", row
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: {error}") from None


def _places(where: str, header: list[str]) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    places = {}
    for part, known in COLUMNS.items():
        found = next((name for name in known if name in names), None)
        if found is None:
            there = ", ".join(names) or "nothing"
            raise UserError(f"{where}: no column for the {part} (one of: {', '.join(known)}); found: {there}")
        places[part] = names.index(found)
    return places
