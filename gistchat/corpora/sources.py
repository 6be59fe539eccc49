"""What the readers share: where a corpus's files are, the official split of each, and records of common formats."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ijson

from gistchat.corpora import hub
from gistchat.dialogue.lines import Block, json_lines, lines_of, parse_json, raw_blocks
from gistchat.dialogue.turns import Malformed
from gistchat.errors import UserError, first_line, require
from gistchat.files import read_json

SPLIT_WORDS = {"train": "train", "valid": "validation", "validation": "validation", "val": "validation"}
SPLIT_WORDS |= {"dev": "validation", "test": "test"}
TABLES = (".parquet", ".arrow")
ROWS_AT_A_TIME = 500


@dataclass(frozen=True)
class Source:
    """A file to read, the official split that it holds (empty where it holds none), and where it came from."""

    path: Path
    split: str = ""
    origin: str = ""

    def __str__(self) -> str:
        where = self.origin or str(self.path)
        return f"{where} ({self.split})" if self.split else where


def find_sources(corpus: str, patterns: Sequence[str], ids: Sequence[str], place: str) -> list[Source]:
    """A corpus's files at `place`: a file, a folder, `hub`, or `hub:` and an id (or a folder in the hub's layout).

    The names of a folder's files tell their splits where they tell several; a single file is cut by shares.

    Raises:
        UserError: no place, or nothing of that corpus there.
    """
    if place == hub.PREFIX or place.startswith(hub.PREFIX + ":"):
        named = place.partition(":")[2]
        found = hub.load(corpus, [named] if named else ids)
        return _official([Source(path, SPLIT_WORDS.get(split, ""), f"hub {name}") for path, split, name in found])
    if not place:
        on_hub = " or --from hub" if ids else ""
        raise UserError(f"say where the {corpus} files are: --from FILE_OR_FOLDER{on_hub}, in a recipe data.source")
    return _official([Source(path, split_of_name(path)) for path in _find_files(corpus, Path(place), patterns)])


def _official(sources: list[Source]) -> list[Source]:
    """Splits are official where there are several; a train file alone still has to lend some dialogues for testing."""
    if len({source.split for source in sources} - {""}) > 1:
        return sources
    return [dataclasses.replace(source, split="") for source in sources]


def split_of_name(path: Path) -> str:
    """train, validation or test, by the words of a file's name; empty where it names none."""
    words = re.split(r"[^a-z]+", path.name.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "")


def _find_files(corpus: str, place: Path, patterns: Sequence[str]) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise UserError(f"{place}: no such file or folder")
    # Folders of a distribution are nested; a prepared folder's own subfolders are not meant.
    for search in (place.glob, place.rglob):
        if found := sorted({path for pattern in patterns for path in search(pattern) if path.is_file()}):
            return found
    raise UserError(f"{place}: no {corpus} file in this folder ({' or '.join(patterns)})")


def kind_of_file(path: Path) -> str:
    """Which generic reader a person's own file is for, by its name and its first record.

    Raises:
        UserError: it looks like nothing that is read.
    """
    if path.suffix in (".csv", ".tsv"):
        return "table"
    if path.suffix == ".txt":
        return "transcript"
    if path.suffix in (".json", ".jsonl", ".parquet"):
        first = next((value for _, value in records(path)), None)
        names = set(first) if isinstance(first, dict) else set()
        if "turns" in names:
            return "jsonl"
        # A JSON file that is no list has no records: it is one conversation.
        if first is None or isinstance(first, list) or names & {"messages", "conversations"}:
            return "chat"
        if names and path.suffix == ".parquet":
            return "table"
    raise UserError(f"{path}: cannot tell what kind of file this is; name it with --corpus (see gistchat corpora)")


def records(path: Path) -> Iterator[tuple[str, Any]]:
    """Decoded records with their place: lines of JSONL, entries of a JSON list, rows of Parquet or Arrow.

    A bad line comes out as `Malformed`.

    Raises:
        UserError: the file cannot be read any further, with its line or row.
    """
    if path.suffix == ".parquet":
        yield from _rows(path, _parquet_rows)
    elif path.suffix == ".arrow":
        yield from _rows(path, _arrow_rows)
    elif path.suffix == ".json":
        yield from json_entries(path, "item")
    else:
        yield from json_lines(path)


