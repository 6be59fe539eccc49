"""Dialogues in gistchat's own JSONL (docs/formats.md), or Parquet with the same columns."""

from collections.abc import Iterator
from pathlib import Path

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.sources import RawRecord, decode, raw_records
from gistchat.dialogue.jsonl import parse_record
from gistchat.dialogue.turns import Malformed, ReadResult


def read(path: Path) -> Iterator[ReadResult]:
    for record in raw_records(path):
        yield from parse(record)


def parse(record: RawRecord) -> Iterator[ReadResult]:
    value = decode(record)
    yield value if isinstance(value, Malformed) else parse_record(record.file, record.location, value, record.file)


CORPUS = Corpus(
    name="jsonl",
    description="your dialogues, one a line (docs/formats.md), or Parquet of the same",
    read=read,
    parse=parse,
    patterns=("*.jsonl", "*.parquet"),
    mark=b"\n",
)
