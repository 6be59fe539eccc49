"""What a benchmark is: a comparison of two sides, or a figure that is held against a bound."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Timed(NamedTuple):
    """What a side returns where only a part of its call is measured."""

    items: int
    seconds: float


@dataclass
class Pair:
    """One comparison: each side works on what `setup` returns, and says how many items it did."""

    name: str
    unit: str
    explanation: str
    setup: Callable[[], object]
    baseline: Callable[[object], int | Timed]
    ours: Callable[[object], int | Timed]
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


def peak_mb(pair: Pair, side: str) -> float | None:
    """Peak memory in MB of one side above its setup, in a fresh process; None where the system does not tell."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:  # not a multiprocessing.Pool: what is measured may start processes
        return pool.submit(_peak, pair.setup, getattr(pair, side)).result()


def _peak(setup: Callable[[], object], side: Callable[[object], int]) -> float | None:
    state = setup()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak of the setup
        before = _status_mb("VmRSS")
        side(state)
        return _status_mb("VmHWM") - before
    except OSError:
        return None


def _status_mb(field: str) -> float:
    """A line of the process's status in MB."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) / 1024
