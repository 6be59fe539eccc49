"""Token ids of every turn of a prepared folder, made once per tokenizer, on all cores and in constant memory.

PREPARED/tokens-KEY/ids.bin       ids of all turns, one after another
PREPARED/tokens-KEY/texts.npy     64-bit hashes of the turns' texts, sorted
PREPARED/tokens-KEY/starts.npy    where in ids.bin each text begins; lengths.npy: its tokens
PREPARED/tokens-KEY/tokens.json   how long turns and histories are
"""

import hashlib
import json
import re
import shutil
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import tokenizers

from gistchat.dialogue import SPLITS
from gistchat.parallel import batched, ordered_map
from gistchat.progress import progress
from gistchat.storage import fingerprint, is_current, mark_done, move_into, read_json, write_json

VERSION = 1  # raise it when the same text would give other ids
DIALOGUES_AT_A_TIME = 500
BUDGETS = (32, 64, 96, 128, 256, 512)  # tokens of context of which the report tells how many histories fit
WORDS_REMEMBERED = 200_000
ID_BYTES = 4

# GPT-2's own pattern, for ASCII text without white space but a space at the start.
_PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^ A-Za-z0-9]+")


@dataclass(frozen=True)
class Encoded:
    """Some dialogues' turns: ids one after another, the hash and length of each turn, and counts for the report."""

    ids: bytes
    hashes: bytes
    lengths: array
    fits: tuple[int, ...]  # replies whose history has at most so many tokens, for each of `BUDGETS`
    replies: int
    dialogues: int


class TokenStore:
    """Ids of the turns of a prepared folder by their text, from memory-mapped files."""

    def __init__(self, folder: Path) -> None:
        # As plain arrays over the mapped files: indexing a memmap costs several times as much.
        self._texts, self._starts, self._lengths = (
            np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ("texts", "starts", "lengths")
        )
        self._ids = np.asarray(np.memmap(folder / "ids.bin", dtype=np.uint32, mode="r"))

    def get(self, text: str) -> list[int] | None:
        """The ids of a turn's text, or None if no turn has it."""
        wanted = _text_hash(text)
        place = int(self._texts.searchsorted(np.uint64(wanted)))
        if place == len(self._texts) or int(self._texts[place]) != wanted:
            return None
        start = int(self._starts[place])
        return self._ids[start : start + int(self._lengths[place])].tolist()


