"""What kind of file somebody has, told by its content."""

import csv
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import ijson
import orjson

from gistchat.corpora import hub, transcript
from gistchat.corpora.archive import SUFFIXES, is_archive, origin_of, unpacked
from gistchat.corpora.corpus import Corpus, Head
from gistchat.corpora.readers import CORPORA
from gistchat.corpora.sources import TABLES, Source, is_web_page, records, sources_among
from gistchat.dialogue.lines import BYTE_ORDER_MARK, require_text
from gistchat.errors import UserError
from gistchat.limits import is_too_deep
from gistchat.progress import say_once

BEGINNING = 2**18  # bytes
MOST_NAMED = 5  # files, in a message
MOST_FIELDS = 8
PAGES = (".html", ".htm")


class UnknownKind(UserError):
    """A file that no reader knows."""


def kinds_at(place: Path) -> dict[str, list[Path]]:
    """The files of a folder or an archive, or a single file, by the corpus whose reader is for them.

    Files of no kind that is known are left out, and that is said.

    Raises:
        UserError: no reader is for any of them.
    """
    if place.is_file() and not is_archive(place):
        return {kind_of_file(place): [place]}
    kinds, strangers, problem = _sorted_out(place)
    if not kinds:
        raise UserError(problem)
    if strangers:
        names = ", ".join(path.name for path in strangers[:MOST_NAMED])
        more = f" and {len(strangers) - MOST_NAMED:,} more" if len(strangers) > MOST_NAMED else ""
        what = "file that holds" if len(strangers) == 1 else "files that hold"
        say_once(f"{place}: left out {len(strangers):,} {what} no conversations: {names}{more}")
    return kinds


def sources_of(corpus: Corpus, place: str) -> list[Source]:
    """The corpus's files at a place; of files of several kinds in a folder or an archive those of its own.

    Raises:
        UserError: there are none.
    """
    path = Path(place)
    several = path.is_dir() or (path.is_file() and is_archive(path))
    if corpus.looks_like is None or place in ("", hub.PREFIX) or not several:
        return corpus.sources(place)
    own = _sorted_out(path)[0].get(corpus.name)
    # Where none looks like it, somebody who names a corpus knows better.
    return sources_among(own, official=corpus.split_by != "time") if own else corpus.sources(place)


