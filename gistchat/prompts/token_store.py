"""Token ids of every turn of a prepared folder, made once per tokenizer, on all cores and in constant memory.

PREPARED/tokens-KEY/ids.bin       ids of all turns, one after another
PREPARED/tokens-KEY/texts.npy     64-bit hashes of the turns' texts, sorted
PREPARED/tokens-KEY/starts.npy    where in ids.bin each text begins; lengths.npy: its tokens
PREPARED/tokens-KEY/tokens.json   how long turns and histories are
"""

import json
import re
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import tokenizers
from xxhash import xxh3_64_digest

from gistchat.dialogue.turns import SPLITS
from gistchat.files import fingerprint, read_json, write_json
from gistchat.processes import batched, ordered_map
from gistchat.progress import progress
from gistchat.stages import is_current, remade

VERSION = 2  # raise it when the same text would give other ids
DIALOGUES_AT_A_TIME = 1000
BUDGETS = (32, 64, 96, 128, 256, 512)  # tokens of context of which the report tells how many histories fit
MOST_KEPT = 200_000  # words and pieces whose ids are remembered
ID_BYTES = 4

FIRST = "\0"  # stands in no cleaned text

# GPT-2's own pattern, for ASCII text without white space but a space at the start.
_PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^ A-Za-z0-9]+")


class Encoded(NamedTuple):
    """Some dialogues' turns in any order: ids one after another, hash and length of each, counts for the report."""

    ids: bytes
    hashes: bytes
    lengths: np.ndarray
    fits: np.ndarray  # replies whose history has at most so many tokens, for each of `BUDGETS`
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
        wanted = np.frombuffer(_digest(text), dtype=np.uint64)[0]
        place = int(self._texts.searchsorted(wanted))
        if place == len(self._texts) or self._texts[place] != wanted:
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
        with remade(marker, made_from) as working:
            backend.save(str(working / "tokenizer.json"))
            write_json(working / "tokens.json", _store(prepared, working))
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
    fits, replies = np.zeros(len(BUDGETS), dtype=np.int64), 0
    files = [prepared / f"{split}.jsonl" for split in SPLITS]
    total = sum(report["dialogues"] for report in read_json(prepared / "report.json")["splits"].values())
    encode = partial(_encode, str(folder / "tokenizer.json"))
    hashes, lengths = folder / "hashes.bin", folder / "lengths.bin"
    with (
        progress("tokenize", total) as advance,
        (folder / "ids.bin").open("wb") as ids_file,
        hashes.open("wb") as hashes_file,
        lengths.open("wb") as lengths_file,
    ):
        for encoded in ordered_map(encode, batched(_lines(files), DIALOGUES_AT_A_TIME)):
            ids_file.write(encoded.ids)
            hashes_file.write(encoded.hashes)
            lengths_file.write(encoded.lengths.tobytes())
            fits += encoded.fits
            replies += encoded.replies
            advance(encoded.dialogues)
    each = np.fromfile(lengths, dtype=np.uint32)
    _write_index(folder, np.fromfile(hashes, dtype=np.uint64), each)
    hashes.unlink()
    lengths.unlink()
    return {
        "tokens": int(each.sum(dtype=np.int64)),
        "turns": len(each),
        "median": _quantile(each, 0.5),
        "p99": _quantile(each, 0.99),
        "history_fits": dict(zip(map(str, BUDGETS), (fits / max(replies, 1)).tolist(), strict=True)),
    }


def _write_index(folder: Path, hashes: np.ndarray, lengths: np.ndarray) -> None:
    order = np.argsort(hashes, kind="stable")
    np.save(folder / "texts.npy", hashes[order])
    np.save(folder / "lengths.npy", lengths[order])
    starts = np.cumsum(lengths, dtype=np.uint64)
    starts -= lengths
    np.save(folder / "starts.npy", starts[order])


def _quantile(lengths: np.ndarray, share: float) -> int:
    return int(np.quantile(lengths, share, method="inverted_cdf"))


