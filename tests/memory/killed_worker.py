"""Work for a cluster, in a module that imports next to nothing: every worker has to import it."""

import os
import signal
from pathlib import Path

from gistchat.errors import UserError


def kill_once(flag: str, part: list[int]) -> list[int]:
    """The squares of a part; the first time that 7 is among them, the worker dies."""
    if 7 in part and not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if -1 in part:
        raise UserError("no such model")
    return [number**2 for number in part]
