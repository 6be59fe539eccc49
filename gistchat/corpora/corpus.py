"""What is known of a corpus: its reader, its files, its licence, and sensible settings for its data."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gistchat.corpora.sources import Source, find_sources
from gistchat.dialogue.lines import Parse
from gistchat.dialogue.turns import ReadResult


@dataclass(frozen=True)
class Head:
    """The beginning of a file, by which its kind is told.

    Attributes:
        text: its first characters; empty for tables in binary form.
        value: of JSON what is read so far, lists and objects cut off where the beginning ends; of JSONL the first line;
            of a row of Parquet that row; None of what is none of these.
        columns: of CSV and Parquet their names in lower case.
    """

    path: Path
    text: str = ""
    value: Any = None
    columns: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """The lines of the text, without the last, which may be cut off, where there are several."""
        lines = self.text.splitlines()
        return lines[:-1] if len(lines) > 1 and not self.text.endswith("\n") else lines

    def at(self, *path: str | int) -> Any:
        """What the value holds at a path of keys and places; None where there is no such thing."""
        found = self.value
        for step in path:
            try:
                found = found[step]
            except (LookupError, TypeError):
                return None
        return found


@dataclass(frozen=True)
class Corpus:
    """One corpus; every reader module has one as `CORPUS`."""

    name: str
    description: str  # one line for `gistchat corpora`; so are `size`, `licence`, `citation` and `link`
    read: Callable[..., Iterator[ReadResult]]  # the dialogues of a file, and what is wrong with or left out of it
    patterns: tuple[str, ...]  # names of its files, in the layouts that it is distributed in
    mark: bytes  # occurs about once per dialogue, for the total of the progress bar
    size: str = ""
    licence: str = "yours"
    citation: str = ""
    link: str = ""
    hub: tuple[str, ...] = ()  # ids of its mirrors on the Hugging Face hub, the best first
    find: Callable[[str], list[Source]] | None = None  # the files at a place, if patterns and hub are not enough
    tokenised: bool = False  # its text was cut into tokens, at least in part: `join_tokens` puts it together
    looks_like: Callable[[Head], bool] | None = None  # whether a file is of this kind; None: only where it is named
    refused: Callable[[Head], str] | None = None  # what to say of its files that cannot be read; "" for all others
    takes: tuple[str, ...] = ()  # settings of `data` that `read` takes by name: stamp, columns
    export: str = ""  # how one gets such a file, for people's own conversations
    parse: Parse | None = None  # the dialogues of `raw_records`; worker processes then call it instead of `read`
    # defaults for `data` in recipes
    min_turns: int = 2
    max_turn_chars: int = 0
    scrub: bool = False
    # "time": a file holds long chats, whose turns have dates, as `iso` writes them. They are divided where nobody wrote
    # for hours (data.gap), and the latest dialogues are held out.
    split_by: str = "dialogue"

    def sources(self, place: str) -> list[Source]:
        """The corpus's files at `place`. Raises UserError if there are none."""
        return self.find(place) if self.find else find_sources(self.name, self.patterns, self.hub, place)


def iso(moment: datetime) -> str:
    """A date as `Turn.date` has it: "2024-03-05 21:15:00", in UTC where its zone is known."""
    return str((moment.astimezone(UTC) if moment.tzinfo else moment).replace(tzinfo=None, microsecond=0))
