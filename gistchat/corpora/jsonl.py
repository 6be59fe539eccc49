"""Dialogues in gistchat's own JSONL (docs/formats.md), or Parquet with the same columns."""

from collections.abc import Iterator
from pathlib import Path

from gistchat.corpora.sources import Undecoded, undecoded
from gistchat.dialogue import Item, Malformed, parse_json, parse_record

PATTERNS = ("*.jsonl", "*.parquet")

units = undecoded


def read(path: Path) -> Iterator[Item]:
    for item in units(path):
        yield from parse(item)


def parse(item: Undecoded) -> Iterator[Item]:
    value = parse_json(item.where, item.value) if isinstance(item.value, bytes) else item.value
    yield value if isinstance(value, Malformed) else parse_record(item.file, item.where, value, item.file)
