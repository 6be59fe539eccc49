"""Metrics that can be resampled, their bootstrap intervals, paired differences and Holm's correction.

A metric is a list of per-item statistics and a function from their (weighted) sums to a value, so a bootstrap
resample is a row of weights: one matrix product serves all resamples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
DRAWN_AT_ONCE = 100  # resamples, so that what is counted stays in the processor's cache

# A metric's value for every row of item weights: shape (resamples, items) -> (resamples,).
Values = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Metric:
    """A metric of some items, ready to be resampled."""

    name: str
    unit: str
    better: str  # lower | higher | "" where neither is better as such
    values: Values


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % percentile interval."""

    value: float
    low: float
    high: float


def ratio_of_sums(numerator: Sequence[float], denominator: Sequence[float]) -> Values:
    both = np.stack([np.asarray(numerator, float), np.asarray(denominator, float)], axis=1)

    def values(weights: np.ndarray) -> np.ndarray:
        sums = weights @ both.astype(weights.dtype)  # a mixed product would copy all weights
        return sums[:, 0] / np.maximum(sums[:, 1], 1e-12)

    return values


def mean(values: Sequence[float]) -> Values:
    return ratio_of_sums(values, np.ones(len(values)))


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


def exact_where_alike(share: Interval, dialogues: int) -> Interval:
    """The interval of a share in percent; where all are alike, resamples are, too, and the exact bounds of so many
    independent draws take their place (Clopper and Pearson 1934)."""
    if share.low < share.high or share.value not in (0.0, 100.0):
        return share
    most = 100 * (1 - ((1 - CONFIDENCE) / 2) ** (1 / dialogues))
    return Interval(0.0, 0.0, most) if share.value == 0 else Interval(100.0, 100 - most, 100.0)


def compared(one: Sampled, other: Sampled) -> dict[str, float]:
    """one - other, over the same resamples of the same items: value, low, high, ratio with its interval, p-value.

    The p-value is two-sided: twice the smaller share of resamples on either side of no difference (Efron and
    Tibshirani 1993).
    """
    low, high = _bounds(one.resampled - other.resampled)
    difference = {"value": one.value - other.value, "low": low, "high": high}
    if other.value > 0 and (other.resampled > 0).all():
        ratio_low, ratio_high = _bounds(one.resampled / other.resampled)
        difference |= {"ratio": one.value / other.value, "ratio_low": ratio_low, "ratio_high": ratio_high}
    sides = one.resampled <= other.resampled, one.resampled >= other.resampled
    smaller = min((1 + int(side.sum())) / (1 + len(side)) for side in sides)
    return {**difference, "p": min(1.0, 2 * smaller)}


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in the order they came (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(order))
    corrected[order] = np.maximum.accumulate(np.asarray(p_values)[order] * np.arange(len(order), 0, -1))
    return np.minimum(corrected, 1.0).tolist()


def _bounds(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
