"""Search in the turns of a dialogue: those that share words with a text, and those that stand beside them.

With an encoder also those that mean something alike; a reranker then reads the best of them again.
"""

import bisect
import math
import threading
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import regex
from snowballstemmer import stemmer

from gistchat.context.types import Match
from gistchat.dialogue.turns import Turn, name_of
from gistchat.dialogue.words import UNSPACED, normalized, word_parts
from gistchat.memory.sentences import content_words, split_sentences
from gistchat.memory.turn_vectors import TurnVectors, spoken

if TYPE_CHECKING:
    from gistchat.memory.encoder import Reranker  # needs an extra

# BM25 (Robertson and Zaragoza, 2009): how soon a word that comes again adds nothing, and how much length counts.
K1, B = 1.2, 0.75
NEIGHBOUR = 0.35  # of a turn's score goes to the turn before it and to the one after it
COVERAGE = 0.5  # of a score depends on how much of what is asked the turn holds, rare terms counting more
PAIR = 0.5  # of the rarity of two terms that stand side by side in both, as those of a name do
OWN = 1.0  # what turns gain that are of the person whom a question is about: "my" of who asks, "your" of the others
# In a question about oneself or the others names say little and the verbs of all small talk much, so meaning counts
# more, by this factor, and more by itself than beside others. Turns that only ask, which are like any question, lose
# this part of their likeness, and turns of the person whom it is about gain some.
PERSONAL, ALIKE_NEIGHBOUR, ASKING, ALIKE_OWN = 3.0, 0.1, 0.3, 0.3
NAME = 3  # times that a speaker's name counts in his or her own turns
MOST_MATCHES = 200  # turns of a search, at most
RERANKED = 50  # of them, the best, that a reranker reads
_I, _YOU = frozenset(("i", "my", "mine", "myself")), frozenset(("you", "your", "yours", "yourself"))
_ONLY_ASKS = regex.compile(r"[^.!。！\n]*[?？؟]\s*")
_UNSPACED_RUN = regex.compile(rf"(?:{UNSPACED}\p{{M}}*)+", regex.V1)
_LETTER = regex.compile(rf"{UNSPACED}\p{{M}}*", regex.V1)
_LEMMAS = {
    form: lemma
    for lemma, *forms in map(str.split, Path(__file__).with_name("irregular_forms.txt").read_text().splitlines())
    for form in forms
}
_english = stemmer("english").stemWord
_stemming = threading.Lock()  # a stemmer holds the word that it works on


@lru_cache(maxsize=200_000)
def _stem(word: str) -> str:
    """Without its ending: "hiked" and "hiking" are one, and so are "went" and "go"."""
    with _stemming:
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


