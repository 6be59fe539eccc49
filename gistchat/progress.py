"""Progress with an ETA: a bar in a terminal, a line every fifteen seconds elsewhere. Always on standard error."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 15

# Of several processes of one run (torchrun numbers them), the first one speaks.
console = Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0")


def say(message: str) -> None:
    """One plain line for the user, on standard error."""
    console.print(message, highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Callable[..., None]]:
    """Yield a function that is told how many more of `total` are finished, and what to show beside it, if anything.

    Args:
        done: how many were finished before.
    """
    show = _bar if console.is_terminal else _lines
    with show(title, total, done) as advance:
        yield advance


@contextlib.contextmanager
def _bar(title: str, total: int, done: int) -> Iterator[Callable[..., None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, completed=done, note="")

        def advance(count: int, note: str = "") -> None:
            bar.update(task, advance=count, note=note)

        yield advance


@contextlib.contextmanager
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
            say(
                f"{title}: {finished}/{total}, {now - start:.0f} s, about {max(left, 0):.0f} s left"
                + (f", {note}" if note else "")
            )

    yield advance
    say(f"{title}: {finished}, {time.monotonic() - start:.0f} s")
