"""Metrics as pure functions, and bootstrap intervals over them.

A metric is a list of per-item statistics and a function from their (weighted) sums to a value, so a bootstrap
resample is a row of weights: one matrix product serves all resamples.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gistchat.errors import require

CONFIDENCE = 0.95
DRAWN_AT_ONCE = 100  # resamples, so that what is counted stays in the processor's cache
AGAINST_GOLD = ("rouge1", "rouge2", "rougeL", "bleu", "chrf", "f1", "rouge1_old")


@dataclass(frozen=True)
class Metric:
    """`values(weights)` gives the metric for every row of item weights, shape (resamples, items) -> (resamples,)."""

    name: str
    unit: str
    better: str  # lower | higher | "" where neither is better as such
    values: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % percentile interval."""

    value: float
    low: float
    high: float


def ratio_of_sums(numerator: Sequence[float], denominator: Sequence[float]) -> Callable[[np.ndarray], np.ndarray]:
    both = np.stack([np.asarray(numerator, float), np.asarray(denominator, float)], axis=1)

    def values(weights: np.ndarray) -> np.ndarray:
        sums = weights @ both.astype(weights.dtype)  # a mixed product would copy all weights
        return sums[:, 0] / np.maximum(sums[:, 1], 1e-12)

    return values


def mean(values: Sequence[float]) -> Callable[[np.ndarray], np.ndarray]:
    return ratio_of_sums(values, np.ones(len(values)))


def perplexity(nats: Sequence[float], tokens: Sequence[int]) -> Metric:
    """exp of the mean negative log-likelihood per token, all tokens of all replies weighing the same."""
    per_token = ratio_of_sums(nats, tokens)
    return Metric("perplexity", "per token", "lower", lambda w: np.exp(np.minimum(per_token(w).astype(float), 700.0)))


def bits_per_byte(nats: Sequence[float], lengths: Sequence[int]) -> Metric:
    """Bits per byte of the gold replies in UTF-8, end tokens included: comparable between tokenizers."""
    per_byte = ratio_of_sums(nats, lengths)
    return Metric("bits_per_byte", "bits", "lower", lambda weights: per_byte(weights) / np.log(2))


def rouge(replies: Sequence[str], golds: Sequence[str]) -> list[Metric]:
    """ROUGE-1, -2 and -L F-measures in percent (Lin 2004), by `rouge-score` with stemming."""
    scorer = require("rouge_score.rouge_scorer", "evaluate").RougeScorer(
        ["rouge1", "rouge2", "rougeL"], use_stemmer=True
    )
    scores = [scorer.score(gold, reply) for gold, reply in zip(golds, replies, strict=True)]
    return [
        Metric(name, "%", "higher", mean([100 * score[key].fmeasure for score in scores]))
        for name, key in (("rouge1", "rouge1"), ("rouge2", "rouge2"), ("rougeL", "rougeL"))
    ]


def bleu(replies: Sequence[str], golds: Sequence[str]) -> Metric:
    """Corpus BLEU in percent (Papineni et al. 2002), by `sacrebleu` with its default tokenisation and smoothing."""
    BLEU = require("sacrebleu.metrics", "evaluate").BLEU
    scorer = BLEU(effective_order=False)
    rows = []
    for reply, gold in zip(replies, golds, strict=True):
        score = scorer.corpus_score([reply], [[gold]])
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    statistics = np.asarray(rows, float)

    def values(weights: np.ndarray) -> np.ndarray:
        sums = np.rint(weights @ statistics.astype(weights.dtype))
        return np.asarray(
            [
                BLEU.compute_bleu(
                    correct=row[:4],
                    total=row[4:8],
                    sys_len=row[8],
                    ref_len=row[9],
                    smooth_method="exp",
                ).score
                for row in sums.astype(int).tolist()
            ]
        )

    return Metric("bleu", "%", "higher", values)


def chrf(replies: Sequence[str], golds: Sequence[str]) -> Metric:
    """Mean sentence chrF in percent (Popović 2015): shared character n-grams up to six, by `sacrebleu`."""
    scorer = require("sacrebleu.metrics", "evaluate").CHRF()
    scores = [scorer.sentence_score(reply, [gold]).score for reply, gold in zip(replies, golds, strict=True)]
    return Metric("chrf", "%", "higher", mean(scores))


def unigram_f1(replies: Sequence[str], golds: Sequence[str]) -> Metric:
    """F1 of shared words in percent, as ParlAI counts it: lower case, without punctuation and articles."""
    scores = [_f1(_plain_words(reply), _plain_words(gold)) for reply, gold in zip(replies, golds, strict=True)]
    return Metric("f1", "%", "higher", mean([100 * score for score in scores]))


def _plain_words(text: str) -> list[str]:
    words = re.sub(r"[^\w\s]|_", " ", text.lower()).split()
    return [word for word in words if word not in ("a", "an", "the")]


def _f1(words: list[str], others: list[str]) -> float:
    shared = sum((Counter(words) & Counter(others)).values())
    return 2 * shared / (len(words) + len(others)) if shared else 0.0