def _lines(files: Sequence[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            yield from file


def _encode(tokenizer: str, lines: Sequence[bytes]) -> Encoded:
    """Ids of the turns of some dialogues, given as lines of JSONL."""
    dialogues = [orjson.loads(line)["turns"] for line in lines]
    texts = [turn["text"] for dialogue in dialogues for turn in dialogue]
    ids, lengths, order = _encoder(tokenizer).encode(texts)
    counts = np.array([len(dialogue) for dialogue in dialogues], dtype=int)
    hashes = b"".join([_digest(texts[i]) for i in order])
    in_order = np.empty_like(lengths)
    in_order[order] = lengths
    fits, replies = _histories(in_order, counts)
    return Encoded(ids, hashes, lengths, fits, replies, len(dialogues))


def _histories(lengths: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, int]:
    """How many replies have a history within each of `BUDGETS`, and how many replies there are.

    The reply at turn i has the turns before i - 1 as history; turn i - 1 is the one that is answered.

    Args:
        lengths: tokens of each turn.
        counts: turns of each dialogue.
    """
    before = np.cumsum(lengths, dtype=np.int64) - lengths
    ends = np.cumsum(counts)
    histories = before - np.repeat(before[ends - counts], counts)
    answered = np.ones(len(lengths), dtype=bool)
    answered[ends - 1] = False  # nobody answers the last turn
    histories = histories[answered]
    return np.array([np.count_nonzero(histories <= budget) for budget in BUDGETS]), len(histories)


def _digest(text: str) -> bytes:
    return xxh3_64_digest(text.encode())


class Encoder:
    """Texts to ids as the tokenizer would, but with words that were seen before looked up.

    Byte-level BPE with GPT-2's pattern never joins across the space before a word, so text with single spaces is the
    concatenation of its words, each encoded with the space before it. Other tokenizers encode whole texts.
    """

    def __init__(self, settings: str) -> None:
        """`settings`: what `tokenizers` writes to tokenizer.json."""
        self.tokenizer = tokenizers.Tokenizer.from_str(settings)
        self.tokenizer.encode_special_tokens = True  # what looks like a control token is spelled out
        self.by_word = _splits_at_spaces(json.loads(self.tokenizer.to_str()))
        self.words = Words(self.tokenizer)

    def encode(self, texts: Sequence[str]) -> tuple[bytes, np.ndarray, list[int]]:
        """The ids of some texts, in an order of its own.

        Returns:
            All ids as 32-bit numbers, one text after another; how many each text has; and which text that is.
        """
        spaced, whole = list(range(len(texts))), []
        if not (self.by_word and _has_single_spaces(" ".join(texts))):
            spaced = [i for i, text in enumerate(texts) if self.by_word and _has_single_spaces(text)]
            whole = sorted(set(range(len(texts))) - set(spaced))
        by_word, word_lengths = self._encode_words([texts[i] for i in spaced])
        found = self.tokenizer.encode_batch([texts[i] for i in whole], add_special_tokens=False)
        ids = by_word + b"".join([array("I", one.ids).tobytes() for one in found])
        lengths = np.concatenate([word_lengths, np.array([len(one.ids) for one in found], dtype=np.uint32)])
        return ids, lengths, spaced + whole

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has."""
        _, lengths, order = self.encode(texts)
        found = np.empty_like(lengths)
        found[order] = lengths
        return found.tolist()

    def _encode_words(self, texts: list[str]) -> tuple[bytes, np.ndarray]:
        find = self.words.__getitem__
        found = [b"".join(map(find, (FIRST + text).split(" "))) for text in texts]
        return b"".join(found), np.array(list(map(len, found)), dtype=np.uint32) // ID_BYTES


class Pieces(dict[str, bytes]):
    """Ids of short texts, encoded when they are met first."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self.tokenizer = tokenizer

    def __missing__(self, text: str) -> bytes:
        return self.keep(text, array("I", self.tokenizer.encode(text, add_special_tokens=False).ids).tobytes())

    def keep(self, text: str, ids: bytes) -> bytes:
        if len(self) < MOST_KEPT:  # the first that are met are the common ones
            self[text] = ids
        return ids


class Words(Pieces):
    """Ids of words, from the ids of their pieces: words are many, as signs stand at their ends, and pieces are few.

    Words that begin a text are marked by `FIRST`, others have a space before them.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        super().__init__(tokenizer)
        self.pieces = Pieces(tokenizer)

    def __missing__(self, word: str) -> bytes:
        pieces = _PIECES.findall(word[1:] if word.startswith(FIRST) else f" {word}")
        return self.keep(word, b"".join([self.pieces[piece] for piece in pieces]))


@lru_cache(maxsize=1)
def _encoder(path: str) -> Encoder:
    return Encoder(Path(path).read_text(encoding="utf-8"))


def _has_single_spaces(text: str) -> bool:
    """Whether white space is nothing but single spaces between words, in ASCII: as in nearly all cleaned text."""
    return text.isascii() and text.isprintable() and "  " not in text and text[:1] != " " and text[-1:] != " "


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
