"""Search in the turns of a dialogue: those that share words with a text, and those that stand beside them."""

import bisect
import math
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import regex
from snowballstemmer import stemmer

from gistchat.context.types import Match
from gistchat.dialogue.turns import Turn
from gistchat.dialogue.words import UNSPACED, normalized
from gistchat.memory.sentences import content_words, split_sentences

# BM25 (Robertson and Zaragoza, 2009): how soon a word that comes again adds nothing, and how much length counts.
K1, B = 1.2, 0.5
NEIGHBOUR = 0.3  # of a turn's score goes to the turn before it and to the one after it
MOST_MATCHES = 200  # turns of a search, at most
_UNSPACED_RUN = regex.compile(rf"(?:{UNSPACED}\p{{M}}*)+", regex.V1)
_LETTER = regex.compile(rf"{UNSPACED}\p{{M}}*", regex.V1)
_LEMMAS = {
    form: lemma
    for lemma, *forms in map(str.split, Path(__file__).with_name("irregular_forms.txt").read_text().splitlines())
    for form in forms
}
_english = stemmer("english").stemWord


@lru_cache(maxsize=200_000)
def _stem(word: str) -> str:
    """Without its ending: "hiked" and "hiking" are one, and so are "went" and "go"."""
    return _english(_LEMMAS.get(word, word))


def terms(text: str) -> list[str]:
    """What a text is found by: its content words without their endings; of scripts without spaces, pairs of letters."""
    spaced = [
        _stem(part)
        for word in content_words(text)
        if word.isascii() or not _LETTER.match(word)
        for part in word.split("'")
        if len(part) > 1 or part.isdecimal()
    ]
    return spaced if text.isascii() else [*spaced, *_pairs(text)]


def _pairs(text: str) -> Iterator[str]:
    for run in _UNSPACED_RUN.findall(normalized(text)):
        letters = _LETTER.findall(run)
        yield from map("".join, pairwise(letters)) if len(letters) > 1 else letters


@dataclass
class _Postings:
    """The turns that hold a term, in order, and how often each does."""

    turns: array = field(default_factory=lambda: array("i"))
    counts: array = field(default_factory=lambda: array("i"))


class TurnIndex:
    """Finds turns of a dialogue by what they say. It grows with the dialogue, and follows what is edited or taken back.

    A search among the first k turns knows nothing of those after them, not even how frequent a word will become.
    """

    def __init__(self, turns: Sequence[Turn] = ()) -> None:
        self._terms: list[Counter[str]] = []  # of each turn
        self._lengths = array("i")
        self._postings: dict[str, _Postings] = {}
        self.follow(turns, len(turns))

    def __len__(self) -> int:
        """How many turns it knows."""
        return len(self._terms)

    def follow(self, turns: Sequence[Turn], end: int) -> None:
        """Add those of a dialogue's first `end` turns that it does not know yet."""
        for turn in turns[len(self) : end]:
            self._terms.append(Counter())
            self._lengths.append(0)
            self.put(len(self) - 1, turn)

    def put(self, number: int, turn: Turn) -> None:
        """Take over a turn that was edited."""
        self._drop(number)
        self._terms[number] = found = Counter(terms(f"{turn.speaker} {turn.text}"))
        self._lengths[number] = found.total()
        for term, count in found.items():
            postings = self._postings.setdefault(term, _Postings())
            place = bisect.bisect_left(postings.turns, number)
            postings.turns.insert(place, number)
            postings.counts.insert(place, count)

    def cut(self, length: int) -> None:
        """Forget all turns but the first so many."""
        for number in reversed(range(length, len(self))):
            self._drop(number)
        del self._terms[length:], self._lengths[length:]

    def _drop(self, number: int) -> None:
        for term in self._terms[number]:
            postings = self._postings[term]
            place = bisect.bisect_left(postings.turns, number)
            del postings.turns[place], postings.counts[place]
            if not postings.turns:
                del self._postings[term]
        self._terms[number] = Counter()
        self._lengths[number] = 0

    def find(self, text: str, before: int) -> list[Match]:
        """The turns among the first `before` that match a text, best first."""
        asked = sorted(set(terms(text)))
        scores = self.scores(asked, before)
        found = np.flatnonzero(scores > 0)
        if len(found) > MOST_MATCHES:
            found = found[np.argpartition(-scores[found], MOST_MATCHES)[:MOST_MATCHES]]
        # Of turns that match alike, the later one is more likely to hold still.
        best = sorted(found.tolist(), key=lambda turn: (-scores[turn], -turn))
        return [
            Match(turn, float(scores[turn]), tuple(term for term in asked if term in self._terms[turn]))
            for turn in best
        ]

    def scores(self, asked: Sequence[str], before: int) -> np.ndarray:
        """How well each of the first `before` turns matches; float64 [before]."""
        lengths = np.frombuffer(self._lengths, dtype=np.int32)[:before] if before else np.zeros(0, np.int32)
        scores = np.zeros(len(lengths))
        if not len(lengths):
            return scores
        norms = K1 * (1 - B + B * lengths / max(lengths.mean(), 1e-9))
        for term in asked:
            if (postings := self._postings.get(term)) is None:
                continue
            known = bisect.bisect_left(postings.turns, before)
            turns = np.frombuffer(postings.turns, dtype=np.int32)[:known]
            counts = np.frombuffer(postings.counts, dtype=np.int32)[:known]
            rarity = math.log1p((len(lengths) - known + 0.5) / (known + 0.5))
            scores[turns] += rarity * counts * (K1 + 1) / (counts + norms[turns])
        beside = scores.copy()
        beside[1:] += NEIGHBOUR * scores[:-1]
        beside[:-1] += NEIGHBOUR * scores[1:]
        return beside

    def shared(self, text: str, turn: int) -> list[str]:
        """The words of a text by which it finds a turn; none where only turns beside that one hold them."""
        return [word for word in dict.fromkeys(content_words(text)) if any(t in self._terms[turn] for t in terms(word))]

    def sentences(self, text: str, turn: Turn) -> list[str]:
        """The sentences of a turn that match a text, best first."""
        asked = set(terms(text))
        parts = [sentence.text for sentence in split_sentences([turn])]
        shared = {part: len(asked.intersection(terms(part))) for part in parts}
        return sorted((part for part in shared if shared[part]), key=lambda part: -shared[part])