def old_rouge(replies: Sequence[str], golds: Sequence[str]) -> Metric:
    """ROUGE-1 as the paper took it: package `rouge`, case-sensitive, words by white space. Not to be used.

    It prefers other dialogues' gold replies to any model's, as these are spaced like the references (docs/LOG.md).
    """
    rouge = require("rouge", "paper").Rouge(metrics=["rouge-1"])
    scores = [
        rouge.get_scores(reply, gold)[0]["rouge-1"]["f"] if reply.strip(" .") and gold.strip(" .") else 0.0
        for reply, gold in zip(replies, golds, strict=True)
    ]
    return Metric("rouge1_old", "%", "higher", mean([100 * score for score in scores]))


def self_repetition(replies: Sequence[str], n: int = 3) -> Metric:
    """Word n-grams that a reply has said before, of all that it says, in percent; all replies together."""
    grams = [_ngrams(reply.lower().split(), n) for reply in replies]
    repeated = [100.0 * (len(item) - len(set(item))) for item in grams]
    return Metric("self_repetition", "%", "lower", ratio_of_sums(repeated, [len(item) for item in grams]))


def distinct(replies: Sequence[str], n: int) -> Metric:
    """Different n-grams over all n-grams of all replies, in percent (Li et al. 2016); words by white space, lower case.

    A bootstrap resample repeats items, which lowers the value; intervals of single values are therefore shifted
    down, intervals of differences are not.
    """
    grams = [_ngrams(reply.lower().split(), n) for reply in replies]
    vocabulary = {gram: i for i, gram in enumerate({gram: None for item in grams for gram in item})}
    present = np.zeros((len(grams), max(len(vocabulary), 1)), dtype=np.float32)
    for row, item in enumerate(grams):
        present[row, [vocabulary[gram] for gram in item]] = 1
    totals = np.asarray([len(item) for item in grams], float)

    def values(weights: np.ndarray) -> np.ndarray:
        different = np.concatenate([((some > 0).astype(np.float32) @ present > 0).sum(1) for some in _chunks(weights)])
        return 100 * different / np.maximum(weights @ totals.astype(weights.dtype), 1)

    return Metric(f"distinct{n}", "%", "higher", values)


def _chunks(weights: np.ndarray) -> Iterator[np.ndarray]:
    for first in range(0, len(weights), DRAWN_AT_ONCE):
        yield weights[first : first + DRAWN_AT_ONCE]


def _ngrams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def resample_weights(items: int, resamples: int, seed: int) -> np.ndarray:
    """How often each item is drawn in each bootstrap resample (Efron 1979); shape (resamples, items)."""
    generator = np.random.default_rng(seed)
    weights = np.empty((resamples, items), np.float32)
    for first in range(0, resamples, DRAWN_AT_ONCE):
        rows = min(DRAWN_AT_ONCE, resamples - first)
        drawn = generator.integers(0, items, (rows, items)) + np.arange(rows)[:, None] * items
        weights[first : first + rows] = np.bincount(drawn.ravel(), minlength=rows * items).reshape(rows, items)
    return weights


@dataclass(frozen=True)
class Sampled:
    """A metric over all items, and in each bootstrap resample."""

    value: float
    resampled: np.ndarray

    @classmethod
    def of(cls, metric: Metric, items: int, weights: np.ndarray) -> "Sampled":
        return cls(float(metric.values(np.ones((1, items)))[0]), metric.values(weights))

    def interval(self) -> Interval:
        return Interval(self.value, *_bounds(self.resampled))


def interval(metric: Metric, items: int, weights: np.ndarray) -> Interval:
    """The metric over all items, with its bootstrap interval."""
    return Sampled.of(metric, items, weights).interval()


def exact_where_alike(found: Interval, dialogues: int) -> Interval:
    """The interval of a share in percent; where all are alike, resamples are, too, and the exact bounds of so many
    independent draws take their place (Clopper and Pearson 1934)."""
    if found.low < found.high or found.value not in (0.0, 100.0):
        return found
    most = 100 * (1 - ((1 - CONFIDENCE) / 2) ** (1 / dialogues))
    return Interval(0.0, 0.0, most) if found.value == 0 else Interval(100.0, 100 - most, 100.0)


def compared(one: Sampled, other: Sampled) -> dict[str, float]:
    """one - other, over the same resamples of the same items: value, low, high, ratio with its interval, p-value.

    The p-value is two-sided: twice the smaller share of resamples on either side of no difference (Efron and
    Tibshirani 1993).
    """
    low, high = _bounds(one.resampled - other.resampled)
    found = {"value": one.value - other.value, "low": low, "high": high}
    if other.value > 0 and (other.resampled > 0).all():
        ratio_low, ratio_high = _bounds(one.resampled / other.resampled)
        found |= {"ratio": one.value / other.value, "ratio_low": ratio_low, "ratio_high": ratio_high}
    sides = one.resampled <= other.resampled, one.resampled >= other.resampled
    smaller = min((1 + int(side.sum())) / (1 + len(side)) for side in sides)
    return {**found, "p": min(1.0, 2 * smaller)}


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in the order they came (Holm 1979)."""
    corrected = [0.0] * len(p_values)
    most = 0.0
    for place, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        most = max(most, min(1.0, p_values[i] * (len(p_values) - place)))
        corrected[i] = most
    return corrected


def _bounds(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
