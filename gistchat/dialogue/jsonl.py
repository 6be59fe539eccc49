"""Dialogues as JSONL files: one dialogue a line (schema in docs/formats.md)."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from gistchat.dialogue.lines import json_lines, parse_records
from gistchat.dialogue.turns import Dialogue, Malformed, parse_dialogue
from gistchat.errors import UserError
from gistchat.files import atomic_text


def read_jsonl(path: Path) -> Iterator[Dialogue | Malformed]:
    """Read dialogues line by line; a bad line comes out as `Malformed` with its file:line, and reading goes on."""
    return parse_records(lambda file, name, value: [parse_dialogue(value, name)], path.stem, json_lines(path))


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
        file.writelines(dialogue.to_line().decode() for dialogue in dialogues)
