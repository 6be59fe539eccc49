"""LexRank and LSA of every prefix of a dialogue, as `sumy` computes them, and a pick that avoids repetition (MMR)."""

from collections.abc import Sequence

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


def lexrank_prefixes(words: Sequence[Sequence[str]], ends: Sequence[int]) -> list[np.ndarray]:
    """LexRank (Erkan and Radev 2004): centrality in the graph of sentences whose tf-idf vectors are similar.

    The weights of words depend on the prefix, so each prefix is computed by itself.
    """
    frequencies = _relative(word_counts(words))
    return [_lexrank(frequencies[:end]) for end in ends]


def _relative(counts: np.ndarray) -> np.ndarray:
    """Counts by the count of the sentence's commonest word."""
    return counts / np.maximum(counts.max(axis=1, initial=0.0, keepdims=True), 1)


def _lexrank(frequencies: np.ndarray) -> np.ndarray:
    n = len(frequencies)
    if n == 0:
        return np.zeros(0)
    occurring = np.count_nonzero(frequencies, axis=0)
    weights = np.where(occurring > 0, np.log(n / (1 + occurring)), 0.0)
    vectors = frequencies * weights
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(norms > 0, norms, 1.0)
    near = (vectors @ vectors.T > LEXRANK_THRESHOLD).astype(float)
    walk = near / np.maximum(near.sum(axis=1, keepdims=True), 1)
    scores = np.full(n, 1 / n)
    change = 1.0
    while change > LEXRANK_TOLERANCE:
        updated = walk.T @ scores
        norm = np.linalg.norm(updated)
        if norm == 0:  # no sentence says anything
            return scores
        updated /= norm
        change = np.linalg.norm(updated - scores)
        scores = updated
    return scores


def lsa_prefixes(words: Sequence[Sequence[str]], ends: Sequence[int]) -> list[np.ndarray]:
    """Latent semantic analysis (Steinberger and Jezek 2004): how long each sentence is in the space of topics."""
    counts = word_counts(words)
    return [_lsa(counts[:end]) for end in ends]


def _lsa(counts: np.ndarray) -> np.ndarray:
    used = counts[:, counts.any(axis=0)]
    if used.size == 0:
        return np.zeros(len(counts))
    says_something = used.any(axis=1, keepdims=True)
    smoothed = np.where(says_something, LSA_SMOOTHING + (1 - LSA_SMOOTHING) * _relative(used), 0.0)
    _, strengths, topics = np.linalg.svd(smoothed.T, full_matrices=False)
    return np.sqrt(strengths**2 @ topics**2)


def mmr(relevance: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Maximal marginal relevance (Carbonell and Goldstein 1998): what is relevant and was not said by a better pick.

    Args:
        relevance: of each sentence, not negative.
        counts: its words, shape (sentences, vocabulary).
    Returns:
        Scores that fall in the order of picking; those of sentences that were not picked are 0.
    """
    n = len(relevance)
    norms = np.linalg.norm(counts, axis=1, keepdims=True)
    vectors = counts / np.where(norms > 0, norms, 1.0)
    relevance = relevance / max(relevance.max(initial=0.0), 1e-12)
    said = np.zeros(n)  # the greatest likeness to a pick
    left = np.ones(n, dtype=bool)
    scores = np.zeros(n)
    for rank in range(min(n, MMR_PICKS)):
        gain = np.where(left, MMR_RELEVANCE * relevance - (1 - MMR_RELEVANCE) * said, -np.inf)
        pick = int(np.argmax(gain.round(9)))
        scores[pick] = 1 - rank / MMR_PICKS
        left[pick] = False
        said = np.maximum(said, vectors @ vectors[pick])
    return scores
