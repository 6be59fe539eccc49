"""What was typed at the chat's prompt, for the arrow keys of later chats."""

from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from gistchat.chat.state_folder import state_folder

MOST_ENTRIES, MOST_BYTES = 1000, 2**20


def open_history() -> History:
    """Kept in the user's state folder, for this user's eyes alone; where that cannot be, for this chat only."""
    try:
        path = state_folder() / "chat-history"
        path.touch(mode=0o600)
        path.chmod(0o600)
        shorten(path)
        return FileHistory(path)
    except OSError:
        return InMemoryHistory()  # a home that cannot be written to must not end the chat


def shorten(path: Path, most_entries: int = MOST_ENTRIES, most_bytes: int = MOST_BYTES) -> None:
    """Leave the latest entries of a history, at most so many of at most so many bytes. Raises OSError."""
    entries = list(FileHistory(path).load_history_strings())  # the latest first
    if len(entries) <= most_entries and path.stat().st_size <= most_bytes:
        return
    kept, total = [], 0
    for entry in entries[:most_entries]:
        total += len(entry.encode()) + 40  # the library writes the time beside it
        if total > most_bytes:
            break
        kept.append(entry)
    shorter = path.with_name(f"{path.name}.part")
    shorter.unlink(missing_ok=True)
    shorter.touch(mode=0o600)
    history = FileHistory(shorter)
    for entry in reversed(kept):
        history.store_string(entry)
    shorter.replace(path)