@lru_cache(maxsize=8)
def _terms_of_words(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The content words of a text, each once, with its own terms; many turns are asked about one text."""
    return tuple((word, tuple(terms(word))) for word in dict.fromkeys(content_words(text)))


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

    def __init__(
        self,
        turns: Sequence[Turn] = (),
        vectors: TurnVectors | None = None,
        weight: float = 1.0,
        reranker: "Reranker | None" = None,
    ) -> None:
        """
        Args:
            vectors: of the turns, by which those are found that mean something alike.
            weight: of meaning beside shared words.
            reranker: orders the best turns anew.
        """
        self._vectors, self._weight, self._reranker = vectors, weight, reranker
        self._turns: list[Turn] = []
        self._terms: list[tuple[str, ...]] = []  # of each turn, in their order
        self._lengths = array("i")
        self._speakers = array("i")  # of each turn, by the order in which they first spoke
        self._known_speakers: dict[str, int] = {}
        self._asking = array("b")  # of each turn, whether it only asks
        self._postings: dict[str, _Postings] = {}
        self.follow(turns, len(turns))

    def __len__(self) -> int:
        """How many turns it knows."""
        return len(self._terms)

    def follow(self, turns: Sequence[Turn], end: int) -> None:
        """Add those of a dialogue's first `end` turns that it does not know yet."""
        for turn in turns[len(self) : end]:
            self._turns.append(turn)
            self._terms.append(())
            self._lengths.append(0)
            self._speakers.append(0)
            self._asking.append(0)
            self.put(len(self) - 1, turn)

    def put(self, number: int, turn: Turn) -> None:
        """Take over a turn that was edited."""
        self._drop(number)
        self._turns[number] = turn
        if self._vectors:
            self._vectors.put(number, turn)
        self._speakers[number] = self._known_speakers.setdefault(turn.speaker, len(self._known_speakers))
        self._asking[number] = bool(_ONLY_ASKS.fullmatch(turn.text))
        self._terms[number] = found = (*terms(name_of(turn)) * NAME, *terms(turn.text))
        self._lengths[number] = len(found)
        for term, count in Counter(found).items():
            postings = self._postings.setdefault(term, _Postings())
            place = bisect.bisect_left(postings.turns, number)
            postings.turns.insert(place, number)
            postings.counts.insert(place, count)

    def cut(self, length: int) -> None:
        """Forget all turns but the first so many."""
        for number in reversed(range(length, len(self))):
            self._drop(number)
        del self._turns[length:], self._terms[length:], self._lengths[length:]
        del self._speakers[length:], self._asking[length:]
        if self._vectors:
            self._vectors.cut(length)

    def forget(self, turn: Turn) -> None:
        """Remove what is kept of a turn, which was edited, for other indices."""
        if self._vectors:
            self._vectors.forget(turn)

    def _drop(self, number: int) -> None:
        for term in set(self._terms[number]):
            postings = self._postings[term]
            place = bisect.bisect_left(postings.turns, number)
            del postings.turns[place], postings.counts[place]
            if not postings.turns:
                del self._postings[term]
        self._terms[number] = ()
        self._lengths[number] = 0

    def find(self, text: str, before: int, asker: str = "") -> list[Match]:
        """The turns among the first `before` that match a text, best first.

        Args:
            asker: whose text it is: what is "mine" in it was told by the same speaker.
        """
        asked, whose = terms(text), self._whose(text, before, asker)
        lexical = _with_neighbours(self.scores(asked, before)) * (1 + OWN * whose)
        scores = self._with_meaning(lexical, text, whose) if self._vectors and before else lexical
        # A turn that shares words counts even where most share more.
        found = np.flatnonzero((scores > 0) | (lexical > 0))
        if len(found) > MOST_MATCHES:
            found = found[np.argpartition(-scores[found], MOST_MATCHES)[:MOST_MATCHES]]
        # Of turns that match alike, the later one is more likely to hold still.
        best = sorted(found.tolist(), key=lambda turn: (-scores[turn], -turn))
        if self._reranker:
            best[:RERANKED] = self._reranked(self._reranker, text, best[:RERANKED])
        return [
            Match(turn, float(scores[turn]), tuple(sorted(set(asked).intersection(self._terms[turn])))) for turn in best
        ]

    def _with_meaning(self, lexical: np.ndarray, text: str, whose: np.ndarray) -> np.ndarray:
        """Scores by shared words, [turns], and by meaning added up, each in its own standard deviations.

        So a turn is better than the average one where its score is above 0.
        """
        alike, weight, neighbour = self._vectors.cosines(text, len(lexical)).astype(float), self._weight, NEIGHBOUR
        if whose.any():
            alike *= (1 + ALIKE_OWN * whose) * (1 - ASKING * np.frombuffer(self._asking, np.int8)[: len(lexical)])
            weight, neighbour = weight * PERSONAL, ALIKE_NEIGHBOUR
        return _standardized(lexical) + weight * _standardized(_with_neighbours(alike, neighbour))

    def _reranked(self, reranker: "Reranker", text: str, turns: Sequence[int]) -> list[int]:
        scores = reranker.scores(text, [spoken(self._turns[turn]) for turn in turns]) if turns else ()
        return [turn for _, turn in sorted(zip(scores, turns, strict=True), key=lambda pair: -pair[0])]

    def scores(self, asked: Sequence[str], before: int) -> np.ndarray:
        """How well each of the first `before` turns by itself matches some terms, in their order; float64 [before]."""
        scores, held, most = np.zeros(before), np.zeros(before), 0.0
        if not before:
            return scores
        lengths = np.frombuffer(self._lengths, dtype=np.int32)[:before]
        norms = K1 * (1 - B + B * lengths / max(lengths.mean(), 1e-9))
        for term in dict.fromkeys(asked):
            turns, counts = self._holding(term, before)
            if len(turns):
                rarity = _rarity(len(turns), before)
                scores[turns] += rarity * counts * (K1 + 1) / (counts + norms[turns])
                held[turns] += rarity
                most += rarity
        if most:
            scores *= 1 - COVERAGE + COVERAGE * held / most
        for pair in dict.fromkeys(pairwise(asked)):
            if turns := self._side_by_side(pair, before):
                scores[turns] += PAIR * _rarity(len(turns), before)
        return scores

    def _whose(self, text: str, before: int, asker: str) -> np.ndarray:
        """Which turns are of whom a text is about, if that is who says it, or the others; [before]."""
        said = set(word_parts(text))
        own = np.frombuffer(self._speakers, dtype=np.int32)[:before] == self._known_speakers.get(asker, -1)
        if asker and _I & said:
            return own
        return ~own if asker and _YOU & said else np.zeros(before, bool)

    def _holding(self, term: str, before: int) -> tuple[np.ndarray, np.ndarray]:
        """Which of the first `before` turns hold a term, and how often."""
        if (postings := self._postings.get(term)) is None:
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        known = bisect.bisect_left(postings.turns, before)
        turns, counts = (np.frombuffer(values, dtype=np.int32)[:known] for values in (postings.turns, postings.counts))
        return turns, counts

    def _side_by_side(self, pair: tuple[str, str], before: int) -> list[int]:
        first, second = (self._holding(term, before)[0] for term in pair)
        both = np.intersect1d(first, second, assume_unique=True)
        return [turn for turn in both.tolist() if pair in pairwise(self._terms[turn])]

    def shared(self, text: str, turn: int) -> list[str]:
        """The words of a text by which it finds a turn; none where only turns beside that one hold them."""
        held = set(self._terms[turn])
        return [word for word, its_terms in _terms_of_words(text) if not held.isdisjoint(its_terms)]

    def sentences(self, text: str, turn: Turn) -> list[str]:
        """The sentences of a turn that match a text, best first."""
        asked = set(terms(text))
        shared = {part: len(asked.intersection(its_terms)) for part, its_terms in _sentence_terms(turn.text)}
        return sorted((part for part in shared if shared[part]), key=lambda part: -shared[part])


@lru_cache(maxsize=4096)
def _sentence_terms(text: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """The sentences of a turn with their terms: the same turns are looked at for many questions."""
    parts = [sentence.text for sentence in split_sentences([Turn("", text)])]
    return tuple((part, frozenset(terms(part))) for part in parts)


def _rarity(turns: int, among: int) -> float:
    """What a term counts that so many turns hold."""
    return math.log1p((among - turns + 0.5) / (turns + 0.5))


def _with_neighbours(scores: np.ndarray, part: float = NEIGHBOUR) -> np.ndarray:
    """Each turn's score and a part of those of the turns beside it; [turns]."""
    beside = scores.copy()
    beside[1:] += part * scores[:-1]
    beside[:-1] += part * scores[1:]
    return beside


def _standardized(scores: np.ndarray) -> np.ndarray:
    """How many standard deviations above the mean each score is; 0 where all are alike."""
    deviation = scores.std()
    return (scores - scores.mean()) / deviation if deviation > 1e-9 else np.zeros(len(scores))
