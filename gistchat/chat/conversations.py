"""Conversations kept as they go, in the user's state folder: none is lost because nobody saved it.

One file per conversation, a line for every change. A line holds `keep`, how many of the turns before it stay; `turns`,
which follow those; and what else is no longer as the lines before it say: memory, settings, the model's folder. A last
line that was cut off when the process died is overwritten by the next one.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import platformdirs

from gistchat.chat.session import ChatSession, SavedFile, read_turns
from gistchat.context.types import whole_number
from gistchat.dialogue.turns import Turn, is_texts
from gistchat.errors import UserError
from gistchat.files import atomic_file, sync_folder
from gistchat.locks import locked
from gistchat.progress import say

MOST_FILES, MOST_BYTES = 1000, 100 * 2**20  # of all conversations together; the oldest go first


def state_folder() -> Path:
    """Where chats leave what nobody saved, for this user's eyes alone. Raises OSError where it cannot be had."""
    folder = platformdirs.user_state_path("gistchat", ensure_exists=True)
    folder.chmod(0o700)
    return folder


def conversations_folder() -> Path:
    """Raises OSError where it cannot be had."""
    folder = state_folder() / "conversations"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@dataclass
class Conversation:
    """What the lines of a file say.

    Attributes:
        state: all but the turns, as `Journal.record` writes it.
        end: where the last line that can be read ends, in bytes.
        damage: what is wrong with the line after it; empty where nothing is, or where it was only cut off.
    """

    turns: list[Turn] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    end: int = 0
    damage: str = ""

    @property
    def run(self) -> Path | None:
        """The folder that the model came from; None for the packaged adapter."""
        return Path(self.state["run"]) if self.state["run"] else None

    @property
    def settings(self) -> list[str]:
        """What the model was opened with, but for the strategy: the state holds the one that the chat was at last."""
        return [setting for setting in self.state["settings"] if not setting.startswith("chat.strategy=")]

    @property
    def saved(self) -> SavedFile | None:
        return SavedFile(Path(self.state["saved"][0]), self.state["saved"][1]) if self.state["saved"] else None

    def apply(self, line: bytes) -> None:
        """Take in one more line. Raises KeyError, TypeError, ValueError or RecursionError where it cannot be read."""
        change = json.loads(line)
        keep = whole_number(change, "keep", most=len(self.turns))
        turns = self.turns[:keep] + read_turns(change["turns"])
        state = {**self.state, **{name: value for name, value in change.items() if name not in ("keep", "turns")}}
        _require_settings(state)
        self.turns, self.state, self.end = turns, state, self.end + len(line)


def _require_settings(state: dict[str, Any]) -> None:
    """Raises KeyError or ValueError where the settings of a chat are not such as `Journal.record` writes."""
    saved = state["saved"] or ["", ""]
    well = isinstance(state["run"], str) and is_texts(state["settings"]) and is_texts(saved) and len(saved) == 2
    if not well or not isinstance(state["seed"], int | None):
        raise ValueError("not the settings of a chat")


def read_conversation(path: Path) -> Conversation:
    """A kept conversation as far as it can be read. Raises OSError."""
    conversation = Conversation()
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                conversation.apply(line)
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
                conversation.damage = f"{path}:{number}: cannot be read"
                break
    return conversation


