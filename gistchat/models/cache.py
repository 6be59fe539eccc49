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
    """Of several processes that want to make this folder, one does and the others wait for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        yield
