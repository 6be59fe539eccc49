"""The folder for what chats leave beside the conversations: what was typed, and locks."""

from pathlib import Path

import platformdirs


def state_folder() -> Path:
    """For this user's eyes alone. Raises OSError where it cannot be had."""
    folder = platformdirs.user_state_path("gistchat", ensure_exists=True)
    folder.chmod(0o700)
    return folder
