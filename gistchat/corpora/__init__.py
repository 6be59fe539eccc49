"""One reader per corpus: path (or None for the installed package) -> Dialogue or Malformed, one after another."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gistchat.corpora import chitchat, jsonl
from gistchat.dialogue import Dialogue, Malformed

Reader = Callable[[Path | None], Iterator[Dialogue | Malformed]]


@dataclass(frozen=True)
class Corpus:
    """A reader and what is sensible for its data where the user does not say otherwise."""

    read: Reader
    files: Callable[[Path | None], list[Path]]
    item_mark: bytes  # occurs once per dialogue in a file, so that progress knows its total without parsing
    min_turns: int = 2
    max_turn_chars: int = 0
    scrub: bool = False
    split_by: str = "dialogue"


CORPORA = {
    "chitchat": Corpus(chitchat.read, chitchat.files, b'"messages"', 6, 1000, True, "speaker"),
    "jsonl": Corpus(jsonl.read, jsonl.files, b"\n"),
}
