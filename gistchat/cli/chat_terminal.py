"""The chat in a terminal: reads lines, streams replies, runs the commands of `chat_commands`."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import platformdirs

from gistchat.chat import session_file
from gistchat.chat.session import ChatSession
from gistchat.cli.chat_commands import COMMANDS, load_session, run_command
from gistchat.errors import UserError
from gistchat.progress import say_error, show, show_part


def chat_in_terminal(folder: Path | None, overrides: list[str], seed: int | None, load: Path | None = None) -> None:
    """Talk until /quit, the end command or the end of input."""
    interactive = sys.stdin.isatty()
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    session = ChatSession.open(folder, overrides, seed)
    Terminal(session, _reader(interactive), interactive).run(str(folder or "the packaged adapter"), load)


def _reader(interactive: bool) -> Callable[[str], str]:
    """What reads a line: with editing, a history kept between chats and completion of commands where a person types."""
    if not interactive:
        return lambda prompt: input("")
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    try:
        path = platformdirs.user_state_path("gistchat", ensure_exists=True) / "chat-history"
        path.open("a").close()
        history = FileHistory(path)
    except OSError:
        history = InMemoryHistory()  # a home that cannot be written to must not end the chat
    completer = WordCompleter([*(command.name for command in COMMANDS), "/quit"], sentence=True)
    return PromptSession(history=history, completer=completer, complete_while_typing=False).prompt


class Terminal:
    """A session, and the person at it."""

    def __init__(self, session: ChatSession, read: Callable[[str], str], interactive: bool) -> None:
        self.session, self.read, self.interactive = session, read, interactive

    def run(self, name: str, load: Path | None) -> None:
        end = self.session.recipe.chat.end_command
        if load:
            load_session(self, str(load))  # what cannot be loaded ends the program: nothing was said here yet
            self._show_notice()
        if self.interactive:
            show(f"Talking to {name}, context {self.session.recipe.chat.strategy}. /help lists commands.")
        while True:
            line = self.ask("you> ")
            if line is None or line.strip() in ("/quit", end):
                break
            if line.strip():
                self._obey(line)
        if self.interactive:
            show("bye")

    def _obey(self, typed: str) -> None:
        line = typed.strip()
        try:
            with self._stoppable("(stopped)"):
                if line.startswith("/") and not line.startswith("//"):
                    run_command(self, line)
                else:  # a second slash stands for one that is said
                    self.stream(self.session.reply(typed.replace("//", "/", 1) if line.startswith("//") else typed))
                self._show_notice()
        except (UserError, OSError) as error:  # a path that cannot be written must not end the conversation
            say_error(f"error: {error}")
            self._show_notice()
        except (Exception, KeyboardInterrupt):  # a defect, or Ctrl-C where nobody sits at it, ends the chat
            path = Path(f"chat-rescued-{datetime.now():%Y%m%d-%H%M%S}.jsonl")
            with contextlib.suppress(UserError, OSError):
                session_file.save(self.session, path)
                say_error(f"the conversation is kept: {path}")
            raise

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
            show("")
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
