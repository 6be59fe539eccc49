"""The folder for what chats leave beside the conversations: what was typed, locks, and what earlier versions kept."""

import contextlib
from pathlib import Path

import platformdirs


def state_folder() -> Path:
    """For this user's eyes alone. Raises OSError where it cannot be had."""
    folder = platformdirs.user_state_path("gistchat", ensure_exists=True)
    folder.chmod(0o700)
    return folder


def old_journals() -> list[Path]:
    """Conversations that earlier versions kept here and that are not in the store yet, by when they went on last."""
    found = []
    for path in (platformdirs.user_state_path("gistchat") / "conversations").glob("*.jsonl"):
        with contextlib.suppress(FileNotFoundError):  # another chat has just taken it over
            found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found)]
