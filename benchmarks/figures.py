"""What a benchmark is: a comparison of two sides, or a figure that is held against a bound."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Pair:
    """One comparison: both sides do the same `work` items and return them, so that what they return can be checked."""

    name: str
    unit: str
    explanation: str
    setup: Callable[[], object]
    baseline: Callable[[object], int]
    ours: Callable[[object], int]
    repeats: int = 5
    bound: float | None = None
    peaks: bool = True  # measure peak memory; of no use for a side that works in processes of its own


@dataclass
class Measurement:
    """A figure without a baseline, with a bound that it is held against."""

    name: str
    unit: str
    explanation: str
    take: Callable[[], float]
    bound: float
