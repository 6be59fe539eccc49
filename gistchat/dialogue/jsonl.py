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
    for location, value in json_lines(path):
        yield value if isinstance(value, Malformed) else parse_record(path.stem, location, value)


def parse_record(file: str, location: str, value: Any, corpus: str = "") -> Dialogue | Malformed:
    """The dialogue of a decoded record.

    Args:
        file: with the number at the end of `location`, the id of a dialogue that has none.
        corpus: of a dialogue that names none.
    """
    try:
        return parse_dialogue(value, f"{file}-{_LAST_NUMBER.search(location)[0]}", corpus)
    except ValueError as error:
        return Malformed(location, str(error))


def load_dialogues(path: Path) -> list[Dialogue]:
    """All dialogues of a prepared file. Raises UserError at the first bad line."""
    dialogues = []
    for dialogue in read_jsonl(path):
        if isinstance(dialogue, Malformed):
            raise UserError(str(dialogue))
        dialogues.append(dialogue)
    return dialogues


def write_jsonl(path: Path, dialogues: Iterable[Dialogue]) -> None:
    with atomic_text(path) as file:
        for dialogue in dialogues:
            file.write(dialogue.to_line().decode())
