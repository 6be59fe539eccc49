"""Extractive summaries of every prefix of a dialogue: `lead` and `textrank`.

A prefix is the first k turns. What is stored is the best part of a ranking of its sentences, longer than the budget:
a context takes the best that fit (`context.build_context`), so one ranking serves every budget up to its own, and a
long sentence at its top leaves something for a smaller one.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nupunkt import sent_tokenize

from gistchat.context import Sentence
from gistchat.dialogue import Turn

DAMPING = 0.85
TOLERANCE = 1e-6
MAX_ITERATIONS = 200
PREFIXES_AT_ONCE = 256
LABEL_TOKENS = 3  # "User: " before and a line break after a sentence, in the tokenizers looked at
RESERVE = 3  # how many times the budget a ranking holds

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
# Function words and chat filler. Sentences of nothing else carry no gist, so textrank leaves them out.
STOP_WORDS = frozenset(Path(__file__).with_name("stop_words.txt").read_text(encoding="utf-8").split())


@dataclass(frozen=True)
class Summaries:
    """The summaries of all prefixes of one dialogue.

    Attributes:
        sentences: all sentences of the dialogue, in order.
        picks: `picks[k]` are the indices of the sentences that may stand for turns 0..k-1, best first.
    """

    sentences: tuple[Sentence, ...]
    picks: tuple[tuple[int, ...], ...]

    def of_prefix(self, turns: int) -> list[Sentence]:
        """The best sentences of the first `turns` turns, best first, of about `RESERVE` times the budget."""
        return [self.sentences[i] for i in self.picks[turns]]


def split_sentences(turns: Sequence[Turn], first: int = 0) -> list[Sentence]:
    """Sentences with their speaker and turn index, counted from `first`."""
    return [
        Sentence(number, turn.speaker, text)
        for number, turn in enumerate(turns, first)
        for text in sent_tokenize(turn.text)
        if text.strip()
    ]


def summarize_prefixes(
    turns: Sequence[Turn], method: str, budget: int, count: Callable[[list[str]], list[int]]
) -> Summaries:
    """Summaries of the prefixes of 0, 1, ... len(turns) - 1 turns (the last turn is never summarised).

    Args:
        method: "textrank" or "lead".
        budget: the largest budget in tokens that the rankings are to serve, speaker labels included.
        count: token counts of texts, by the model's own tokenizer.
    """
    sentences = split_sentences(turns[:-1])
    costs = [tokens + LABEL_TOKENS for tokens in count([sentence.text for sentence in sentences])]
    # ends[k]: how many sentences the first k turns hold.
    ends = np.searchsorted([sentence.turn for sentence in sentences], np.arange(len(turns)))
    if method == "lead":
        orders = [np.arange(end) for end in ends]
    else:
        words = [content_words(sentence.text) for sentence in sentences]
        says_something = np.array([bool(found) for found in words], dtype=bool)
        orders = [order[says_something[order]] for order in rank_prefixes(overlaps(words), ends)]
    picks = tuple(_take(order, costs, sentences, budget) for order in orders)
    return Summaries(tuple(sentences), picks)


def _take(order: np.ndarray, costs: list[int], sentences: list[Sentence], budget: int) -> tuple[int, ...]:
    """The best sentences, each within the budget; one that says the same words as a better one is left out."""
    left = RESERVE * budget
    chosen: list[int] = []
    texts: set[str] = set()
    for i in order.tolist():
        if left <= 0:
            break
        text = sentences[i].text.lower()
        if costs[i] <= budget and text not in texts:
            chosen.append(i)
            texts.add(text)
            left -= costs[i]
    return tuple(chosen)


def content_words(text: str) -> list[str]:
    """Lower-case words without function words and chat filler."""
    return [word for word in _WORD.findall(text.lower()) if word not in STOP_WORDS]


def overlaps(words: Sequence[Sequence[str]]) -> np.ndarray:
    """TextRank's similarity (Mihalcea and Tarau 2004): shared words over the sum of the logarithms of the lengths.

    Words are counted with repetition and a sentence is compared with itself too, as `sumy` does, so that rankings
    can be compared with it.

    Args:
        words: the words of each sentence.
    Returns:
        Shape (n, n), symmetric.
    """
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(word for sentence in words for word in sentence))}
    counts = np.zeros((len(words), len(vocabulary)), dtype=np.float32)
    for i, sentence in enumerate(words):
        for word in sentence:
            counts[i, vocabulary[word]] += 1
    shared = (counts @ counts.T).astype(np.float64)
    logs = np.log(np.maximum([len(sentence) for sentence in words], 1))
    norms = logs[:, None] + logs[None, :]
    # Two sentences of one word each: their similarity is 1 or 0.
    return np.where(norms > 0, shared / np.where(norms > 0, norms, 1.0), shared)


def rank_prefixes(similarity: np.ndarray, ends: Sequence[int]) -> list[np.ndarray]:
    """PageRank over every leading block of a similarity matrix, best sentence first.

    Every prefix is a leading block of the whole dialogue's matrix, and every prefix's score vector a column of one
    matrix P, so one matrix product an iteration serves all prefixes: O(n) rebuilds become one.

    Args:
        similarity: shape (n, n), symmetric, not negative.
        ends: size of each block.
    Returns:
        For each block, the indices of its sentences in falling order of score; equal scores in order of position.
    """
    orders: list[np.ndarray] = []
    for start in range(0, len(ends), PREFIXES_AT_ONCE):
        block = np.asarray(ends[start : start + PREFIXES_AT_ONCE])
        scores = _prefix_scores(similarity, block)
        orders += [np.argsort(-scores[:end, j].round(9), kind="stable") for j, end in enumerate(block)]
    return orders


def _prefix_scores(similarity: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """PageRank scores: column j holds those of the leading block of size ends[j], zeros below it."""
    n = int(ends.max(initial=0))
    if n == 0:
        return np.zeros((0, len(ends)))
    matrix = similarity[:n, :n]
    inside = np.arange(n)[:, None] < ends[None, :]
    sizes = np.maximum(ends, 1)
    # Row sums of every leading block at once: cumulative sums along the row, read at the block's end.
    sums = np.cumsum(matrix, axis=1)[:, np.maximum(ends - 1, 0)] + 1e-7
    # Outside a block all of these are zero, so its scores never leave it.
    spread = np.where(inside, DAMPING / sums, 0.0)
    jump = np.where(inside, (1 - DAMPING) / sizes, 0.0)
    scores = inside / sizes
    for _ in range(MAX_ITERATIONS):
        updated = matrix @ (scores * spread)
        updated *= inside
        updated += jump * scores.sum(axis=0)
        converged = np.abs(np.subtract(updated, scores, out=scores), out=scores).max(initial=0.0) < TOLERANCE
        scores = updated
        if converged:
            break
    return scores
