"""Token ids of every turn of a prepared folder, encoded once per tokenizer, on all cores.

Memory holds the hash and the length of each turn, and the ids of a few batches of dialogues.

PREPARED/tokens-KEY/ids.bin       ids of all turns, one after another
PREPARED/tokens-KEY/texts.npy     64-bit hashes of the turns' texts, sorted
PREPARED/tokens-KEY/starts.npy    where in ids.bin each text begins; lengths.npy: its tokens
PREPARED/tokens-KEY/tokens.json   how long turns and histories are
"""

from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from xxhash import xxh3_64_digest

from gistchat.dialogue.turns import SPLITS
from gistchat.files import fingerprint, read_json, write_json
from gistchat.processes import batched, ordered_map
from gistchat.progress import progress
from gistchat.stages import is_current, remade

VERSION = 2  # raise it when the same text would give other ids
DIALOGUES_AT_A_TIME = 1000
BUDGETS = (32, 64, 96, 128, 256, 512)  # tokens of context of which the report tells how many histories fit
CACHED_WORDS = 200_000  # that each worker remembers the ids of
ID_BYTES = 4
FIRST = "\0"  # marks the word that begins a text; it stands in no cleaned text


class Encoded(NamedTuple):
    """The turns of some dialogues."""

    ids: bytes  # of all turns, 32 bits each
    hashes: bytes  # of each turn's text
    lengths: np.ndarray  # tokens of each turn
    histories: np.ndarray  # tokens of the history of each reply
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
        """The ids of a turn's text, or None if no turn has this text."""
        digest = np.frombuffer(xxh3_64_digest(text.encode()), dtype=np.uint64)[0]
        position = int(self._texts.searchsorted(digest))
        if position == len(self._texts) or self._texts[position] != digest:
            return None
        start = int(self._starts[position])
        return self._ids[start : start + int(self._lengths[position])].tolist()


def tokenize(prepared: Path, tokenizer: Any, key: str) -> tuple[Path | None, dict[str, Any]]:
    """Store the ids of every turn in a prepared folder, unless those of the tokenizer with this key are there already.

    Returns the store's folder and its report; (None, {}) for a tokenizer written in Python.
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
    """Lines that say how long turns and histories are, to choose a token budget by."""
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
    hash_bytes, length_bytes = bytearray(), bytearray()
    with progress("tokenize", total) as advance, (folder / "ids.bin").open("wb") as ids_file:
        for encoded in ordered_map(encode, batched(_lines(files), DIALOGUES_AT_A_TIME)):
            ids_file.write(encoded.ids)
            hash_bytes += encoded.hashes
            length_bytes += encoded.lengths.tobytes()
            fits += [np.count_nonzero(encoded.histories <= budget) for budget in BUDGETS]
            replies += len(encoded.histories)
            advance(encoded.dialogues)
    hashes, lengths = np.frombuffer(hash_bytes, dtype=np.uint64), np.frombuffer(length_bytes, dtype=np.uint32)
    order = np.argsort(hashes, kind="stable")
    starts = np.cumsum(lengths, dtype=np.uint64)
    starts -= lengths
    for name, values in (("texts", hashes), ("starts", starts), ("lengths", lengths)):
        np.save(folder / f"{name}.npy", values[order])
    median, p99 = (int(np.quantile(lengths, share, method="inverted_cdf")) for share in (0.5, 0.99))
    return {
        "tokens": int(lengths.sum(dtype=np.int64)),
        "turns": len(lengths),
        "median": median,
        "p99": p99,
        "history_fits": dict(zip(map(str, BUDGETS), (fits / max(replies, 1)).tolist(), strict=True)),
    }


def _lines(files: Sequence[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            yield from file


def _encode(tokenizer: str, lines: Sequence[bytes]) -> Encoded:
    """Ids of the turns of some dialogues, given as lines of JSONL."""
    dialogues = [orjson.loads(line)["turns"] for line in lines]
    texts = [turn["text"] for dialogue in dialogues for turn in dialogue]
    ids = _encoder(tokenizer).encode(texts)
    lengths = np.array([len(text_ids) // ID_BYTES for text_ids in ids], dtype=np.uint32)
    counts = np.array([len(dialogue) for dialogue in dialogues], dtype=int)
    hashes = b"".join(xxh3_64_digest(text.encode()) for text in texts)
    return Encoded(b"".join(ids), hashes, lengths, _histories(lengths, counts), len(dialogues))


def _histories(lengths: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Tokens of each reply's history: at turn i, of the turns before i - 1; turn i - 1 is the one that it answers.

    `lengths` are the tokens of each turn, `counts` the turns of each dialogue.
    """
    before = np.cumsum(lengths, dtype=np.int64) - lengths
    ends = np.cumsum(counts)
    histories = before - np.repeat(before[ends - counts], counts)
    answered = np.ones(len(lengths), dtype=bool)
    answered[ends - 1] = False  # nobody answers the last turn
    return histories[answered]


class Encoder:
    """Texts to ids as the tokenizer would, but with words that were seen before looked up.

    Byte-level BPE with GPT-2's pattern never joins across the space before a word, so text with single spaces is the
    concatenation of its words, each encoded with the space before it. Other tokenizers encode whole texts.

    `tokenize` of 100,000 generated dialogues took 4.9 times as long with `encode_batch` instead, and 4.2 times with
    `encode_batch_fast`.
    """

    def __init__(self, settings: str) -> None:
        """`settings`: what `tokenizers` writes to tokenizer.json."""
        import tokenizers  # part of the extra train; a chat reads no stored tokens

        self.tokenizer = tokenizers.Tokenizer.from_str(settings)
        self.tokenizer.encode_special_tokens = True  # what looks like a control token is spelled out
        self.by_word = _splits_at_spaces(orjson.loads(settings))
        self.word_ids = WordIds(self.tokenizer)

    def encode(self, texts: Sequence[str]) -> list[bytes]:
        """The ids of each text, 32 bits each."""
        return [
            b"".join(map(self.word_ids.__getitem__, (FIRST + text).split(" ")))
            if self.by_word and _has_single_spaces(text)
            else _ids(self.tokenizer, text)
            for text in texts
        ]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has."""
        return [len(ids) // ID_BYTES for ids in self.encode(texts)]


class WordIds(dict[str, bytes]):
    """Ids of words with the space before them, or marked by `FIRST`, encoded when they are first looked up."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __missing__(self, word: str) -> bytes:
        ids = _ids(self.tokenizer, word[1:] if word.startswith(FIRST) else f" {word}")
        if len(self) < CACHED_WORDS:  # the first to be seen are the common ones
            self[word] = ids
        return ids


def _ids(tokenizer: Any, text: str) -> bytes:
    return array("I", tokenizer.encode(text, add_special_tokens=False).ids).tobytes()


@lru_cache(maxsize=1)
def _encoder(path: str) -> Encoder:
    return Encoder(Path(path).read_text(encoding="utf-8"))


def _has_single_spaces(text: str) -> bool:
    """Whether a text is ASCII with no white space but single spaces between words, as nearly all cleaned text is."""
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
