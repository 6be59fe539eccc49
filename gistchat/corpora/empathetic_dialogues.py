"""EmpatheticDialogues (Rashkin et al. 2019; CC BY-NC 4.0): talk about a situation that one speaker felt.

Three layouts: the original CSV with a turn a row, the same rows on the hub, and a mirror with a dialogue a row.
The CSV is not quoted as CSV readers expect: quotes stand in the text as they were typed, and commas are written
`_comma_`. Rows are therefore cut at commas. Copies that a CSV writer has quoted are told by their number of fields.
"""

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.sources import records
from gistchat.dialogue.lines import text_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn
from gistchat.errors import UserError

NEEDED = ("conv_id", "utterance_idx", "prompt", "utterance")
# A reader that heeded quotes took the following rows, conversation ids and all, for the rest of an utterance.
_SWALLOWED = re.compile(r"hit:\d+_conv:\d+")

Row = dict[str, Any]


def read(path: Path) -> Iterator[ReadResult]:
    """Rows of one conversation stand together; a malformed row spoils its conversation, which is then left out."""
    rows = _csv_rows(path) if path.suffix == ".csv" else records(path)
    for (name, whole), group in itertools.groupby(rows, _conversation):
        pairs = list(group)
        problem = next((row for _, row in pairs if isinstance(row, Malformed)), None)
        if not problem and not whole:
            problem = next(
                (_check_position(location, row) for location, row in pairs if _check_position(location, row)), None
            )
        if not name and not problem:
            problem = Malformed(pairs[0][0], "no conversation id (conv_id)")
        if problem:
            yield problem
        elif whole:
            yield from (_from_messages(location, row) for location, row in pairs)
        else:
            yield from _from_utterances(pairs)


def _check_position(location: str, row: Row) -> Malformed | None:
    position = str(row.get("utterance_idx", "0"))
    return None if position.isdigit() else Malformed(location, f"utterance_idx {position!r} is not a number")


def _conversation(pair: tuple[str, Any]) -> tuple[str, bool]:
    """The id of a row's conversation, and whether the row holds all of it."""
    row = pair[1]
    if isinstance(row, Malformed):
        return row.dialogue, False
    return str(row.get("conv_id") or ""), "conversations" in row


def _from_messages(location: str, row: Row) -> Dialogue | Malformed:
    try:
        turns = tuple(Turn(message["role"], message["content"]) for message in row["conversations"])
        meta = {"situation": row["situation"], "emotion": row["emotion"]}
        return Dialogue(str(row["conv_id"]), turns, corpus="empathetic_dialogues", meta=meta)
    except (KeyError, TypeError) as error:
        return Malformed(location, f"unexpected layout ({error!r})")


def _from_utterances(rows: list[tuple[str, Row]]) -> Iterator[ReadResult]:
    missing = [name for name in NEEDED if name not in rows[0][1]]
    if missing:
        raise UserError(f"{rows[0][0]}: missing column {', '.join(missing)}")
    whole = [row for _, row in rows if not _SWALLOWED.search(str(row["utterance"]))]
    if len(whole) < len(rows):
        yield LeftOut("utterances that hold other rows of a broken CSV", len(rows) - len(whole))
    ordered = sorted(whole, key=lambda row: int(row["utterance_idx"]))
    turns = tuple(
        Turn(str(row.get("speaker_idx") or "AB"[i % 2]), _restore_commas(row["utterance"]))
        for i, row in enumerate(ordered)
    )
    first = rows[0][1]
    meta = {"situation": _restore_commas(first["prompt"])}
    if first.get("context"):
        meta["emotion"] = first["context"]
    yield Dialogue(str(first["conv_id"]), turns, corpus="empathetic_dialogues", meta=meta)


def _restore_commas(text: str) -> str:
    return str(text).replace("_comma_", ",")


def _csv_rows(path: Path) -> Iterator[tuple[str, Row | Malformed]]:
    """Rows by the names of their columns. A broken row still tells its conversation, if it tells anything."""
    lines = text_lines(path)
    header = _header(*next(lines, (f"{path}:1", "")))
    current = ""
    for location, line in lines:
        if isinstance(line, Malformed):
            yield location, Malformed(line.location, line.problem, current)
            continue
        current = line.split(",")[0]  # the first column holds no quotes
        fields = _fields(line, len(header))
        if fields:
            yield location, dict(zip(header, fields, strict=True))
        else:
            yield location, Malformed(location, f"expected {len(header)} columns", current)


def _header(location: str, line: str | Malformed) -> list[str]:
    header = [] if isinstance(line, Malformed) else line.split(",")
    missing = [name for name in NEEDED if name not in header]
    if missing or header[0] != NEEDED[0]:
        missing = missing or [f"{NEEDED[0]} at the start"]
        raise UserError(f"{location}: missing column {', '.join(missing)}")
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


CORPUS = Corpus(
    name="empathetic_dialogues",
    description="talk about a felt situation, which is kept as meta.situation",
    read=read,
    patterns=("train.csv", "valid.csv", "test.csv", "empathetic*.csv", "*.parquet"),
    hub=("facebook/empathetic_dialogues@refs/convert/parquet", "Estwld/empathetic_dialogues_llm"),
    mark=b",1,",
    size="24,850 dialogues",
    licence="CC BY-NC 4.0",
    citation="Rashkin, Smith, Li, Boureau (2019). Towards Empathetic Open-domain Conversation Models: A New "
    "Benchmark and Dataset. ACL.",
    link="https://aclanthology.org/P19-1534",
)
