"""Conversations that earlier versions kept as files in the state folder are taken over into the store, once.

Such a file has a line for every change. A line holds `keep`, how many of the turns before it stay; `turns`, which
follow those; and what else is no longer as the lines before it say: memory, settings, the model's folder. A last line
without a line break was cut off when the process died.
"""

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gistchat.chat.kept import TERMINAL, Opened, newest_first
from gistchat.chat.session import read_turns
from gistchat.chat.state_folder import old_journals
from gistchat.context.types import whole_number
from gistchat.dialogue.turns import Turn
from gistchat.locks import InUse, locked
from gistchat.progress import say
from gistchat.store.conversation_store import ConversationInfo, ConversationStore


def _settings(state: dict[str, Any]) -> dict[str, Any]:
    """As `KeptConversation` keeps them. Raises KeyError or ValueError where they are not those of a chat."""
    names = {"run": "run", "overrides": "settings", "seed": "seed", "saved": "saved"}
    settings = {name: state[old] for name, old in names.items()}
    Opened.of(settings)
    return {**settings, "strategy": state.get("strategy", "")}


@dataclass
class Journal:
    """What the lines of a file say.

    Attributes:
        state: all but the turns, as the lines have it.
        end: where the last line that can be read ends, in bytes.
        damage: what is wrong with the line after it; empty where nothing is, or where it was only cut off.
    """

    turns: list[Turn] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    end: int = 0
    damage: str = ""

    def apply(self, line: bytes) -> None:
        """Take in one more line. Raises KeyError, TypeError, ValueError or RecursionError where it cannot be read."""
        change = json.loads(line)
        keep = whole_number(change, "keep", most=len(self.turns))
        turns = self.turns[:keep] + read_turns(change["turns"])
        state = {**self.state, **{name: value for name, value in change.items() if name not in ("keep", "turns")}}
        _settings(state)
        self.turns, self.state, self.end = turns, state, self.end + len(line)


def read_journal(path: Path) -> Journal:
    """A kept conversation as far as it can be read. Raises OSError."""
    journal = Journal()
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n") and number > 1:
                break
            try:
                journal.apply(line)
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
                journal.damage = f"{path}:{number}: cannot be read"
                break
    return journal


def take_over(store: ConversationStore) -> None:
    """Move the conversations of the state folder into the store, and say so.

    A file goes once its conversation is in the store. One that cannot be read whole stays, under another name, and so
    does one that a chat of an earlier version is having.

    Raises:
        UserError, OSError: the store or the folder cannot be read or written; what is left is taken the next time.
    """
    if not (paths := old_journals()):
        return
    with locked(paths[0].parent):
        begun = {info.settings.get("journal"): info for info in newest_first(store)}
        taken = 0
        for path in old_journals():
            with contextlib.suppress(InUse), locked(path, seconds=0):
                taken += _take(store, path, begun.get(path.name))
    if taken:
        say(f"{taken} conversations of {paths[0].parent} are in {store.database.path or store.database.url} now")


def _take(store: ConversationStore, path: Path, begun: ConversationInfo | None) -> bool:
    """Whether there was anything in the file.

    Args:
        begun: a conversation that was made of it by a process that ended before the file was gone.
    """
    journal = read_journal(path)
    holds = bool(journal.turns or journal.state.get("pinned"))
    if begun and begun.messages < len(journal.turns):  # not whole
        store.delete(begun.id)
        begun = None
    if holds and not begun:
        _put(store, journal, path)
    if not journal.damage:
        path.unlink()
        return holds
    kept = path.rename(path.with_name(f"{path.name}.damaged"))
    say(f"{journal.damage}; {'what stands before it was taken over' if holds else 'passed over'}; kept as {kept.name}")
    return holds


def _put(store: ConversationStore, journal: Journal, path: Path) -> None:
    settings = {**_settings(journal.state), "journal": path.name}
    state = {name: value for name, value in journal.state.items() if name not in ("run", "settings", "seed", "saved")}
    id = store.create(TERMINAL, settings=settings).id
    if journal.turns:
        store.append(id, "", journal.turns, state=state)
    else:
        store.keep_state(id, "", state)
    written = path.stat().st_mtime
    store.date(id, written, written)
