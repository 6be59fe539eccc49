"""What the readers share: finding a corpus's files and their official splits, and reading records of common formats."""

import contextlib
import csv
import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ijson

from gistchat.corpora import hub
from gistchat.corpora.archive import is_archive, origin_of, unpacked
from gistchat.dialogue.lines import BYTE_ORDER_MARK, Parse, json_lines, parse_records, raw_json_lines, require_text
from gistchat.dialogue.turns import Malformed, ReadResult
from gistchat.errors import UserError, first_line, require
from gistchat.files import read_json
from gistchat.limits import LONGEST_JSON, LONGEST_LINE, TOO_DEEP, UNPACKED_ANYWAY, UNPACKED_TIMES, Nesting

SPLIT_WORDS = {"train": "train", "valid": "validation", "validation": "validation", "val": "validation"}
SPLIT_WORDS |= {"dev": "validation", "test": "test"}
TABLES = (".parquet", ".arrow")
ROWS_AT_A_TIME = 500


@dataclass(frozen=True)
class Source:
    """A file to read, the official split that it holds (empty if unknown), and where it came from."""

    path: Path
    split: str = ""
    origin: str = ""

    def __str__(self) -> str:
        place = self.origin or str(self.path)
        return f"{place} ({self.split})" if self.split else place


def find_sources(corpus: str, patterns: Sequence[str], ids: Sequence[str], place: str) -> list[Source]:
    """A corpus's files at `place`: a file, a folder, `hub`, or `hub:` and an id (or a folder in the hub's layout).

    Names of a folder's files give the official splits if they name several; a single file is split by shares.

    Raises:
        UserError: no place, or nothing of that corpus there.
    """
    if place == hub.PREFIX or place.startswith(hub.PREFIX + ":"):
        named = place.partition(":")[2]
        files = hub.load(corpus, [named] if named else ids)
        return _official([Source(path, SPLIT_WORDS.get(split, ""), f"hub {name}") for path, split, name in files])
    if not place:
        on_hub = " or --from hub" if ids else ""
        raise UserError(f"say where the {corpus} files are: --from FILE_OR_FOLDER{on_hub}, in a recipe data.source")
    return sources_among(_find_files(corpus, Path(place), patterns))


def sources_among(files: Sequence[Path], official: bool = True) -> list[Source]:
    """Files with the splits that their names give them, where that is what their names are for."""
    return _official([Source(path, split_of_name(path) if official else "", origin_of(path)) for path in files])


def _official(sources: list[Source]) -> list[Source]:
    """Splits are official if there are several; from a train file alone, dialogues are held out."""
    if len({source.split for source in sources} - {""}) > 1:
        return sources
    return [dataclasses.replace(source, split="") for source in sources]


def split_of_name(path: Path) -> str:
    """train, validation or test, by the words of a file's name; empty if it names none."""
    words = re.split(r"[^a-z]+", path.name.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "")


def _find_files(corpus: str, place: Path, patterns: Sequence[str]) -> list[Path]:
    if place.is_file() and not is_archive(place):
        return [place]
    if place.is_file():
        place = unpacked(place)
    if not place.is_dir():
        raise UserError(f"{place}: no such file or folder")
    # First the folder itself, so that subfolders of a prepared folder are not searched; then nested distributions.
    for search in (place.glob, place.rglob):
        if files := sorted({path for pattern in patterns for path in search(pattern) if path.is_file()}):
            return files
    raise UserError(f"{place}: no {corpus} file in this folder ({' or '.join(patterns)})")


def records(path: Path) -> Iterator[tuple[str, Any]]:
    """Decoded records with their location: lines of JSONL, entries of a JSON list, rows of Parquet or Arrow.

    A bad line comes out as `Malformed`.

    Raises:
        UserError: the file cannot be read any further, with its line or row.
    """
    if path.suffix in TABLES:
        return _rows(path)
    return json_entries(path, "item") if path.suffix == ".json" else json_lines(path)


def raw_records(path: Path) -> Iterator[tuple[str, Any]]:
    """As `records`, but lines of JSONL are not decoded yet, and a JSON file may be a single record; a CSV has rows."""
    if path.suffix == ".jsonl":
        return raw_json_lines(path)
    if path.suffix in (".csv", ".tsv"):
        return csv_rows(path)
    if path.suffix == ".json" and (first_character(path) == "{" or _is_one_chat(path)):
        return iter([(f"{path}: entry 0", read_json(path))])
    return records(path)


def _is_one_chat(path: Path) -> bool:
    """Whether the entries of a JSON file's list are not chats, but the messages of one."""
    _, first = next(json_entries(path, "item"), ("", None))
    return is_message(first)


def is_message(value: Any) -> bool:
    """Whether it is a message with a role, as OpenAI's interface has them."""
    return isinstance(value, dict) and {"role", "content"} <= value.keys()


