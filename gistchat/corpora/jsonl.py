"""Dialogues in gistchat's own JSONL (docs/formats.md)."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from gistchat.dialogue import Dialogue, Malformed, read_jsonl

PATTERNS = ("*.jsonl",)


def read(path: Path) -> Iterator[Dialogue | Malformed]:
    for item in read_jsonl(path):
        if isinstance(item, Dialogue):
            item = dataclasses.replace(item, corpus=item.corpus or path.stem)
        yield item
