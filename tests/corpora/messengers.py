"""What the tests of the messengers' readers share."""

import json
from pathlib import Path

from gistchat.corpora import discord, facebook, imessage, jsonl, signal, signal_desktop, slack, telegram
from gistchat.corpora.kinds import head_of
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed

READERS = (telegram, discord, facebook, slack, signal, signal_desktop, imessage)


def write(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1), encoding="utf-8")
    return path


def kinds(path: Path) -> list[str]:
    """The kinds that take a file for theirs, apart from those for files that anybody writes."""
    return [module.CORPUS.name for module in (*READERS, jsonl) if module.CORPUS.looks_like(head_of(path))]


def said(module, path: Path) -> list[list[tuple[str, str]]]:
    return [[(turn.speaker, turn.text) for turn in dialogue.turns] for dialogue in dialogues(module, path)]


def dialogues(module, path: Path) -> list[Dialogue]:
    return [result for result in module.read(path) if isinstance(result, Dialogue)]


def left_out(module, path: Path) -> dict[str, int]:
    return {result.what: result.count for result in module.read(path) if isinstance(result, LeftOut)}


def problems(module, path: Path) -> list[str]:
    return [result.problem for result in module.read(path) if isinstance(result, Malformed)]