class Undecoded(NamedTuple):
    """A record on its way to be looked at by another process."""

    file: str  # its file's name
    where: str
    value: Any


def undecoded(path: Path) -> Iterator[Block | Undecoded]:
    """As `records`, but lines of JSONL are left to be parsed by whoever gets them, with `decoded`."""
    if path.suffix == ".jsonl":
        for block in raw_blocks(path):
            yield Undecoded(path.stem, block.where, block) if isinstance(block, Malformed) else block
    else:
        for where, value in records(path):
            yield Undecoded(path.stem, where, value)


def decoded(unit: Block | Undecoded) -> Iterator[Undecoded]:
    """The records of a unit that `undecoded` gave; a bad line has a `Malformed` as its value."""
    if isinstance(unit, Undecoded):
        yield unit
        return
    name = Path(unit.path).stem
    for where, line in lines_of(unit):
        if isinstance(line, Malformed):
            yield Undecoded(name, where, line)
        elif line and not line.isspace():
            yield Undecoded(name, where, parse_json(where, line))


def json_entries(path: Path, prefix: str) -> Iterator[tuple[str, Any]]:
    """Entries of a JSON file's list one after another, without holding the file in memory.

    Args:
        prefix: where the entries are, as `ijson` writes it: `item` for a list, `train.item` for {"train": [...]}.
    """
    found = _parsed(path, lambda file: ijson.items(file, prefix, use_float=True))
    name = f"{prefix.removesuffix('item').replace('.', ' ')}entry"
    for number, value in enumerate(found):
        yield f"{path}: {name} {number}", value


def json_members(path: Path) -> Iterator[tuple[str, Any]]:
    """Names and values of a JSON file's object one after another, without holding the file in memory."""
    yield from _parsed(path, lambda file: ijson.kvitems(file, "", use_float=True))


def first_character(path: Path) -> str:
    """The first character of a text file that is not white space: what kind of JSON it is."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open("rb") as file:
        return file.read(1000).removeprefix(b"\xef\xbb\xbf").strip()[:1].decode(errors="replace")


def _parsed(path: Path, parse: Callable[[BinaryIO], Iterator[Any]]) -> Iterator[Any]:
    first_character(path)
    with path.open("rb") as file:
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        try:
            yield from parse(file)
        except (ijson.JSONError, UnicodeDecodeError) as error:
            read_json(path)  # says the line; slower, and needs the file in memory, but the file is no good anyway
            raise UserError(f"{path}: not valid JSON ({first_line(error)})") from None


def _rows(path: Path, batches: Callable[[Path], Iterator[Any]]) -> Iterator[tuple[str, Any]]:
    number = 0
    with _readable(path):
        for batch in batches(path):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", row


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    pyarrow = require("pyarrow", "hub")
    try:
        yield
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise UserError(
            f"{path}: cannot be read as {path.suffix[1:]} ({first_line(error)}); a truncated download?"
        ) from None


def _parquet_rows(path: Path) -> Iterator[Any]:
    with require("pyarrow.parquet", "hub").ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=ROWS_AT_A_TIME)


def _arrow_rows(path: Path) -> Iterator[Any]:
    pyarrow = require("pyarrow", "hub")
    with pyarrow.memory_map(str(path)) as file, pyarrow.ipc.open_stream(file) as stream:
        yield from stream


def estimate(path: Path, mark: bytes) -> int:
    """About how many dialogues a file holds, without parsing it: rows, or how often `mark` occurs."""
    if path.suffix in TABLES:
        with _readable(path):
            if path.suffix == ".parquet":
                return require("pyarrow.parquet", "hub").read_metadata(path).num_rows
            return sum(batch.num_rows for batch in _arrow_rows(path))
    if path.suffix == ".jsonl":
        mark = b"\n"
    with path.open("rb") as file:
        return sum(block.count(mark) for block in iter(lambda: file.read(2**22), b""))
