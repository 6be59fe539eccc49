"""Work on all cores: batches through a function, in order, with a bounded number under way."""

import collections
import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from gistchat.errors import UserError

T = TypeVar("T")
Result = TypeVar("Result")

AHEAD = 2  # batches per core that are read before the first of them is needed


def is_first_process() -> bool:
    """Whether this is the only process of the run, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def length_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices in batches of similar length, longest first, each of at most `max_tokens` with padding (or one item)."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def ordered_map(function: Callable[[T], Result], batches: Iterable[T]) -> Iterator[Result]:
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
    # Forked from a process with threads, a worker could wait forever for a lock that one of them held.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(workers, context, initializer=_start) as pool:
        under_way: collections.deque[Future[Any]] = collections.deque()
        try:
            for batch in itertools.chain(first, batches):
                with _without_main():
                    under_way.append(pool.submit(function, batch))
                if len(under_way) > AHEAD * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "a worker process was killed; probably out of memory: close other programs and try again"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the running script: a worker would import it, and run whatever has no `__main__` guard."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _start() -> None:
    """Set a worker up: Ctrl-C is left to the parent, and the worker ends if the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # there is a worker for each core
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
