"""One writer at a time for an output, be it a file or a folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from gistchat.errors import UserError
from gistchat.processes import is_first_process
from gistchat.progress import say

MOST_SECONDS = 3600  # as long as preparing a large corpus may take another process


class InUse(UserError):
    """Another process holds it."""


def lock_path(path: Path) -> Path:
    """The lock file of an output: hidden, beside it."""
    path = path.absolute()
    return path.with_name(f".{path.name}.lock")


@contextlib.contextmanager
def locked(path: Path, seconds: float = MOST_SECONDS) -> Iterator[None]:
    """Hold an output until the block ends. Where another process holds it, that is said, and it is waited for.

    The system frees the lock of a process that was killed. Who holds a lock must not ask for it again.

    Args:
        seconds: the longest wait; 0 refuses at once.

    Raises:
        InUse: another process holds it still.
        UserError: the lock file cannot be written.
    """
    lock = FileLock(lock_path(path))
    with contextlib.ExitStack() as held:
        try:
            path.absolute().parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(_acquired(lock, path, seconds))
            held.callback(_remove_file, lock)
        except Timeout:
            raise InUse(
                f"another process is writing to {path}; wait for it, or give another place to write to"
            ) from None
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from None
        yield


def _remove_file(lock: FileLock) -> None:
    """Leave nothing beside the output. To be called while the lock is held: filelock minds that files may vanish."""
    with contextlib.suppress(OSError):
        Path(lock.lock_file).unlink()


@contextlib.contextmanager
def locked_by_first(path: Path) -> Iterator[None]:
    """Hold an output for all processes of a run: the first of them locks it. Another run is refused at once."""
    with locked(path, seconds=0) if is_first_process() else contextlib.nullcontext():
        yield


def _acquired(lock: FileLock, path: Path, seconds: float) -> contextlib.AbstractContextManager[object]:
    try:
        return lock.acquire(timeout=min(seconds, 1))
    except Timeout:
        if seconds <= 1:
            raise
        say(f"waiting, for {seconds / 60:.0f} minutes at most, for another process that is writing to {path}")
        return lock.acquire(timeout=seconds - 1)