class Journal:
    """The file that a chat keeps its conversation in. No other chat can go on with it until this one ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept = Conversation()
        self._lock = contextlib.ExitStack()
        self._held = False

    @classmethod
    def new(cls) -> "Journal":
        """For a conversation that begins. Its file is made when something is said. Raises OSError."""
        name = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}.jsonl"
        return cls(conversations_folder() / name)

    @classmethod
    def latest(cls) -> "Journal":
        """Of the latest conversation that no other chat is having.

        Raises:
            UserError: there is none.
            OSError: the folder cannot be read.
        """
        folder, problems = conversations_folder(), []
        for path, _ in _newest_first(folder):
            journal = cls(path)
            try:
                journal.hold()
                journal.kept = read_conversation(path)
            except (UserError, OSError) as error:
                problems.append(str(error))
                continue
            if journal.kept.turns or journal.kept.state.get("pinned"):
                return journal
            if journal.kept.damage:
                say(f"{journal.kept.damage}; passed over")
            journal.close()
        raise UserError(f"{folder}: no conversation to go on with{''.join(f'; {text}' for text in problems[:3])}")

    def hold(self) -> None:
        """Keep other chats off. Raises UserError where another one is having this conversation."""
        if not self._held:
            self._lock.enter_context(locked(self.path, seconds=0))
            self._held = True

    def record(self, session: ChatSession, asked: Turn | None = None) -> None:
        """Bring what changed to disk; a conversation that is empty leaves no file.

        Args:
            asked: a turn that the session is about to answer.

        Raises:
            UserError, OSError: it cannot be written; the next call tries again.
        """
        turns = [*session.turns, *([asked] if asked else [])]
        if session.forgot:
            self._write_anew(session)
            session.forgot = False
        if not turns and not session.memory.pinned:
            self.discard()
            return
        if self.kept.end and not self._is_there():
            self.kept = Conversation()  # the file was deleted meanwhile: it begins anew
        state = _state(session)
        keep = _same_at_start(turns, self.kept.turns)
        changed = {name: value for name, value in state.items() if self.kept.state.get(name, ...) != value}
        if changed or not keep == len(turns) == len(self.kept.turns):
            line = {"keep": keep, "turns": [turn.to_dict() for turn in turns[keep:]], **changed}
            self._write(json.dumps(line).encode() + b"\n")
            self.kept.turns = turns  # the same objects: that they are equal is seen at once the next time

    def _write_anew(self, session: ChatSession) -> None:
        """In one line: what was forgotten does not stay on disk in earlier ones."""
        if not self.kept.end:
            return
        self.hold()
        conversation = Conversation()
        line = json.dumps({"keep": 0, "turns": [turn.to_dict() for turn in session.turns], **_state(session)}).encode()
        with atomic_file(self.path) as new, open(new, "wb", opener=_for_this_user) as file:
            file.write(line + b"\n")
        conversation.apply(line + b"\n")
        self.kept = conversation

    def _is_there(self) -> bool:
        return self.path.is_file() and self.path.stat().st_size >= self.kept.end

    def _write(self, line: bytes) -> None:
        self.hold()
        with open(self.path, "r+b", opener=_for_this_user) as file:
            file.truncate(self.kept.end)  # of a line before that did not get onto the disk whole
            file.seek(self.kept.end)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        if not self.kept.end:
            sync_folder(self.path.parent)
        self.kept.apply(line)

    def discard(self) -> None:
        """Remove the file, where there is one."""
        if self.kept.end:
            self.path.unlink(missing_ok=True)
            self.kept = Conversation()
        self.close()

    def close(self) -> None:
        """Let other chats go on with it."""
        self._lock.close()
        self._held = False


def _for_this_user(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o600)


def _state(session: ChatSession) -> dict[str, Any]:
    """All but the turns, as plain as it will be when it is read again."""
    model, saved = session.model, session.saved
    values = {
        "run": str(model.source.absolute()) if model.source else "",
        "settings": model.overrides,
        "seed": session.seed,
        "saved": [str(saved.path), saved.digest] if saved else None,
        **session.state(),
    }
    return json.loads(json.dumps(values))


def _same_at_start(turns: Sequence[Turn], others: Sequence[Turn]) -> int:
    least = min(len(turns), len(others))
    if turns[:least] == others[:least]:  # in nearly all cases, and much faster seen
        return least
    return next(number for number in range(least) if turns[number] != others[number])


def _newest_first(folder: Path) -> list[tuple[Path, int]]:
    """The conversations, with their sizes in bytes."""
    found = []
    for path in folder.glob("*.jsonl"):
        with contextlib.suppress(FileNotFoundError):  # another chat has just removed it
            stat = path.stat()
            found.append((stat.st_mtime_ns, path, stat.st_size))
    return [(path, size) for _, path, size in sorted(found, reverse=True)]


def remove_old(most_files: int = MOST_FILES, most_bytes: int = MOST_BYTES) -> None:
    """Remove the oldest conversations where there are too many; the latest stays, and those that a chat is having."""
    total = 0
    for number, (path, size) in enumerate(_newest_first(conversations_folder()), 1):
        total += size
        if number > most_files or (number > 1 and total > most_bytes):
            with contextlib.suppress(UserError, OSError), locked(path, seconds=0):
                path.unlink(missing_ok=True)
