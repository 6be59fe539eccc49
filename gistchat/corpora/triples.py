"""The paper's own files: nested lists of [summary, user turn, reply], and its prepared `{train,valid}_utters` files.

A triple becomes a dialogue of two turns with the summary in `meta["gold"]`; triples of one subject share
`meta["group"]`, which no split may cut apart. `.pickle` files are read by an unpickler that knows lists, strings and
numbers only, so a file from a stranger cannot run code.
"""

import pickle
import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.sources import first_character, json_entries
from gistchat.dialogue.turns import Dialogue, Malformed, ReadResult, Turn, is_texts
from gistchat.errors import UserError, first_line
from gistchat.files import read_json


class _PlainUnpickler(pickle.Unpickler):
    """Lists, strings and numbers need no class; whatever asks for one is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it wants {module}.{name}; only lists, strings and numbers are read")

    def persistent_load(self, identity: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def read(path: Path) -> Iterator[ReadResult]:
    if path.suffix in (".pickle", ".pkl"):
        entries = _load_pickle(path)
    elif first_character(path) == "[":
        entries = (entry for _, entry in json_entries(path, "item"))
    else:
        entries = read_json(path)
    if isinstance(entries, (dict, str, int, float)) or entries is None:
        raise UserError(f"{path}: expected a list")
    for number, entry in enumerate(entries):
        yield from _entry(path, number, entry)


def _load_pickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            _check_places(file, path.stat().st_size)
            file.seek(0)
            return _PlainUnpickler(file).load()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:
        # A damaged pickle raises almost anything.
        raise UserError(f"{path}: refused as a pickle of plain lists ({first_line(error)})") from None


def _check_places(file: BinaryIO, size: int) -> None:
    """Raises UnpicklingError where a pickle keeps a value under a number that no file of its size needs.

    Python makes room for all smaller numbers, so a few bytes could ask for all memory there is.
    """
    for operation, place, _ in pickletools.genops(file):
        if "PUT" in operation.name and place > size:
            raise pickle.UnpicklingError(f"it wants {place:,} places")


def _entry(path: Path, number: int, entry: Any) -> Iterator[ReadResult]:
    location = f"{path}: entry {number}"
    if entry and is_texts(entry) and "utters" in path.name:
        turns = tuple(Turn("AB"[i % 2], text) for i, text in enumerate(entry))
        yield Dialogue(f"{path.stem}-{number}", turns, corpus="triples")
    elif _is_triple(entry):
        yield _triple(entry, f"{path.stem}-{number}", f"{path.stem}-{number}")
    elif isinstance(entry, list) and entry:
        for i, triple in enumerate(entry):
            if _is_triple(triple):
                yield _triple(triple, f"{path.stem}-{number}-{i}", f"{path.stem}-{number}")
            else:
                yield Malformed(f"{location}, triple {i}", "expected [summary, user turn, reply]")
    else:
        yield Malformed(location, "expected a list of [summary, user turn, reply]")


def _is_triple(value: Any) -> bool:
    return is_texts(value) and len(value) == 3


def _triple(triple: list[str], name: str, group: str) -> Dialogue:
    summary, user, reply = triple
    meta: dict[str, Any] = {"group": group}
    if summary.strip():
        meta["gold"] = [{"speaker": "", "text": summary.strip()}]
    turns = (Turn("user", user), Turn("model", reply))
    return Dialogue(name, turns, corpus="triples", scored_speakers=("model",), meta=meta)


CORPUS = Corpus(
    name="triples",
    description="the paper's [summary, user turn, reply] lists and its prepared *_utters files (gold: the summary)",
    read=read,
    patterns=("*summarized*.json", "*_utters.json", "*_utters.pickle"),
    mark=b"]",
    tokenised=True,  # they were made of DailyDialog
    licence="as of the paper's data",
    citation="Cha, Lee, Kim (2023). A Study on Response Generation Using Dialogue Summary. KIISE.",
)
