"""Extractive summaries of every prefix of a dialogue.

A prefix is the first k turns. What is stored is the best part of a ranking of its sentences, longer than the budget:
a context takes the best that fit (`context.budget.fit_gist`), so one ranking serves every budget up to its own, and a
long sentence at its top leaves something for a smaller one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gistchat.context.budget import best_lines
from gistchat.context.types import Sentence
from gistchat.dialogue.turns import Turn
from gistchat.memory.sentences import content_words, split_sentences
from gistchat.memory.summarizer import Job, Update
from gistchat.memory.summarizers.rankers import cosines, lexrank_prefixes, lsa_prefixes, mmr, word_counts
from gistchat.memory.summarizers.textrank import textrank_prefixes
from gistchat.prompts.token_count import Count

# How sentences are ranked; `lead` and `recent` take them as they come.
METHODS = {
    "textrank": textrank_prefixes,
    "lexrank": lexrank_prefixes,
    "lsa": lsa_prefixes,
    "mmr": textrank_prefixes,  # picked again, for what was not said yet
    "lead": None,
    "recent": None,
}
# Up to so many sentences all of a prefix are ranked; chitchat's longest dialogue has 1,145. Longer ones
# are ranked by the latest and those that ranked best before, so that memory and the work of a prefix stay bounded.
ALL_RANKED = 1200
LATEST, BEST, STEP = 512, 256, 256  # of longer ones: what is kept, and how many come until some are dropped again
RESERVE = 3  # how many times the budget a ranking holds
LABEL_TOKENS = 3  # "User: " before and a line break after a sentence, about: what it takes of the reserve


@dataclass(frozen=True)
class Summaries:
    """The summaries of all prefixes of one dialogue."""

    sentences: tuple[Sentence, ...]  # all of the dialogue, in order
    picks: tuple[tuple[int, ...], ...]  # at k: indices of the sentences that may stand for turns 0..k-1, best first

    def of_prefix(self, turns: int) -> list[Sentence]:
        """The best sentences of the first `turns` turns, best first, of about `RESERVE` times the budget."""
        return [self.sentences[i] for i in self.picks[turns]]


@dataclass
class Extractor:
    """Gists of the best sentences of the gist before and of the turns that left: the same work however long ago the
    dialogue began."""

    method: str  # one of `METHODS`
    recency: float = 1.0  # as in `summarize_prefixes`

    def update(self, jobs: Sequence[Job]) -> list[Update]:
        return [Update(self._extract(job)) for job in jobs]

    def _extract(self, job: Job) -> tuple[Sentence, ...]:
        """The best sentences that fit the budget, in their order; of the gist before where none says anything."""
        sentences = [*job.gist, *split_sentences(job.turns, job.first)]
        [order] = _orders(self.method, sentences, [len(sentences)], self.recency)
        ranked = [sentences[i] for i in _by_text(order, sentences).values()]  # the best of equal ones
        chosen = best_lines(ranked or job.gist, job.cost, job.budget)
        in_order = tuple(sentence for sentence in dict.fromkeys(sentences) if sentence in chosen)
        return in_order or tuple(chosen)  # the beginning of one is none of them


def summarize_prefixes(
    turns: Sequence[Turn], method: str, budget: int, count: Count, recency: float = 1.0
) -> Summaries:
    """Summaries of the prefixes of 0, 1, ... len(turns) - 1 turns (the last turn is never summarised).

    Args:
        method: one of `METHODS`.
        budget: the largest budget in tokens that the rankings are to serve.
        count: token counts of texts, by the model's own tokenizer.
        recency: a sentence's score is multiplied by this for every turn that it lies back; 1 favours none.
    """
    sentences = split_sentences(turns[:-1])
    costs = count([sentence.text for sentence in sentences])
    # ends[k]: how many sentences the first k turns hold.
    ends = np.searchsorted([sentence.turn for sentence in sentences], np.arange(len(turns))).tolist()
    picks = (_take(order, costs, sentences, budget) for order in _orders(method, sentences, ends, recency))
    return Summaries(tuple(sentences), tuple(picks))


def summarize(
    turns: Sequence[Turn], method: str, budget: int, count: Count, recency: float = 1.0, first: int = 0
) -> list[Sentence]:
    """The best sentences of all these turns, counted from `first`, as `summarize_prefixes` ranks them."""
    sentences = split_sentences(turns, first)
    [order] = _orders(method, sentences, [len(sentences)], recency)
    return [sentences[i] for i in _take(order, count([line.text for line in sentences]), sentences, budget)]


def _orders(method: str, sentences: list[Sentence], ends: Sequence[int], recency: float) -> Iterator[Sequence[int]]:
    """The sentences of each prefix, given by how many it holds, best first; equal scores in order of position."""
    if method in ("lead", "recent"):
        yield from (range(end)[:: 1 if method == "lead" else -1][:ALL_RANKED] for end in ends)
        return
    kept = np.arange(0)
    start = done = 0
    for stop in (*range(ALL_RANKED, len(sentences), STEP), len(sentences)):
        window = np.concatenate([kept, np.arange(start, stop)])
        until = int(np.searchsorted(ends, stop, side="right"))
        sizes = [end - start + len(kept) for end in ends[done:until]]
        more = [len(window)] * (stop < len(sentences))  # what is best now is kept
        orders = [window[order] for order in _ranked(method, [sentences[i] for i in window], [*sizes, *more], recency)]
        yield from (order.tolist() for order in orders[: len(sizes)])
        if more:
            best = list(_by_text(orders[-1].tolist(), sentences).values())[:BEST]
            kept = np.union1d(np.array(best, int), window[-LATEST:])
        start, done = stop, until


def _ranked(method: str, sentences: list[Sentence], ends: Sequence[int], recency: float) -> Iterator[np.ndarray]:
    """`_orders` where all sentences of a prefix are ranked."""
    turns = np.array([sentence.turn for sentence in sentences], dtype=int)
    words = [content_words(sentence.text) for sentence in sentences]
    says_something = np.array(list(map(bool, words)), dtype=bool)
    similarity = cosines(word_counts(words)) if method == "mmr" else None
    for end, scores in zip(ends, METHODS[method](words, ends), strict=True):
        if recency != 1.0 and end:
            scores = scores * recency ** (turns[end - 1] - turns[:end])
        if similarity is not None:
            scores = mmr(scores, similarity[:end, :end])
        order = np.argsort(-scores.round(9), kind="stable")
        yield order[says_something[order]]


def _by_text(order: Iterable[int], sentences: Sequence[Sentence]) -> dict[str, int]:
    """The first sentence of each text, in order; texts by small letters."""
    first: dict[str, int] = {}
    for i in order:
        first.setdefault(sentences[i].text.lower(), i)
    return first


def _take(order: Sequence[int], costs: list[int], sentences: list[Sentence], budget: int) -> tuple[int, ...]:
    """The best sentences, each within the budget; one that says the same words as a better one is left out.

    The best of all stays even if it is longer: where nothing fits, the context takes its beginning.
    """
    left = RESERVE * budget
    chosen: dict[str, int] = {}  # by text
    for i in order:
        if left <= 0:
            break
        text = sentences[i].text.lower()
        if text not in chosen and (costs[i] <= budget or not chosen):
            chosen[text] = i
            left -= min(costs[i], budget) + LABEL_TOKENS
    return tuple(chosen.values())
