"""The chat in a terminal: reads lines, streams replies, runs the commands of `chat_commands`."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from gistchat.chat import session_file
from gistchat.chat.model import ChatModel
from gistchat.chat.session import ChatSession
from gistchat.chat.speakers import PERSON
from gistchat.chat.state_folder import old_journals
from gistchat.cli.chat_commands import COMMANDS, load_session, run_command
from gistchat.cli.conversations import open_store
from gistchat.cli.keyboard import quiet_keyboard
from gistchat.dialogue.turns import Turn, today
from gistchat.errors import UserError
from gistchat.progress import say_error, show, show_part

if TYPE_CHECKING:  # else a chat would begin later: these bring SQLAlchemy along
    from gistchat.chat.kept import KeptConversation
    from gistchat.store.conversation_store import ConversationStore

BUSY_SECONDS = 3  # the longest that a turn waits for another process that writes to the database
ENDING_SIGNALS = ("SIGTERM", "SIGHUP", "SIGQUIT")  # as far as the system has them


def chat_in_terminal(
    folder: Path | None,
    overrides: list[str],
    seed: int | None,
    load: Path | None = None,
    go_on: bool | str = False,
    journal: bool = True,
    database: str | None = None,
) -> None:
    """Talk until /quit, the end command or the end of input.

    Args:
        go_on: with the latest conversation that was kept, or the one whose id begins so, its run and its settings;
            those given here count more.
        journal: whether the conversation, and what is typed, is kept.
        database: its URL; None for the file in the user's data folder.
    """
    interactive = sys.stdin.isatty()
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    kept = _kept_before(open_store(database, BUSY_SECONDS), go_on) if go_on else None
    if kept:
        folder = folder or kept.opened.run
        overrides = [*kept.opened.overrides, *overrides]
        seed = kept.opened.seed if seed is None else seed
    model = ChatModel.open(folder, overrides)
    session = _resumed(model, kept, seed) if kept else ChatSession(model, seed)
    terminal = Terminal(session, _reader(interactive, journal), interactive)
    if journal:
        terminal.keep_in(partial(open_store, database, BUSY_SECONDS), kept)
        if old_journals() and not database:
            _ = terminal.kept  # what is said of them must not break into the prompt
    elif kept:
        kept.close()
    with contextlib.closing(terminal), _ending_by_signals(), quiet_keyboard():
        terminal.run(model.name if model.recipe.chat.url else str(folder or model.name), load)


def _kept_before(store: "ConversationStore", go_on: bool | str) -> "KeptConversation":
    from gistchat.chat.kept import KeptConversation, find_conversation

    if isinstance(go_on, str):
        return KeptConversation.open(store, find_conversation(store, go_on).id, exclusive=True)
    return KeptConversation.latest(store)


def _resumed(model: ChatModel, kept: "KeptConversation", seed: int | None) -> ChatSession:
    """A session that goes on with a kept conversation; its notice says which, and what is not as it was."""
    session, unanswered = kept.open_session(model, seed)
    session.saved = kept.opened.saved
    last = datetime.fromtimestamp(kept.updated)
    notices = [f"going on with the conversation of {last:%Y-%m-%d %H:%M}: {len(session.turns)} turns"]
    if unanswered:
        notices.append(f"your last turn had no answer yet, say it again: {unanswered.text}")
    session.notice = "; ".join(filter(None, [*notices, session.notice]))
    return session


@contextlib.contextmanager
def _ending_by_signals() -> Iterator[None]:
    """Let what ends a process by default end the block in order: what was said is kept, the terminal is restored."""
    signals = [getattr(signal, name) for name in ENDING_SIGNALS if hasattr(signal, name)]
    replaced = [number for number in signals if signal.getsignal(number) == signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:
        for other in replaced:
            signal.signal(other, signal.SIG_DFL)  # a second one ends at once
        raise SystemExit(128 + number)  # by the shell's convention

    for number in replaced:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)


def _reader(interactive: bool, history: bool) -> Callable[[str], str]:
    """What reads a line: with editing, completion of commands and, if wanted, a history, where a person types."""
    if not interactive:
        return lambda prompt: input("")
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter

    from gistchat.cli.history import open_history

    completer = WordCompleter([*(command.name for command in COMMANDS), "/quit"], sentence=True)
    kept = open_history() if history else None
    return PromptSession(history=kept, completer=completer, complete_while_typing=False).prompt


def _new(store: "ConversationStore") -> "KeptConversation":
    from gistchat.chat.kept import KeptConversation

    return KeptConversation(store, exclusive=True)


def _beside(begin: Callable[[], "KeptConversation"]) -> "Future[KeptConversation]":
    """Begin in a thread, which ends with that."""
    thread = ThreadPoolExecutor(1)
    begun = thread.submit(begin)
    thread.shutdown(wait=False)
    return begun


def _there(kept: "KeptConversation") -> "Future[KeptConversation]":
    begun: Future[KeptConversation] = Future()
    begun.set_result(kept)
    return begun


class Terminal:
    """A session, and the person at it."""

    def __init__(self, session: ChatSession, read: Callable[[str], str], interactive: bool) -> None:
        self.session, self.read, self.interactive = session, read, interactive
        session.clock = today
        self._kept: Future[KeptConversation] | None = None
        self._warned = False

    def keep_in(self, open_store: Callable[[], "ConversationStore"], kept: "KeptConversation | None" = None) -> None:
        """Keep the conversation as it goes, where it was kept before or as a new one.

        The store is opened while the person types: to import what it needs takes some tenths of a second.
        """
        self._open_store = open_store
        self._kept = _there(kept) if kept else _beside(lambda: _new(open_store()))

    @property
    def kept(self) -> "KeptConversation | None":
        """The conversation in the store, once that is open; None where it cannot or shall not be kept."""
        with self._said_once():
            return self._kept.result() if self._kept else None
        self._kept = None

    def go_on_with(self, session: ChatSession) -> None:
        """Go on with another conversation; the one before stays as it was kept."""
        self.session = session
        session.clock = today
        if kept := self.kept:
            kept.close()
            self._kept = _there(_new(kept.store))

    def close(self) -> None:
        """Let other chats go on with the conversation."""
        if self._kept and self._kept.done() and (kept := self.kept):
            kept.close()

    def keep(self, asked: str = "") -> None:
        """Bring what is new in the conversation to the store, and a turn that is about to be answered."""
        nothing_yet = not (asked or self.session.turns or self.session.memory.pinned)
        if nothing_yet and self._kept and not self._kept.done():
            return
        with self._stoppable("(stopped)"), self._said_once():
            if kept := self.kept:
                self._record(kept, Turn(PERSON, asked, self.session.clock()) if asked else None)

    def _record(self, kept: "KeptConversation", asked: Turn | None) -> None:
        from gistchat.store.database import StoreMoved

        try:
            kept.record(self.session, asked)
        except StoreMoved:  # all that was said goes into a new one
            kept.close()
            kept.store.database.close()
            kept = _new(self._open_store())
            self._kept = _there(kept)
            kept.record(self.session, asked)

    @contextlib.contextmanager
    def _said_once(self) -> Iterator[None]:
        """A conversation that cannot be kept goes on; that is said once."""
        try:
            yield
        except (UserError, OSError) as error:
            if not self._warned:
                say_error(f"(this conversation is not kept: {error}; /save FILE saves what was said so far)")
            self._warned = True

    def run(self, name: str, load: Path | None) -> None:
        end = self.session.recipe.chat.end_command
        if load:
            load_session(self, str(load))  # what cannot be loaded ends the program: nothing was said here yet
        self._show_notice()
        self.keep()
        if self.interactive:
            show(f"Talking to {name}, context {self.session.recipe.chat.strategy}. /help lists commands.")
        while True:
            line = self.ask("you> ")
            if line is None or line.strip() in ("/quit", end):
                break
            if line.strip():
                self._obey(line)
        if self.interactive:
            kept = self.kept
            goes_on = kept and not kept.is_empty
            show("bye; gistchat chat --continue goes on with this conversation" if goes_on else "bye")

    def _obey(self, typed: str) -> None:
        line = typed.strip()
        try:
            with self._stoppable("(stopped)"):
                if line.startswith("/") and not line.startswith("//"):
                    run_command(self, line)
                else:  # a second slash stands for one that is said
                    text = typed.replace("//", "/", 1) if line.startswith("//") else typed
                    self.keep(text)
                    self.stream(self.session.reply(text))
                self._show_notice()
        except (UserError, OSError) as error:  # a path that cannot be written must not end the conversation
            say_error(f"error: {error}")
            self._show_notice()
        except (Exception, KeyboardInterrupt):  # a defect, or Ctrl-C where nobody sits at it, ends the chat
            self._rescue()
            raise
        finally:
            self.keep()

    def _rescue(self) -> None:
        path = Path(f"chat-rescued-{datetime.now():%Y%m%d-%H%M%S}.jsonl")
        try:
            session_file.rescue(self.session, path)
            say_error(f"the conversation is kept: {path}")
        except UserError:
            pass  # nothing was said
        except OSError as error:
            say_error(f"the conversation could not be saved here ({error})")

    @contextlib.contextmanager
    def _stoppable(self, message: str, end: str = "\n") -> Iterator[None]:
        """Where a person types, Ctrl-C ends only the block, and the message is printed."""
        try:
            yield
        except KeyboardInterrupt:
            if not self.interactive:
                raise
            show_part(message + end, "\n")

    def ask(self, prompt: str) -> str | None:
        """What was typed; None at the end of input. Ctrl-C clears the line."""
        while True:
            with self._stoppable("(/quit or Ctrl-D leaves)"):
                try:
                    return self.read(prompt)
                except EOFError:
                    return None

    def stream(self, pieces: Iterator[str]) -> None:
        """Print a reply as it comes; Ctrl-C ends it, and what was said of it is kept.

        Where nobody sits at the terminal, a reply is one line, so that a program can read it.
        """
        keep = "\n\t" if self.interactive else ""
        if self.interactive:
            show_part("bot> ")
        try:
            with self._stoppable(" ...", end=""), contextlib.closing(pieces):
                for piece in pieces:
                    show_part(piece, keep)
        finally:
            with contextlib.suppress(OSError):  # of a terminal that was closed; the next thing to be said shows it
                show("")
        self.keep()  # before the gist is refreshed, which may take a while
        self._show_notice()
        self.remember()

    def remember(self) -> None:
        """Refresh the gist; if the person does not want to wait for it, the next turn tries again."""
        with self._stoppable("(the gist was not refreshed; it will be after the next reply)"):
            self.session.remember()

    def _show_notice(self) -> None:
        """Show what the user should know, once."""
        if self.session.notice:
            say_error(f"({self.session.notice})")
            self.session.notice = ""
