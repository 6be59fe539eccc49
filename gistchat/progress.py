"""Progress with an ETA: a bar in a terminal, a line every fifteen seconds elsewhere. Always on standard error."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from gistchat.printable import printable

SECONDS_BETWEEN_LINES = 15

# Of several processes of one run (torchrun numbers them), the first one speaks.
console = Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0")


def say(message: str) -> None:
    """A plain message for the user, on standard error. Nothing in it drives the terminal."""
    console.print(printable(message, "\n"), highlight=False, markup=False, soft_wrap=True)


def show(*lines: str) -> None:
    """Lines of what was asked for, on standard output. Nothing in them drives the terminal."""
    for line in lines:
        print(printable(line, "\n\t"))


def progress(title: str, total: int, done: int = 0) -> AbstractContextManager[Callable[..., None]]:
    """Gives a function that is told how many more of `total` are finished, and what to show beside it, if anything.

    Args:
        done: how many were finished before.
    """
    return (_bar if console.is_terminal else _lines)(title, total, done)


@contextmanager
def _bar(title: str, total: int, done: int) -> Iterator[Callable[..., None]]:
    columns = [BarColumn(bar_width=None), MofNCompleteColumn(), TimeElapsedColumn(), "left", TimeRemainingColumn()]
    with Progress("{task.description}", *columns, "{task.fields[note]}", console=console) as bar:
        task = bar.add_task(title, total=total, completed=done, note="")

        def advance(count: int, note: str = "") -> None:
            bar.update(task, advance=count, note=note)

        yield advance


@contextmanager
def _lines(title: str, total: int, done: int) -> Iterator[Callable[..., None]]:
    start = last = time.monotonic()
    finished = done

    def advance(count: int, note: str = "") -> None:
        nonlocal finished, last
        finished += count
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES and finished > done:
            last = now
            left = (now - start) / (finished - done) * (total - finished)
            beside = f", {note}" if note else ""
            say(f"{title}: {finished}/{total}, {now - start:.0f} s, about {max(left, 0):.0f} s left{beside}")

    yield advance
    say(f"{title}: {finished}, {time.monotonic() - start:.0f} s")
