"""Where converted and downloaded models are kept, and a lock for whoever writes there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import platformdirs
from filelock import FileLock


def cache_dir() -> Path:
    """Where converted and downloaded models are kept."""
    return Path(platformdirs.user_cache_dir("gistchat"))


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Lock a folder that is about to be made: of several processes one makes it, the others wait and find it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        yield
