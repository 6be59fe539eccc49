"""Templates are programs that others wrote: their time and length are limited, and the line where they fail is said."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

from gistchat.errors import first_line

Text = TypeVar("Text", str, list[int])  # or its token ids

MOST_SECONDS = 5.0  # of computing for one text; a template takes milliseconds
MOST_CHARACTERS = 1_000_000


class Unbounded(Exception):
    """A template that takes too long, or writes too much."""


def render_bounded(render: Callable[[], Text]) -> Text:
    """What `render` gives.

    Raises:
        Unbounded: it takes longer, or is longer, than any template that is meant well.
        Exception: whatever the template does wrong.
    """
    with _limited_time():
        text = render()
    if len(text) > MOST_CHARACTERS:
        raise Unbounded(f"writes {len(text):,} characters")
    return text


def line_of(error: BaseException) -> int | None:
    """The line of a template where it failed, if it can be told."""
    line, frame = getattr(error, "lineno", None), error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == "<template>":  # as Jinja calls one that was not read from a file
            line = frame.tb_lineno
        frame = frame.tb_next
    return line


def fault_of(error: BaseException) -> str:
    """What went wrong in a template, and in which line."""
    line = line_of(error)
    return first_line(error) + (f", line {line}" if line else "")


@contextlib.contextmanager
def _limited_time() -> Iterator[None]:
    """Raise `Unbounded` in a block that computes for too long.

    Only the main thread can be interrupted; gistchat renders nothing elsewhere.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGVTALRM"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Unbounded(f"takes more than {MOST_SECONDS:g} seconds")

    before = signal.signal(signal.SIGVTALRM, stop)
    # Again and again: Python ignores what is raised while it tidies up an object.
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
