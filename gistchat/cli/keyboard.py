"""What is typed while nobody asks for it: not shown, and kept for the next prompt."""

import contextlib
import sys
from collections.abc import Iterator

try:
    import termios
except ImportError:  # Windows, where a console shows only what is asked for, and keeps the rest
    termios = None


@contextlib.contextmanager
def quiet_keyboard() -> Iterator[None]:
    """Show nothing of what is typed in the block, and edit none of it: the next prompt gets the keys as they came.

    Ctrl-C, Ctrl-\\ and Ctrl-Z work as ever, and discard nothing. At the end the terminal is as it was before.
    """
    if termios is None or not sys.stdin.isatty():
        yield
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    quiet = termios.tcgetattr(terminal)
    quiet[3] = quiet[3] & ~(termios.ECHO | termios.ICANON) | termios.NOFLSH  # 3: the local modes
    try:
        termios.tcsetattr(terminal, termios.TCSANOW, quiet)
        yield
    finally:
        with contextlib.suppress(termios.error):  # a terminal that was closed has no modes
            termios.tcsetattr(terminal, termios.TCSANOW, before)
