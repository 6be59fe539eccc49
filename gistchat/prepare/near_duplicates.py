"""Near duplicates: dialogues of different splits or corpora that are the same, or nearly.

Reports and options call them twins: `report.json` has `twins`, `gistchat prepare` has --drop-twins.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import orjson

from gistchat.dialogue.turns import Dialogue, parse_dialogue
from gistchat.dialogue.words import word_parts
from gistchat.errors import require
from gistchat.progress import progress

SIMILAR = 0.8  # Jaccard similarity of word pairs from which two dialogues count as near duplicates
PERMUTATIONS = 128


class NearDuplicate(NamedTuple):
    """Two near-duplicate dialogues; `similarity` is the Jaccard similarity of their word pairs."""

    first: str
    first_split: str
    second: str
    second_split: str
    similarity: float


def find_near_duplicates(files: Sequence[Path]) -> list[NearDuplicate]:
    """Pairs of different splits or corpora that share at least `SIMILAR` of their word pairs.

    Candidates come from MinHash with locality-sensitive hashing (Broder 1997), by `datasketch`, so the work grows with
    the number of dialogues and not of pairs; each candidate is read again and compared exactly. Held-out dialogues
    are looked at first: where there is one corpus, those of train need not be remembered.

    Args:
        files: prepared files; each holds one split.
    """
    datasketch = require("datasketch", "audit")
    index = datasketch.MinHashLSH(threshold=SIMILAR * 0.9, num_perm=PERMUTATIONS)
    places = sorted(_places(files), key=lambda place: place.split == "train")
    single_corpus = len({place.corpus for place in places}) < 2
    duplicates = []
    with progress("audit", len(places)) as advance:
        for number, place in enumerate(places):
            dialogue = place.read()
            pairs = word_pairs(dialogue)
            sketch = datasketch.MinHash(num_perm=PERMUTATIONS)
            sketch.update_batch([" ".join(pair).encode() for pair in sorted(pairs)] or [b""])
            for other in sorted(index.query(sketch)):
                if (places[other].split, places[other].corpus) == (place.split, place.corpus):
                    continue
                candidate = places[other].read()
                similarity = jaccard(pairs, word_pairs(candidate))
                if similarity >= SIMILAR:
                    names = (candidate.id, candidate.split, dialogue.id, dialogue.split)
                    duplicates.append(NearDuplicate(*names, similarity))
            if not single_corpus or place.split != "train":
                index.insert(number, sketch)
            advance(1)
    return duplicates


class _Place(NamedTuple):
    """Where a dialogue stands on disk."""

    path: Path
    offset: int
    split: str
    corpus: str

    def read(self) -> Dialogue:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return parse_dialogue(orjson.loads(file.readline()), "")


def _places(files: Sequence[Path]) -> Iterator[_Place]:
    for path in files:
        offset = 0
        with path.open("rb") as file:
            for line in file:
                dialogue = orjson.loads(line)
                yield _Place(path, offset, dialogue["split"], sys.intern(dialogue["corpus"]))
                offset += len(line)


def word_pairs(dialogue: Dialogue) -> frozenset[tuple[str, str]]:
    """All neighbouring words of a dialogue, lower case, across turns."""
    return frozenset(pairwise(word_parts(" ".join(turn.text for turn in dialogue.turns))))


def jaccard(first: frozenset, second: frozenset) -> float:
    """Shared over all; 1 for two empty sets."""
    return len(first & second) / len(first | second) if first or second else 1.0


def leaking(duplicates: Sequence[NearDuplicate]) -> set[str]:
    """The train dialogues that have a near duplicate in validation or test."""
    pairs = [(pair.first, pair.first_split, pair.second_split) for pair in duplicates]
    pairs += [(pair.second, pair.second_split, pair.first_split) for pair in duplicates]
    return {name for name, split, other in pairs if split == "train" and other in ("validation", "test")}
