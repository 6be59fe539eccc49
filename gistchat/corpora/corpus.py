"""What is known of a corpus: its reader, its files, its licence, and sensible settings for its data."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gistchat.corpora.sources import Source, find_sources
from gistchat.dialogue.lines import Parse
from gistchat.dialogue.turns import ReadResult


@dataclass(frozen=True)
class Corpus:
    """One corpus; every reader module has one as `CORPUS`."""

    name: str
    description: str  # one line for `gistchat corpora`; so are `size`, `licence`, `citation` and `link`
    read: Callable[[Path], Iterator[ReadResult]]  # the dialogues of a file, and what is wrong with or left out of it
    patterns: tuple[str, ...]  # names of its files, in the layouts that it is distributed in
    mark: bytes  # occurs about once per dialogue, for the total of the progress bar
    size: str = ""
    licence: str = "yours"
    citation: str = ""
    link: str = ""
    hub: tuple[str, ...] = ()  # ids of its mirrors on the Hugging Face hub, the best first
    find: Callable[[str], list[Source]] | None = None  # the files at a place, if patterns and hub are not enough
    tokenised: bool = False  # its text was cut into tokens, at least in part: `join_tokens` puts it together
    parse: Parse | None = None  # the dialogues of `raw_records`; worker processes then call it instead of `read`
    # defaults for `data` in recipes
    min_turns: int = 2
    max_turn_chars: int = 0
    scrub: bool = False
    split_by: str = "dialogue"

    def sources(self, place: str) -> list[Source]:
        """The corpus's files at `place`. Raises UserError if there are none."""
        return self.find(place) if self.find else find_sources(self.name, self.patterns, self.hub, place)