def tokenize(prepared: Path, tokenizer: Any, key: str) -> tuple[Path | None, dict[str, Any]]:
    """Store the ids of every turn below a prepared folder, unless they are there.

    Args:
        tokenizer: of transformers.
        key: its fingerprint.
    Returns:
        The store's folder and its report; (None, {}) for a tokenizer that only Python knows.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None, {}
    folder = prepared / f"tokens-{key}"
    made_from = fingerprint([VERSION, key, read_json(prepared / "prepared.json")])
    marker = folder / "tokens.done.json"
    if not is_current(marker, made_from):
        working = folder.with_name(folder.name + ".part")
        shutil.rmtree(working, ignore_errors=True)
        working.mkdir()
        try:
            backend.save(str(working / "tokenizer.json"))
            report = _store(prepared, working)
            write_json(working / "tokens.json", report)
            marker.unlink(missing_ok=True)
            mark_done(marker, made_from, move_into(folder, sorted(working.iterdir())))
        finally:
            shutil.rmtree(working, ignore_errors=True)
    return folder, read_json(folder / "tokens.json")


def report_lines(report: dict[str, Any]) -> list[str]:
    """How long turns and histories are, in words: what a token budget has to be chosen by."""
    if not report:
        return []
    fits = ", ".join(f"{budget}: {share:.0%}" for budget, share in report["history_fits"].items())
    return [
        f"tokens: {report['tokens']:,} in {report['turns']:,} turns; a turn has {report['median']} (median), "
        f"99 of 100 have at most {report['p99']}",
        f"  history before the last turn fits in a budget of {fits} of replies",
    ]


def _store(prepared: Path, folder: Path) -> dict[str, Any]:
    """Write the ids and the index over them; returns the report."""
    hashes, lengths = array("Q"), Counter()
    starts = array("Q", [0])
    fits, replies = [0] * len(BUDGETS), 0
    files = [prepared / f"{split}.jsonl" for split in SPLITS]
    total = sum(report["dialogues"] for report in read_json(prepared / "report.json")["splits"].values())
    encode = partial(_encode, str(folder / "tokenizer.json"))
    with progress("tokenize", total) as advance, (folder / "ids.bin").open("wb") as file:
        for encoded in ordered_map(encode, batched(_lines(files), DIALOGUES_AT_A_TIME)):
            file.write(encoded.ids)
            hashes.frombytes(encoded.hashes)
            for length in encoded.lengths:
                starts.append(starts[-1] + length)
            lengths.update(encoded.lengths)
            fits = [sum(pair) for pair in zip(fits, encoded.fits, strict=True)]
            replies += encoded.replies
            advance(encoded.dialogues)
    _write_index(folder, hashes, starts)
    return {
        "tokens": starts[-1],
        "turns": len(hashes),
        "median": _quantile(lengths, 0.5),
        "p99": _quantile(lengths, 0.99),
        "history_fits": {str(budget): count / max(replies, 1) for budget, count in zip(BUDGETS, fits, strict=True)},
    }


def _write_index(folder: Path, hashes: array, starts: array) -> None:
    texts, places = np.unique(np.frombuffer(hashes, dtype=np.uint64), return_index=True)
    begins = np.frombuffer(starts, dtype=np.uint64)
    np.save(folder / "texts.npy", texts)
    np.save(folder / "starts.npy", begins[places])
    np.save(folder / "lengths.npy", (begins[1:] - begins[:-1])[places].astype(np.uint32))


def _quantile(lengths: Counter, share: float) -> int:
    reached = 0
    for length in sorted(lengths):
        reached += lengths[length]
        if reached >= share * lengths.total():
            return length
    return 0


def _lines(files: Sequence[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            yield from file


def _encode(tokenizer: str, lines: Sequence[bytes]) -> Encoded:
    """Ids of the turns of some dialogues, given as lines of JSONL."""
    dialogues = [[turn["text"] for turn in orjson.loads(line)["turns"]] for line in lines]
    texts = [text for dialogue in dialogues for text in dialogue]
    encoded = _encoder(tokenizer).encode(texts)
    lengths = [len(one) // ID_BYTES for one in encoded]
    fits, replies, first = [0] * len(BUDGETS), 0, 0
    for dialogue in dialogues:
        # The reply at turn i has the turns before i - 1 as history; turn i - 1 is the one that is answered.
        histories = list(accumulate(lengths[first : first + len(dialogue) - 2], initial=0))
        fits = [count + bisect_right(histories, budget) for count, budget in zip(fits, BUDGETS, strict=True)]
        replies += len(histories)
        first += len(dialogue)
    hashes = array("Q", map(_text_hash, texts)).tobytes()
    return Encoded(b"".join(encoded), hashes, array("L", lengths), tuple(fits), replies, len(dialogues))


def _text_hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class Encoder:
    """Texts to ids as the tokenizer would, but with words that were seen before looked up.

    Byte-level BPE with GPT-2's pattern never joins across the space before a word, so text with single spaces is the
    concatenation of its words, each encoded with the space before it. Other tokenizers encode whole texts.
    """

    def __init__(self, path: str) -> None:
        self.tokenizer = tokenizers.Tokenizer.from_file(path)
        self.tokenizer.encode_special_tokens = True  # what looks like a control token is spelled out
        self.by_word = _splits_at_spaces(json.loads(self.tokenizer.to_str()))
        self.first: dict[str, bytes] = {}  # words that begin a text
        self.later: dict[str, bytes] = {}  # words with the space before them
        self.pieces: dict[str, bytes] = {}

    def encode(self, texts: Sequence[str]) -> list[bytes]:
        """The ids of each text as 32-bit numbers."""
        split = [_words(text) if self.by_word else None for text in texts]
        later = set(chain.from_iterable(words[1:] for words in split if words))
        new = (
            self._learn(self.first, {words[0] for words in split if words}, ""),
            self._learn(self.later, later, " "),
        )
        rest = iter(self._encode_whole([text for text, words in zip(texts, split, strict=True) if not words]))
        encoded = [self._joined(words) if words else next(rest) for words in split]
        for known, words in zip((self.first, self.later), new, strict=True):
            _forget(known, words)
        return encoded

    def _joined(self, words: list[str]) -> bytes:
        return self.first[words[0]] + b"".join([self.later[word] for word in words[1:]])

    def _learn(self, known: dict[str, bytes], words: set[str], space: str) -> set[str]:
        """Encode words that are new, by their pieces: letters, digits and signs are never joined. Returns the new."""
        new = {word: _PIECES.findall(space + word) for word in words - known.keys()}
        unseen = set(chain.from_iterable(new.values())) - self.pieces.keys()
        self.pieces |= zip(unseen, self._encode_whole(list(unseen)), strict=True)
        known |= {word: b"".join([self.pieces[piece] for piece in pieces]) for word, pieces in new.items()}
        _forget(self.pieces, unseen)
        return new.keys()

    def _encode_whole(self, texts: list[str]) -> list[bytes]:
        found = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        return [array("I", one.ids).tobytes() for one in found]


def _forget(known: dict[str, bytes], words: Iterable[str]) -> None:
    """Give up the latest words where there are too many: the first that are met are the common ones."""
    if len(known) > WORDS_REMEMBERED:
        for word in words:
            del known[word]


_encoder = lru_cache(maxsize=1)(Encoder)


def _words(text: str) -> list[str] | None:
    """The words of a text; None where white space is anything but single spaces inside of ASCII text."""
    words = text.split()
    return words if text.isascii() and " ".join(words) == text else None


def _splits_at_spaces(settings: dict[str, Any]) -> bool:
    """Whether a tokenizer's settings are those of byte-level BPE with GPT-2's pattern (digits apart or not)."""
    pre = settings["pre_tokenizer"] or {}
    steps = pre.get("pretokenizers", [pre])
    kinds = [step.get("type") for step in steps]
    return (
        settings["model"]["type"] == "BPE"
        and settings["normalizer"] is None
        and kinds in (["ByteLevel"], ["Digits", "ByteLevel"])
        and steps[-1]["use_regex"]
        and not steps[-1]["add_prefix_space"]
        and all(token["special"] for token in settings["added_tokens"])
    )
