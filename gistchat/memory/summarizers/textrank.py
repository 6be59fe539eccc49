"""TextRank (Mihalcea and Tarau 2004) of every prefix of a dialogue at once."""

from collections.abc import Sequence

import numpy as np

from gistchat.memory.summarizers.rankers import word_counts

DAMPING = 0.85
TOLERANCE = 1e-4  # of the length of the change; `sumy`'s, as a tighter one ranks near ties otherwise
# Sentences without neighbours lose what they have, so the scores of a block with many of them shrink for hundreds of
# iterations; their order is found long before.
MAX_ITERATIONS = 80
PREFIXES_AT_ONCE = 256


def overlaps(words: Sequence[Sequence[str]]) -> np.ndarray:
    """TextRank's similarity (Mihalcea and Tarau 2004): shared words over the sum of the logarithms of the lengths.

    Words are counted with repetition and a sentence is compared with itself too, as `sumy` does, so that rankings
    can be compared with it.

    Args:
        words: the words of each sentence.
    Returns:
        Shape (n, n), symmetric.
    """
    counts = word_counts(words).astype(np.float32)
    shared = (counts @ counts.T).astype(np.float64)
    logs = np.log(np.maximum([len(sentence) for sentence in words], 1))
    norms = logs[:, None] + logs[None, :]
    # Two sentences of one word each: their similarity is 1 or 0.
    return np.where(norms > 0, shared / np.where(norms > 0, norms, 1.0), shared)


def textrank_prefixes(words: Sequence[Sequence[str]], ends: Sequence[int]) -> list[np.ndarray]:
    """TextRank's scores of the sentences of every prefix; see `rank_prefixes`."""
    return rank_prefixes(overlaps(words), ends)


def rank_prefixes(similarity: np.ndarray, ends: Sequence[int]) -> list[np.ndarray]:
    """PageRank scores over every leading block of a similarity matrix.

    Every prefix is a leading block of the whole dialogue's matrix, and every prefix's score vector a column of one
    matrix P, so one matrix product an iteration serves all prefixes: O(n) rebuilds become one.

    Args:
        similarity: shape (n, n), symmetric, not negative.
        ends: size of each block.
    Returns:
        For each block, the scores of its sentences; they sum to 1.
    """
    scores_of_blocks: list[np.ndarray] = []
    for start in range(0, len(ends), PREFIXES_AT_ONCE):
        block = np.asarray(ends[start : start + PREFIXES_AT_ONCE])
        scores = _prefix_scores(similarity, block)
        scores_of_blocks += [scores[:end, j] for j, end in enumerate(block)]
    return scores_of_blocks


def _prefix_scores(similarity: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """PageRank scores: column j holds those of the leading block of size ends[j], which sum to 1, zeros below it."""
    n = int(ends.max(initial=0))
    settled_scores = np.zeros((n, len(ends)))
    moving = np.flatnonzero(ends)
    matrix, ends = similarity[:n, :n], ends[moving]
    inside = np.arange(n)[:, None] < ends[None, :]
    # Row sums of every leading block at once: cumulative sums along the row, read at the block's end.
    sums = np.cumsum(matrix, axis=1)[:, ends - 1] + 1e-7
    # Outside a block all of these are zero, so its scores never leave it.
    spread = np.where(inside, DAMPING / sums, 0.0)
    jump = np.where(inside, (1 - DAMPING) / ends, 0.0)
    scores = inside / ends
    for iteration in range(MAX_ITERATIONS):
        updated = matrix @ (scores * spread)
        updated *= inside
        updated += jump * scores.sum(axis=0)
        np.subtract(updated, scores, out=scores)
        settled = np.einsum("ij,ij->j", scores, scores) <= TOLERANCE**2
        scores = updated
        if settled.any() or iteration == MAX_ITERATIONS - 1:
            settled_scores[:, moving] = scores  # a settled column is not touched again, so it is ranked as if by itself
            moving, scores, spread, jump, inside = (
                part[..., ~settled] for part in (moving, scores, spread, jump, inside)
            )
            if not len(moving):
                break
    return settled_scores / np.maximum(settled_scores.sum(axis=0), 1e-300)