def kind_of_file(path: Path) -> str:
    """The corpus whose reader is for a user's own file.

    Raises:
        UserError: there is none.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    _require_not_refused(Head(path))
    head = head_of(path)
    _require_not_refused(head)
    for name, corpus in CORPORA.items():
        if corpus.looks_like and corpus.looks_like(head):
            return name
    raise UnknownKind(f"{origin_of(path) or path}: {_what_next(head)}")


def _what_next(head: Head) -> str:
    """What to do with a file that no reader knows."""
    if is_web_page(head.text):
        return "a web page, which is not read; export the chats again, as JSON or text"
    if head.columns:
        why = "as a table, no column is known for who speaks, or none for what is said"
        say = "name them: --columns speaker=NAME --columns text=NAME"
        return f"cannot tell what kind of file this is: {why}; {say}; found: {', '.join(head.columns)}"
    first = head.at(0) if isinstance(head.value, list) else head.value
    fields = f" (its fields: {', '.join(map(str, list(first)[:MOST_FIELDS]))})" if isinstance(first, dict) else ""
    named = "name it as KIND=FILE, in a run with --corpus, if it is one of those that gistchat corpora lists"
    return f"cannot tell what kind of file this is{fields}; {named}"


def _sorted_out(place: Path) -> tuple[dict[str, list[Path]], list[Path], str]:
    """Files by their kind, those of none, and what is wrong with the first of these."""
    kinds: dict[str, list[Path]] = {}
    strangers: list[Path] = []
    files = files_in(place)
    texts = [path for path in files if path.suffix.lower() in SUFFIXES]
    problem = "" if texts else _no_file_of_text(place, files)
    for path in texts:
        try:
            about = path.stat()
            kinds.setdefault(_kind_among_others(path, about.st_size, about.st_mtime_ns), []).append(path)
        except UserError as error:
            if not problem or not isinstance(error, UnknownKind):
                problem = str(error)
            strangers.append(path)
    if kinds and (pages := sum(path.suffix.lower() in PAGES for path in files)):
        say_once(f"{place}: left out {pages:,} web pages (HTML), which are not read")
    return {kind: _outermost(place, files) for kind, files in kinds.items()}, strangers, problem


@lru_cache(maxsize=100_000)
def _kind_among_others(path: Path, size: int, changed: int) -> str:
    """The kind of a file that lies with others, as notes and lists of settings do beside conversations.

    Raises:
        UserError: it holds none, as far as its kind can tell.
    """
    if not head_of(path).text.strip("[]{} \n") and path.suffix not in TABLES:
        raise UserError(f"{path}: empty")
    if (kind := kind_of_file(path)) == transcript.CORPUS.name:
        transcript.require_dialogue(path)  # any text might be one
    return kind


def _outermost(place: Path, files: list[Path]) -> list[Path]:
    """Without those in subfolders of a prepared folder, whose own files come first."""
    folder = unpacked(place) if place.is_file() else place
    return [path for path in files if path.parent == folder] if (folder / "prepared.json").is_file() else files


def _require_not_refused(head: Head) -> None:
    for corpus in CORPORA.values():
        if corpus.refused and (why := corpus.refused(head)):
            raise UserError(f"{origin_of(head.path) or head.path}: {why}")


def files_in(place: Path) -> list[Path]:
    """The files of a folder or an archive, and those in its archives."""
    folder = unpacked(place) if place.is_file() else place
    if not folder.is_dir():
        raise UserError(f"{place}: no such file or folder")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for archive in [path for path in files if path.suffix.lower() == ".zip" and is_archive(path)]:
        try:
            files += sorted(path for path in unpacked(archive).rglob("*") if path.is_file())
        except UserError:
            if place.is_dir():
                raise
            say_once(f"{place}: left out {archive.name}, a ZIP that cannot be opened")  # something that was sent
    return files


def _no_file_of_text(place: Path, files: list[Path]) -> str:
    for path in files:
        _require_not_refused(Head(path))
    if pages := sum(path.suffix.lower() in PAGES for path in files):
        return f"{place}: only web pages ({pages:,}); export again as JSON, which keeps who wrote what, and when"
    return f"{place}: no file in it that may hold conversations ({', '.join(SUFFIXES)})"


def head_of(path: Path) -> Head:
    """The beginning of a file."""
    if path.suffix in TABLES:
        row = next((value for _, value in records(path)), {})
        return Head(path, value=row, columns=tuple(map(str.lower, row)))
    require_text(path)
    with path.open("rb") as file:
        raw = file.read(BEGINNING).removeprefix(BYTE_ORDER_MARK)
    if raw.startswith(b"SQLite format 3"):
        raise UserError(f"{path}: a database; export the chats from the program that made it")
    text = raw.decode("utf-8", "replace")
    if text.lstrip()[:1] in ("{", "["):
        return Head(path, text, _json_so_far(raw))
    return Head(path, text, columns=_columns(path, text))


def _json_so_far(raw: bytes) -> Any:
    first_line, more, _ = raw.lstrip().partition(b"\n")
    if more and not is_too_deep(first_line):
        try:
            return orjson.loads(first_line)  # JSONL
        except orjson.JSONDecodeError:
            pass
    if is_too_deep(raw):
        return None
    builder = ijson.ObjectBuilder()
    try:
        for event in ijson.basic_parse(io.BytesIO(raw), use_float=True):
            builder.event(*event)
    except (ijson.JSONError, UnicodeDecodeError):
        pass  # the beginning ends somewhere
    return getattr(builder, "value", None)


def _columns(path: Path, text: str) -> tuple[str, ...]:
    if path.suffix not in (".csv", ".tsv"):
        return ()
    first = text.splitlines()[0] if text.strip() else ""
    delimiter = "\t" if path.suffix == ".tsv" else ";" if ";" in first and "," not in first else ","
    return tuple(cell.strip().lower() for cell in next(csv.reader([first], delimiter=delimiter), ()))
