"""LexRank and LSA of every prefix of a dialogue, as `sumy` computes them, and a pick that avoids repetition (MMR)."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEXRANK_THRESHOLD = 0.1  # cosine from which two sentences are neighbours
LEXRANK_TOLERANCE = 0.1
LSA_SMOOTHING = 0.4
MMR_RELEVANCE = 0.5  # weight of relevance against novelty
MMR_PICKS = 60  # per prefix; more than any budget holds


def word_counts(words: Sequence[Sequence[str]]) -> np.ndarray:
    """How often each word occurs in each sentence: shape (sentences, vocabulary)."""
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(word for sentence in words for word in sentence))}
    counts = np.zeros((len(words), len(vocabulary)), dtype=np.float64)
    for i, sentence in enumerate(words):
        for word in sentence:
            counts[i, vocabulary[word]] += 1
    return counts


class _SharedWords(NamedTuple):
    """Which words any two sentences share; a sentence makes a pair with itself, too.

    Pairs are in the order of their later sentence, so those of a prefix come first.
    """

    earlier: np.ndarray  # of each pair
    later: np.ndarray
    pair: np.ndarray  # of each word that a pair shares
    word: np.ndarray
    product: np.ndarray  # of the word's frequencies in the two sentences


def lexrank_prefixes(words: Sequence[Sequence[str]], ends: Sequence[int]) -> list[np.ndarray]:
    """LexRank (Erkan and Radev 2004): centrality in the graph of sentences whose tf-idf vectors are similar.

    The weights of words depend on the prefix, so each prefix is computed by itself, from what pairs of sentences share:
    most pairs share nothing.
    """
    shared = _shared_words(words)
    return [_lexrank(shared, end) for end in ends]


def _shared_words(words: Sequence[Sequence[str]]) -> _SharedWords:
    counted = list(map(Counter, words))
    uses = _uses(counted)
    numbers = {word: number for number, word in enumerate(uses)}
    used: Counter[str] = Counter()  # how many sentences have used a word so far
    parts = [(np.zeros(0, np.int32),) * 4 + (np.zeros(0),)]
    pairs = 0
    for later, counts in enumerate(counted):
        used.update(counts.keys())
        shared = []
        for word in counts:
            sentences, frequencies = (part[: used[word]] for part in uses[word])
            word_number = np.full(len(sentences), numbers[word], np.int32)
            shared.append((sentences, word_number, frequencies * frequencies[-1]))
        if shared:
            sentences, word_number, product = map(np.concatenate, zip(*shared, strict=True))
            earlier, pair = np.unique(sentences, return_inverse=True)
            pair = (pair + pairs).astype(np.int32)
            parts.append((earlier, np.full_like(earlier, later), pair, word_number, product))
            pairs += len(earlier)
    return _SharedWords(*map(np.concatenate, zip(*parts, strict=True)))


def _uses(counted: Sequence[Counter[str]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each word the sentences that use it, and its count in each by that of the sentence's commonest word."""
    uses: dict[str, list[tuple[int, float]]] = {}
    for number, counts in enumerate(counted):
        commonest = max(counts.values(), default=1)
        for word, count in counts.items():
            uses.setdefault(word, []).append((number, count / commonest))
    columns = {word: list(zip(*of_word, strict=True)) for word, of_word in uses.items()}
    return {word: (np.array(sentences, np.int32), np.array(shares)) for word, (sentences, shares) in columns.items()}


def _lexrank(shared: _SharedWords, n: int) -> np.ndarray:
    """The scores of the first n sentences."""
    pairs = np.searchsorted(shared.later, n)
    earlier, later = shared.earlier[:pairs], shared.later[:pairs]
    pair, word, product = (part[: np.searchsorted(shared.pair, pairs)] for part in shared[2:])
    itself = earlier == later
    occurring = np.bincount(word[itself[pair]])
    similarity = np.bincount(pair, product * np.log(n / (1 + occurring))[word] ** 2, minlength=pairs)
    norms = np.zeros(n)
    norms[later[itself]] = np.sqrt(similarity[itself])
    near = similarity > LEXRANK_THRESHOLD * norms[earlier] * norms[later]
    others = near & ~itself
    of, to = (np.concatenate(ends) for ends in ((earlier[near], later[others]), (later[near], earlier[others])))
    neighbours = np.maximum(np.bincount(of, minlength=n), 1)
    scores = np.full(n, 1 / max(n, 1))
    change = 1.0
    while change > LEXRANK_TOLERANCE:
        updated = np.bincount(to, (scores / neighbours)[of], minlength=n)
        norm = np.linalg.norm(updated)
        if norm == 0:  # no sentence says anything
            return scores
        updated /= norm
        change = np.linalg.norm(updated - scores)
        scores = updated
    return scores


def lsa_prefixes(words: Sequence[Sequence[str]], ends: Sequence[int]) -> list[np.ndarray]:
    """Latent semantic analysis (Steinberger and Jezek 2004): how long each sentence is in the space of topics.

    `sumy` keeps all topics, and then that is the length of the sentence's own vector: a decomposition changes nothing.
    Smoothing gives words of the prefix that a sentence does not use a weight, too, the same in all sentences.
    """
    vocabulary: set[str] = set()
    sizes, own = [0], []  # words in use after each sentence; what its own words add to its vector's square
    for sentence in words:
        counts = Counter(sentence)
        vocabulary.update(counts)
        sizes.append(len(vocabulary))
        commonest = max(counts.values(), default=1)
        weights = (LSA_SMOOTHING + (1 - LSA_SMOOTHING) * count / commonest for count in counts.values())
        own.append(sum(weight**2 - LSA_SMOOTHING**2 for weight in weights))
    squares = np.array(own)
    says_something = squares > 0
    return [np.where(says_something[:end], np.sqrt(LSA_SMOOTHING**2 * sizes[end] + squares[:end]), 0.0) for end in ends]


def cosines(counts: np.ndarray) -> np.ndarray:
    """How alike sentences are, given the counts of their words: shape (sentences, sentences)."""
    norms = np.linalg.norm(counts, axis=1, keepdims=True)
    vectors = counts / np.where(norms > 0, norms, 1.0)
    return vectors @ vectors.T


def mmr(relevance: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """Maximal marginal relevance (Carbonell and Goldstein 1998): what is relevant and was not said by a better pick.

    Args:
        relevance: of each sentence, not negative.
        similarity: of each two; see `cosines`.
    Returns:
        Scores that fall in the order of picking; those of sentences that were not picked are 0.
    """
    n = len(relevance)
    relevance = relevance / max(relevance.max(initial=0.0), 1e-12)
    said = np.zeros(n)  # the greatest likeness to a pick
    left = np.ones(n, dtype=bool)
    scores = np.zeros(n)
    for rank in range(min(n, MMR_PICKS)):
        gain = np.where(left, MMR_RELEVANCE * relevance - (1 - MMR_RELEVANCE) * said, -np.inf)
        pick = int(np.argmax(gain.round(9)))
        scores[pick] = 1 - rank / MMR_PICKS
        left[pick] = False
        said = np.maximum(said, similarity[pick])
    return scores
