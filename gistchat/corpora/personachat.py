"""Persona-Chat / ConvAI2 (Zhang et al. 2018), in ParlAI's text layout or as `personachat_self_original.json`.

The personas go to `meta["gold"]` as sentences, each with the speaker it describes.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.dialogue import Dialogue, Malformed, Turn, text_lines
from gistchat.storage import read_json

PATTERNS = ("*_self_original*.txt", "*_both_original*.txt", "*_none_original*.txt", "personachat*.json")
SILENCE = "__SILENCE__"
_NUMBERED = re.compile(r"(\d+) (.*)", re.S)
_PERSONA = re.compile(r"(your|partner's) persona: (.*)")
OTHER, SELF = "A", "B"  # ParlAI shows the exchange to the second speaker, whose persona is "your persona"


def read(path: Path) -> Iterator[Dialogue | Malformed]:
    return _read_json(path) if path.suffix == ".json" else _read_text(path)


def _read_text(path: Path) -> Iterator[Dialogue | Malformed]:
    """Numbered lines; number 1 begins a dialogue; an exchange is two turns and, in some files, candidates."""
    turns: list[Turn] = []
    gold: list[dict[str, str]] = []
    problem: Malformed | None = None
    start = ""
    for where, line in text_lines(path):
        matched = None if isinstance(line, Malformed) else _NUMBERED.fullmatch(line)
        if matched is None:
            problem = problem or (line if isinstance(line, Malformed) else Malformed(where, "no line number"))
            continue
        number, text = matched.groups()
        if number == "1":
            if start:
                yield problem or _dialogue(path, start, turns, gold)
            turns, gold, problem, start = [], [], None, where
        if persona := _PERSONA.fullmatch(text):
            gold.append({"speaker": SELF if persona[1] == "your" else OTHER, "text": persona[2]})
            continue
        columns = text.split("\t")
        if len(columns) < 2:
            problem = problem or Malformed(where, "expected a turn, a tab and its answer")
            continue
        turns += [Turn(OTHER, columns[0]), Turn(SELF, columns[1])]
    if start or problem:
        yield problem or _dialogue(path, start, turns, gold)


def _dialogue(path: Path, start: str, turns: list[Turn], gold: list[dict[str, str]]) -> Dialogue:
    kept = tuple(turn for turn in turns if turn.text.strip() != SILENCE)
    name = f"{path.stem}-{start.rsplit(':', 1)[1]}"
    return Dialogue(name, kept, corpus="personachat", meta={"gold": gold} if gold else {})


def _read_json(path: Path) -> Iterator[Dialogue | Malformed]:
    """`{"train": [...], "valid": [...]}` of entries with `personality` and `utterances`."""
    data = read_json(path)
    for split, entries in (("train", data.get("train", [])), ("validation", data.get("valid", []))):
        for number, entry in enumerate(entries):
            where = f"{path}: {split} entry {number}"
            try:
                yield _entry(entry, f"{split}-{number}", split)
            except (KeyError, IndexError, TypeError) as error:
                yield Malformed(where, f"unexpected layout ({error!r})")


def _entry(entry: dict[str, Any], name: str, split: str) -> Dialogue:
    """The last utterance's history is the whole conversation but its last reply, the last of the candidates."""
    last = max(entry["utterances"], key=lambda utterance: len(utterance["history"]))
    texts = [*last["history"], last["candidates"][-1]]
    turns = tuple(Turn((OTHER, SELF)[i % 2], text) for i, text in enumerate(texts))
    turns = tuple(turn for turn in turns if turn.text.replace(" ", "") != SILENCE)
    gold = [{"speaker": SELF, "text": text} for text in entry.get("personality", [])]
    return Dialogue(name, turns, corpus="personachat", split=split, meta={"gold": gold} if gold else {})
