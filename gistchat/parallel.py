"""Work on all cores: batches through a function, in order, with a bounded number under way."""

import collections
import gc
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

AHEAD = 2  # batches per core that are read before the first of them is needed


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batched(items: Iterable[In], size: int) -> Iterator[list[In]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def ordered_map(function: Callable[[In], Out], batches: Iterable[In]) -> Iterator[Out]:
    """`function` of every batch, in order, by one process per core; memory holds a few batches, however many there are.

    A single batch, or a single core, is not worth a process: then the work is done here.

    Args:
        function: picklable, as are its argument and result.
    """
    batches = iter(batches)
    first = list(itertools.islice(batches, 2))
    workers = cores()
    if len(first) < 2 or workers == 1:
        yield from map(function, itertools.chain(first, batches))
        return
    with ProcessPoolExecutor(workers, initializer=_start, initargs=(os.getpid(),)) as pool:
        under_way: collections.deque[Future[Any]] = collections.deque()
        try:
            for batch in itertools.chain(first, batches):
                under_way.append(pool.submit(function, batch))
                if len(under_way) > AHEAD * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _start(parent: int) -> None:
    """Begin a worker: what was loaded before it is no garbage to look for, and it ends when its parent was killed."""
    gc.freeze()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
