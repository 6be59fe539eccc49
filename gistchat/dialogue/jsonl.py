"""Dialogues as JSONL files: one dialogue a line (schema in docs/formats.md)."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gistchat.dialogue.lines import json_lines
from gistchat.dialogue.turns import Dialogue, Malformed, parse_dialogue
from gistchat.errors import UserError
from gistchat.files import atomic_text

_LAST_NUMBER = re.compile(r"\d+$")


def read_jsonl(path: Path) -> Iterator[Dialogue | Malformed]:
    """Read dialogues line by line; a bad line comes out as `Malformed` with its file:line, and reading goes on."""
    return parse_records(path.stem, json_lines(path))


def parse_records(name: str, records: Iterable[tuple[str, Any]]) -> Iterator[Dialogue | Malformed]:
    """Dialogues of decoded records and their places; those without an id are called by `name` and their number."""
    for where, value in records:
        yield value if isinstance(value, Malformed) else parse_record(name, where, value)


def parse_record(name: str, where: str, value: Any, corpus: str = "") -> Dialogue | Malformed:
    """The dialogue of a decoded record; `name` and its number are its id, and `corpus` its corpus, if it has none."""
    named = isinstance(value, dict) and value.get("id")
    try:
        return parse_dialogue(value, "" if named else f"{name}-{_LAST_NUMBER.search(where)[0]}", corpus)
    except ValueError as error:
        return Malformed(where, str(error))


def load_dialogues(path: Path) -> list[Dialogue]:
    """All dialogues of a prepared file. Raises UserError at the first bad line."""
    dialogues = []
    for item in read_jsonl(path):
        if isinstance(item, Malformed):
            raise UserError(str(item))
        dialogues.append(item)
    return dialogues


def write_jsonl(path: Path, dialogues: Iterable[Dialogue]) -> None:
    with atomic_text(path) as file:
        for dialogue in dialogues:
            file.write(dialogue.to_line().decode())
