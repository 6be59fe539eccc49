"""Standard input, output and error as a program needs them, and what libraries print through Python's own channels."""

import logging
import os
import sys
import warnings

from gistchat.errors import UserError, first_line
from gistchat.printable import printable
from gistchat.progress import say


def prepare_streams() -> None:
    """Open what the caller closed (`>&-`), and let consoles of a small character set show `?` for what they lack."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _open_nowhere(number))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    warnings.showwarning = _show_warning
    logging.setLogRecordFactory(_PrintableRecord)


def _open_nowhere(number: int) -> object:
    """A stream to nowhere with the closed one's descriptor, which the next file that is opened would get otherwise."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)
    return open(number, "w" if number else "r", encoding="utf-8")


def check_arguments(arguments: list[str]) -> None:
    """Raises UserError where an argument is no text, as that of a file whose name was written in another encoding."""
    for argument in arguments:
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            encoding = sys.getfilesystemencoding()
            raise UserError(f"{argument[:100]!r}: not text in {encoding}; rename the file, or set LC_ALL") from None


def _show_warning(message: Warning | str, category: type[Warning], filename: str, line: int, *_: object) -> None:
    say(f"{filename}:{line}: {category.__name__}: {first_line(str(message))}")


class _PrintableRecord(logging.LogRecord):
    def getMessage(self) -> str:
        return printable(super().getMessage(), "\n\t")