def reader(parse: Parse, first: int | None = None) -> Callable[[Path], Iterator[ReadResult]]:
    """The reader of a corpus with a record a dialogue; `first` as in `parse_records`."""
    return lambda path: parse_records(parse, path.stem, raw_records(path), first)


def json_entries(path: Path, prefix: str) -> Iterator[tuple[str, Any]]:
    """Entries of a JSON file's list one after another, without holding the file in memory.

    Args:
        prefix: where the entries are, as `ijson` writes it: `item` for a list, `train.item` for {"train": [...]}.
    """
    entries = _parsed(path, functools.partial(ijson.items, prefix=prefix))
    name = f"{prefix.removesuffix('item').replace('.', ' ')}entry"
    for number, value in enumerate(entries):
        yield f"{path}: {name} {number}", value


def json_members(path: Path) -> Iterator[tuple[str, Any]]:
    """Names and values of a JSON file's object one after another, without holding the file in memory."""
    return _parsed(path, functools.partial(ijson.kvitems, prefix=""))


def json_fields(path: Path, *without: str) -> dict[str, Any]:
    """A JSON file's object, with None for those fields that may be large: what else an export says of its chat.

    Raises:
        UserError: it is no object.
    """
    if first_character(path) != "{":
        raise UserError(f"{path}: expected a JSON object")
    builder, inside = ijson.ObjectBuilder(), tuple(f"{field}." for field in without)
    for prefix, event, value in _parsed(path, ijson.parse):
        if prefix in without:
            if event not in ("end_map", "end_array", "map_key"):
                builder.event("null", None)
        elif not prefix.startswith(inside):
            builder.event(event, value)
    return builder.value


def json_outlines(path: Path, prefix: str, fields: Sequence[str], inner: str) -> Iterator[dict[str, Any]]:
    """Some fields of each object of a JSON file's list, and how many entries its own list `inner` has, if it has one.

    With `json_entries` of all these inner lists one after another, an object needs not be in memory as a whole.
    """
    wanted = {f"{prefix}.{field}": field for field in fields}
    inner_list, inner_entry = f"{prefix}.{inner}", f"{prefix}.{inner}.item"
    outline: dict[str, Any] = {}
    for place, event, value in _parsed(path, ijson.parse):
        if place == inner_entry:
            outline[inner] += event not in ("map_key", "end_map", "end_array")
        elif place == inner_list and event == "start_array":
            outline[inner] = 0
        elif place in wanted and event not in ("start_map", "map_key", "end_map", "start_array", "end_array"):
            outline[wanted[place]] = value
        elif place == prefix and event not in ("start_map", "map_key"):
            yield outline  # also of what is no object
            outline = {}


def csv_rows(path: Path) -> Iterator[tuple[str, dict[str, str] | Malformed]]:
    """Rows of a messenger's CSV by the names of its columns in lower case, with the file:line at which each ends."""
    require_text(path)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        first = file.readline(LONGEST_LINE)
        file.seek(0)
        csv.field_size_limit(LONGEST_LINE)
        lines = (line.replace("\0", "") for line in iter(functools.partial(file.readline, LONGEST_LINE), ""))
        delimiter = "\t" if path.suffix == ".tsv" else ";" if first.count(";") > first.count(",") else ","
        reader = csv.reader(lines, delimiter=delimiter, strict=True)  # else an open quote swallows the file's rest
        try:
            names = [name.strip().lower() for name in next(reader, [])]
            for cells in reader:
                location = f"{path}:{reader.line_num}"
                if any("\udc80" <= char <= "\udcff" for cell in cells for char in cell):
                    yield location, Malformed(location, "not UTF-8; save the file as UTF-8")
                elif len(cells) > len(names) or 0 < len(cells) < len(names) - 1:  # the last may be left away
                    yield location, Malformed(location, f"expected {len(names)} columns, found {len(cells)}")
                elif cells:
                    yield location, dict.fromkeys(names, "") | dict(zip(names, cells, strict=False))
        except csv.Error as error:
            raise UserError(f"{path}:{reader.line_num}: {error}") from None


def first_character(path: Path) -> str:
    """The first character of a text file that is not white space: what kind of JSON it is."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open("rb") as file:
        return file.read(1000).removeprefix(BYTE_ORDER_MARK).strip()[:1].decode(errors="replace")


def is_web_page(text: str) -> bool:
    """Whether a file that begins so is HTML, which some programs write beside what can be read."""
    return text.lstrip()[:15].lower().startswith(("<!doctype html", "<html"))


class _JsonFile:
    """A JSON file, open for `ijson`, which has no limit of its own for brackets in brackets."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file, self._nesting = path, file, Nesting()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if self._nesting.is_too_deep(data):
            raise UserError(f"{self._path}: {TOO_DEEP}")
        return data


