"""EmpatheticDialogues (Rashkin et al. 2019; CC BY-NC 4.0): talk about a situation that one speaker felt.

Three layouts: the original CSV with a turn a row, the same rows on the hub, and a mirror with a dialogue a row.
The CSV is not quoted as CSV readers expect: quotes stand in the text as they were typed, and commas are written
`_comma_`. Rows are therefore cut at commas. Copies that a CSV writer has quoted are told by their number of fields.
"""

import csv
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.sources import records
from gistchat.dialogue.lines import parse_records, text_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn
from gistchat.errors import UserError, shown

NEEDED = ("conv_id", "utterance_idx", "prompt", "utterance")
# A reader that heeded quotes took the following rows, conversation ids and all, for the rest of an utterance.
_SWALLOWED = re.compile(r"hit:\d+_conv:\d+")

Row = dict[str, Any]


def read(path: Path) -> Iterator[ReadResult]:
    """Rows of one conversation stand together; a malformed row spoils its conversation, which is then left out."""
    rows = _csv_rows(path) if path.suffix == ".csv" else records(path)
    for (name, whole), group in itertools.groupby(rows, _conversation):
        pairs = list(group)
        problem = None if whole else next(filter(None, itertools.starmap(_problem, pairs)), None)
        if problem or not name:
            yield problem or Malformed(pairs[0][0], "no conversation id (conv_id)")
        else:
            yield from parse_records(_parse_messages, path.stem, pairs, 0) if whole else _from_utterances(pairs)


def _problem(location: str, row: Row | Malformed) -> Malformed | None:
    if isinstance(row, Malformed):
        return row
    position = str(row.get("utterance_idx", "0"))
    if position.isdecimal() and len(position) < 10:
        return None
    return Malformed(location, f"utterance_idx {shown(position)} is not a number")


def _conversation(pair: tuple[str, Any]) -> tuple[str, bool]:
    """The id of a row's conversation, and whether the row holds all of it."""
    row = pair[1]
    if isinstance(row, Malformed):
        return row.dialogue, False
    return str(row.get("conv_id") or ""), "conversations" in row


def _parse_messages(file: str, _: str, row: Row) -> Iterator[Dialogue]:
    turns = tuple(Turn(message["role"], message["content"]) for message in row["conversations"])
    meta = {"situation": row["situation"], "emotion": row["emotion"]}
    yield Dialogue(str(row["conv_id"]), turns, corpus="empathetic_dialogues", meta=meta)


def _from_utterances(rows: list[tuple[str, Row]]) -> Iterator[ReadResult]:
    for location, row in rows:
        _require_columns(location, row)
    whole = [row for _, row in rows if not _SWALLOWED.search(str(row["utterance"]))]
    if len(whole) < len(rows):
        yield LeftOut("utterances that hold other rows of a broken CSV", len(rows) - len(whole))
    ordered = sorted(whole, key=lambda row: int(row["utterance_idx"]))
    speakers = [str(row.get("speaker_idx") or "AB"[i % 2]) for i, row in enumerate(ordered)]
    turns = tuple(Turn(name, _restore_commas(row["utterance"])) for name, row in zip(speakers, ordered, strict=True))
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
    location, line = next(lines, (f"{path}:1", ""))
    header = [] if isinstance(line, Malformed) else line.split(",")
    _require_columns(location, header)
    if header[0] != NEEDED[0]:
        raise UserError(f"{location}: missing column {NEEDED[0]} at the start")
    current = ""
    for location, line in lines:
        if isinstance(line, Malformed):
            yield location, Malformed(line.location, line.problem, current)
            continue
        current = line.split(",")[0]  # the first column holds no quotes
        if fields := _fields(line, len(header)):
            yield location, dict(zip(header, fields, strict=True))
        else:
            yield location, Malformed(location, f"expected {len(header)} columns", current)


def _require_columns(location: str, columns: Iterable[str]) -> None:
    if missing := [name for name in NEEDED if name not in columns]:
        raise UserError(f"{location}: missing column {', '.join(missing)}")


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
