"""Audit of splits: dialogues of different splits or corpora that are the same, or nearly."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from gistchat.dialogue import Dialogue
from gistchat.errors import require
from gistchat.progress import progress

SIMILAR = 0.8  # Jaccard similarity of word pairs from which two dialogues count as near duplicates
PERMUTATIONS = 128

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Twins:
    """Two dialogues that should not be on two sides; `similarity` is the Jaccard similarity of their word pairs."""

    first: str
    first_split: str
    second: str
    second_split: str
    similarity: float


def find_twins(dialogues: Sequence[Dialogue], threshold: float = SIMILAR) -> list[Twins]:
    """Pairs of different splits or corpora that share at least `threshold` of their word pairs.

    Candidates come from MinHash with locality-sensitive hashing (Broder 1997), by `datasketch`, so the work grows with
    the number of dialogues and not of pairs; each candidate is then compared exactly.
    """
    datasketch = require("datasketch", "audit")
    index = datasketch.MinHashLSH(threshold=threshold * 0.9, num_perm=PERMUTATIONS)
    shingles: list[frozenset[tuple[str, str]]] = []
    twins = []
    with progress("audit", len(dialogues)) as advance:
        for number, dialogue in enumerate(dialogues):
            pairs = word_pairs(dialogue)
            shingles.append(pairs)
            sketch = datasketch.MinHash(num_perm=PERMUTATIONS)
            sketch.update_batch([" ".join(pair).encode() for pair in sorted(pairs)] or [b""])
            for other in sorted(index.query(sketch)):
                twin = dialogues[other]
                similarity = jaccard(pairs, shingles[other])
                apart = (twin.split, twin.corpus) != (dialogue.split, dialogue.corpus)
                if apart and similarity >= threshold:
                    twins.append(Twins(twin.id, twin.split, dialogue.id, dialogue.split, similarity))
            index.insert(number, sketch)
            advance(1)
    return twins


def word_pairs(dialogue: Dialogue) -> frozenset[tuple[str, str]]:
    """All neighbouring words of a dialogue, lower case, across turns."""
    words = _WORD.findall(" ".join(turn.text for turn in dialogue.turns).lower())
    return frozenset(pairwise(words))


def jaccard(one: frozenset, other: frozenset) -> float:
    """Shared over all; 1 for two empty sets."""
    return len(one & other) / len(one | other) if one or other else 1.0


def drop_from_train(dialogues: Sequence[Dialogue], twins: Sequence[Twins]) -> list[Dialogue]:
    """Without the train dialogues that have a twin in validation or test."""
    pairs = [(pair.first, pair.first_split, pair.second_split) for pair in twins]
    pairs += [(pair.second, pair.second_split, pair.first_split) for pair in twins]
    leaking = {name for name, split, other in pairs if split == "train" and other in ("validation", "test")}
    return [dialogue for dialogue in dialogues if dialogue.split != "train" or dialogue.id not in leaking]
