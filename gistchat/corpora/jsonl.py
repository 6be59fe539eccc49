"""Dialogues in gistchat's own JSONL (docs/formats.md), or Parquet with the same columns."""

from collections.abc import Iterator
from typing import Any

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.sources import reader
from gistchat.dialogue.turns import Dialogue, parse_dialogue


def parse(file: str, name: str, value: Any) -> Iterator[Dialogue]:
    if isinstance(value, dict) and value.get("turns", "") in ([], None):  # nothing was said in it
        yield Dialogue(str(value.get("id") or name), (), corpus=file)
    else:
        yield parse_dialogue(value, name, file)


CORPUS = Corpus(
    name="jsonl",
    description="your dialogues, one a line (docs/formats.md), or Parquet of the same",
    read=reader(parse),
    parse=parse,
    looks_like=lambda head: head.path.suffix in (".jsonl", ".parquet") and isinstance(head.at("turns"), list),
    patterns=("*.jsonl", "*.parquet"),
    mark=b"\n",
)