def _parsed(path: Path, parse: Callable[..., Iterator[Any]]) -> Iterator[Any]:
    first_character(path)
    with path.open("rb") as file:
        if file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
            file.seek(0)
        try:
            yield from parse(_JsonFile(path, file), use_float=True)
        except (ijson.JSONError, UnicodeDecodeError) as error:
            if not _is_closed(file):
                raise UserError(f"{path}: cut off, as a JSON file ends with a closing bracket; get it anew") from None
            if path.stat().st_size <= LONGEST_JSON:
                read_json(path)  # gives the line of the error
            raise UserError(f"{path}: not valid JSON ({first_line(error)})") from None


def _is_closed(file: BinaryIO) -> bool:
    """Whether a file of JSON ends as one does."""
    file.seek(max(0, file.seek(0, 2) - 1000))
    return file.read().strip()[-1:] in (b"]", b"}")


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    batches = _parquet_batches(path) if path.suffix == ".parquet" else _arrow_batches(path)
    with _readable(path):
        for number, row in enumerate((row for batch in batches for row in batch.to_pylist()), 1):
            yield f"{path}: row {number}", row


def _bounded(path: Path, batches: Iterable[Any]) -> Iterator[Any]:
    """Batches of a table. Raises UserError where they would unpack to far more than the file's size."""
    size = 0
    for batch in batches:
        batch.validate(full=True)  # else places outside of a damaged file would be read
        size += sum(map(_unpacked_size, batch.columns))
        _require_size(path, size)
        yield batch


def _require_size(path: Path, unpacked: int) -> None:
    if unpacked > max(UNPACKED_ANYWAY, UNPACKED_TIMES * path.stat().st_size):
        raise UserError(f"{path}: unpacks to over {UNPACKED_TIMES} times its size, which no table of texts does")


def _unpacked_size(column: Any) -> int:
    """About how many bytes an Arrow column takes as Python values: a text that it holds once may occur often."""
    pyarrow = require("pyarrow", "hub")
    compute = require("pyarrow.compute", "hub")
    if pyarrow.types.is_dictionary(column.type):
        lengths = compute.binary_length(column.dictionary) if _holds_texts(column.dictionary.type) else None
        return (compute.sum(lengths.take(column.indices)).as_py() or 0) if lengths else column.nbytes
    if pyarrow.types.is_struct(column.type):
        return sum(map(_unpacked_size, column.flatten()))
    if pyarrow.types.is_list(column.type) or pyarrow.types.is_large_list(column.type):
        return column.nbytes if not len(column) else _unpacked_size(column.flatten())
    return column.nbytes


def _holds_texts(kind: Any) -> bool:
    types = require("pyarrow", "hub").types
    return any(is_kind(kind) for is_kind in (types.is_string, types.is_large_string, types.is_binary))


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    pyarrow = require("pyarrow", "hub")
    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read as {path.suffix[1:]} ({first_line(error)}); a truncated download?"
        raise UserError(f"{path}: {problem}") from None


def _parquet_batches(path: Path) -> Iterator[Any]:
    parquet = require("pyarrow.parquet", "hub")
    metadata = parquet.read_metadata(path)
    _require_size(path, sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)))
    schema = metadata.schema
    texts = [schema.column(i).path for i in range(len(schema)) if schema.column(i).physical_type == "BYTE_ARRAY"]
    # A text that a page holds once may stand in any number of rows: read as numbers of texts, it stays one.
    with parquet.ParquetFile(path, read_dictionary=texts) as packed, parquet.ParquetFile(path) as file:
        batches = file.iter_batches(batch_size=ROWS_AT_A_TIME)
        for checked in _bounded(path, packed.iter_batches(batch_size=20 * ROWS_AT_A_TIME)):
            rows = checked.num_rows
            while rows > 0 and (batch := next(batches, None)):
                batch.validate(full=True)
                rows -= batch.num_rows
                yield batch


def _arrow_batches(path: Path) -> Iterator[Any]:
    pyarrow = require("pyarrow", "hub")
    with pyarrow.memory_map(str(path)) as file, pyarrow.ipc.open_stream(file) as stream:
        yield from _bounded(path, stream)


def estimate(path: Path, mark: bytes) -> int:
    """About how many dialogues a file holds, without parsing it: rows, or how often `mark` occurs."""
    if path.suffix in TABLES:
        with _readable(path):
            if path.suffix == ".parquet":
                return require("pyarrow.parquet", "hub").read_metadata(path).num_rows
            return sum(batch.num_rows for batch in _arrow_batches(path))
    if path.suffix == ".jsonl":
        mark = b"\n"
    with path.open("rb") as file:
        return sum(block.count(mark) for block in iter(lambda: file.read(2**22), b""))
