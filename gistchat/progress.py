"""What people read: messages, results, and progress with an ETA. Nothing in it drives the terminal.

Names, texts and answers come from strangers' files and hosts, and a control character among them could move the cursor,
fill the clipboard or pose as another line. So everything that is printed goes through here; no other module prints.

Messages and progress (a bar in a terminal, a line every fifteen seconds elsewhere) go to standard error.
"""

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NoReturn, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from gistchat.printable import printable

SECONDS_BETWEEN_LINES = 15
CLOSED_PIPE = 141  # exit code where nobody reads the output any more, by the shell's convention: 128 + SIGPIPE


class _Console(Console):
    def on_broken_pipe(self) -> None:
        _stop_unread(self.file)


# Of several processes of one run (torchrun numbers them), the first one speaks.
console = _Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0")


def say(*lines: str) -> None:
    """Lines for the user, on standard error; a line break within one becomes a space."""
    for line in lines:
        _print_wrapped(console, line, soft_wrap=True)


say_once = functools.cache(say)


def say_error(*lines: str) -> None:
    """What went wrong, on standard error, whichever process of a run it is."""
    _print(sys.stderr, lines)


def show(*lines: str) -> None:
    """Lines of what was asked for, on standard output; a line break within one becomes a space."""
    _print(sys.stdout, lines)


def show_part(text: str, keep: str = "") -> None:
    """The next part of a text that comes bit by bit, on standard output at once, without a line break after it.

    Args:
        keep: control characters that may stay.
    """
    _print(sys.stdout, [text], keep, end="")


def show_sentences(*lines: str) -> None:
    """As `show`; a terminal breaks them between words."""
    output = _Console()
    for line in lines:
        _print_wrapped(output, line, soft_wrap=not output.is_terminal)


def show_table(table: Table) -> None:
    """A table on standard output. Its cells are made `printable` by whoever fills it."""
    _Console().print(table)


def _print_wrapped(output: Console, line: str, soft_wrap: bool) -> None:
    output.print(printable(line), highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap)


def _print(stream: TextIO, lines: Iterable[str], keep: str = "\t", end: str = "\n") -> None:
    try:
        for line in lines:
            print(printable(line, keep), file=stream, end=end, flush=True)
    except BrokenPipeError:
        _stop_unread(stream)
    except OSError:
        _discard(stream)
        raise


def _stop_unread(stream: TextIO) -> NoReturn:
    """End quietly when whoever read the output is gone, as with `| head -1`; what stages have finished is kept."""
    _discard(stream)
    raise SystemExit(CLOSED_PIPE)


def _discard(stream: TextIO) -> None:
    """Send what follows nowhere, or Python would try again at its end, and complain."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def progress(title: str, total: int, done: int = 0) -> AbstractContextManager[Callable[..., None]]:
    """Gives a function that is told how many more of `total` are finished, and what to show beside it, if anything.

    Args:
        done: how many were finished before.
    """
    return (_bar if console.is_terminal else _lines)(title, total, done)


@contextmanager
def _bar(title: str, total: int, done: int) -> Iterator[Callable[..., None]]:
    columns = [BarColumn(bar_width=None), MofNCompleteColumn(), TimeElapsedColumn(), "left", TimeRemainingColumn()]
    words = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}"))
    with Progress(next(words), *columns, next(words), console=console) as bar:
        task = bar.add_task(printable(title), total=total, completed=done, note="")

        def advance(count: int, note: str = "") -> None:
            bar.update(task, advance=count, note=printable(note))

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
