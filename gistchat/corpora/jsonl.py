"""Dialogues in gistchat's own JSONL (docs/formats.md), or Parquet with the same columns."""

from collections.abc import Iterator
from pathlib import Path

from gistchat.corpora.sources import Undecoded, decoded, undecoded
from gistchat.dialogue.jsonl import parse_record
from gistchat.dialogue.lines import Block
from gistchat.dialogue.turns import Item, Malformed

PATTERNS = ("*.jsonl", "*.parquet")

units = undecoded


def read(path: Path) -> Iterator[Item]:
    for unit in units(path):
        yield from parse(unit)


def parse(unit: Block | Undecoded) -> Iterator[Item]:
    for name, where, value in decoded(unit):
        yield value if isinstance(value, Malformed) else parse_record(name, where, value, name)
