"""The chat in a terminal: reads lines, streams replies, obeys commands that begin with a slash."""

import contextlib
import sys
import unicodedata
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import platformdirs

from gistchat.chat import session_file
from gistchat.chat.session import MODEL, PERSON, ChatSession
from gistchat.context.types import Sentence
from gistchat.errors import UserError

LABELS = {PERSON: "User: ", MODEL: "You: ", "": ""}  # as the model reads them

HELP = """\
/gist              what the model saw before its last reply: gist, verbatim turns, tokens used
/gist edit TEXT    replace the gist (without TEXT: type it on the next line)
/gist versions     the earlier gists that are kept
/gist back [N]     go back to the Nth of them (1, the latest)
/pin TEXT          keep a line word for word (or /pin N: the Nth line of the gist)
/unpin [N]         let go of the Nth pinned line (1)
/turns [N]         the last N turns with their numbers (10)
/edit N TEXT       change turn N; a gist that covers it goes
/undo              take your last turn and its answer back
/regenerate        another answer to your last turn
/strategy NAME     last | recent | full | summary | hybrid | rolling
/model RUN         go on with another checkpoint
/save [FILE]       save the conversation as JSONL (default: chat-DATE.jsonl)
/load FILE         go on with a saved conversation
/export FILE       write it as a text to read
/reset             start over
/help              this list
/quit              leave (also Ctrl-D, or {end!r}); Ctrl-C stops a reply"""


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
        folder = Path(platformdirs.user_state_dir("gistchat"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "chat-history").open("a").close()
        history = FileHistory(folder / "chat-history")
    except OSError:
        history = InMemoryHistory()  # a home that cannot be written to must not end the chat
    commands = [line.split("  ")[0] for line in HELP.splitlines()]
    words = sorted({command.split(" [")[0].split(" N")[0].split(" TEXT")[0] for command in commands})
    completer = WordCompleter(words, sentence=True)
    return PromptSession(history=history, completer=completer, complete_while_typing=False).prompt


class Terminal:
    """A session, and the person at it."""

    def __init__(self, session: ChatSession, read: Callable[[str], str], interactive: bool) -> None:
        self.session, self.read, self.interactive = session, read, interactive
        self.commands = {
            "/gist": self._gist,
            "/pin": self._pin,
            "/unpin": self._unpin,
            "/turns": self._turns,
            "/edit": self._edit,
            "/undo": self._undo,
            "/regenerate": self._regenerate,
            "/strategy": self._strategy,
            "/model": self._model,
            "/save": self._save,
            "/load": self._load,
            "/export": self._export,
            "/reset": self._reset,
            "/help": self._help,
        }

    def run(self, name: str, load: Path | None) -> None:
        end = self.session.recipe.chat.end_command
        if load:
            self._load(str(load))  # what cannot be loaded ends the command: nothing was said here yet
            self._tell()
        if self.interactive:
            print(f"Talking to {name}, context {self.session.recipe.chat.strategy}. /help lists commands.")
        while True:
            line = self._line("you> ")
            if line is None or line.strip() in ("/quit", end):
                break
            if line.strip():
                self._obey(line.strip())
        if self.interactive:
            print("bye")

    def _obey(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        try:
            if not line.startswith("/"):
                self._stream(self.session.reply(line))
            elif name in self.commands:
                self.commands[name](rest.strip())
            else:
                print(f"unknown command {printable(name)}; /help lists them")
            self._tell()
        except (UserError, OSError) as error:  # a path that cannot be written must not end the conversation
            print(f"error: {printable(str(error))}", file=sys.stderr)
            self._tell()
        except KeyboardInterrupt:
            if not self.interactive:
                self._rescue()
                raise
            print("(stopped)")
        except Exception:
            self._rescue()
            raise

    def _rescue(self) -> None:
        """Save the conversation before a defect, or Ctrl-C where nobody sits at it, ends the chat."""
        path = Path(f"chat-rescued-{datetime.now():%Y%m%d-%H%M%S}.jsonl")
        with contextlib.suppress(UserError, OSError):
            session_file.save(self.session, path)
            print(f"the conversation is kept: {path}", file=sys.stderr)

    def _line(self, prompt: str) -> str | None:
        """What was typed; None at the end of input. Ctrl-C clears the line."""
        while True:
            try:
                return self.read(prompt)
            except EOFError:
                return None
            except KeyboardInterrupt:
                if not self.interactive:
                    raise
                print("(/quit or Ctrl-D leaves)")

    def _stream(self, pieces: Iterator[str]) -> None:
        """Print a reply as it comes; Ctrl-C ends it, and what was said of it is kept."""
        if self.interactive:
            print("bot> ", end="", flush=True)
        try:
            with contextlib.closing(pieces):
                for piece in pieces:
                    print(printable(piece), end="", flush=True)
        except KeyboardInterrupt:
            if not self.interactive:
                raise
            print(" ...", end="")
        finally:
            print(flush=True)
        self._tell()
        self._remember()

    def _remember(self) -> None:
        """Refresh the gist; where a person does not want to wait for it, the next turn tries again."""
        try:
            self.session.remember()
        except KeyboardInterrupt:
            if not self.interactive:
                raise
            print("(the gist was not refreshed; it will be after the next reply)")

    def _tell(self) -> None:
        """Show what the user should know, once."""
        if self.session.notice:
            print(f"({printable(self.session.notice)})", file=sys.stderr)
            self.session.notice = ""

    # ---- commands

    def _gist(self, rest: str) -> None:
        action, _, text = rest.partition(" ")
        if action == "edit":
            text = text.strip() or (self._line("new gist> ") or "").strip()
            self.session.edit_gist(text)
            print(f"gist set: {printable(text)}")
        elif action == "versions":
            for number, gist in enumerate(self.session.versions(), 1):
                lines = " / ".join(line.text for line in gist.sentences) or "nothing"
                print(f"{number}. turns 1 to {gist.end}, by {printable(gist.made_by)}: {printable(lines)}")
            if not self.session.memory.versions:
                print("no earlier gist is kept")
        elif action == "back":
            self.session.back_to(_number(text, 1))
            print(f"gist: {printable(' / '.join(_texts(self.session))) or 'nothing'}")
        elif action:
            raise UserError(f"/gist {action}: there are /gist, /gist edit, /gist versions and /gist back")
        else:
            print(describe_gist(self.session))

    def _pin(self, rest: str) -> None:
        if rest.isdecimal():
            print(f"pinned: {printable(self.session.pin_line(_number(rest, 0)))}")
        else:
            self.session.pin(rest)
            print(f"pinned: {printable(rest)}")
        self._remember()  # pinned lines leave less room for turns

    def _unpin(self, rest: str) -> None:
        print(f"no longer pinned: {printable(self.session.unpin(_number(rest, 1)))}")

    def _turns(self, rest: str) -> None:
        turns = self.session.turns
        first = max(0, len(turns) - _number(rest, 10))
        for number, turn in enumerate(turns[first:], first + 1):
            print(f"{number}. {'you' if turn.speaker == PERSON else 'bot'}> {printable(turn.text)}")

    def _edit(self, rest: str) -> None:
        number, _, text = rest.partition(" ")
        self.session.edit_turn(_number(number, 0), text)
        print(f"turn {number} changed; /regenerate answers the last one again")

    def _undo(self, rest: str) -> None:
        print(f"taken back: {printable(self.session.take_back().text)}")

    def _regenerate(self, rest: str) -> None:
        self._stream(self.session.regenerate())

    def _strategy(self, rest: str) -> None:
        self.session.switch_strategy(rest)
        print(f"context strategy {rest}")
        self._remember()

    def _model(self, rest: str) -> None:
        if not rest:
            raise UserError("/model RUN: name a run's folder")
        self.session.switch_model(Path(rest))
        print(f"talking to {rest}")

    def _save(self, rest: str) -> None:
        path = _path(rest or f"chat-{datetime.now():%Y%m%d-%H%M%S}.jsonl")
        session_file.save(self.session, path)
        print(f"saved {path}")

    def _load(self, rest: str) -> None:
        if not rest:
            raise UserError("/load FILE: name a saved conversation")
        self.session.notice = session_file.load(self.session, _path(rest))
        print(f"loaded {rest}: {len(self.session.turns)} turns")

    def _export(self, rest: str) -> None:
        if not rest:
            raise UserError("/export FILE: name the text file")
        session_file.export_text(self.session, _path(rest))
        print(f"exported {rest}")

    def _reset(self, rest: str) -> None:
        self.session.reset()
        print("started over")

    def _help(self, rest: str) -> None:
        print(HELP.format(end=self.session.recipe.chat.end_command))


def _number(text: str, default: int) -> int:
    text = text.strip()
    if not text and default:
        return default
    if not text.isdecimal() or len(text) > 9:
        raise UserError(f"{text[:20]!r} is not a number of a turn or a line")
    return int(text)


def _path(text: str) -> Path:
    if "\0" in text:
        raise UserError("no file has such a name")
    return Path(text)


def _texts(session: ChatSession) -> list[str]:
    return [line.text for line in session.memory.current().sentences]


def printable(text: str) -> str:
    """Text that cannot drive the terminal: control characters and marks that turn the direction of writing become
    spaces. Joiners stay, as emoji and several scripts fall apart without them."""
    return "".join(" " if _drives(char) else char for char in text)


def _drives(char: str) -> bool:
    return (
        unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
        or char in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )


def describe_gist(session: ChatSession) -> str:
    """What the model saw before its last reply: gist, boundary and verbatim turns, with the turns each line is from."""
    context = session.context
    pinned = {line.text for line in session.memory.pinned}
    shown = [
        f"  {number}. {LABELS[line.speaker]}{printable(line.text)}{_sources(line)}"
        + ("  (pinned)" if line.text in pinned else "")
        for number, line in enumerate(session.gist_lines(), 1)
    ]
    if context is None:
        if not session.turns and not shown:
            return "nothing said yet"
        title = f"gist of turns 1 to {session.memory.gist.end}, for the next reply:" if session.turns else "gist:"
        return "\n".join([title, *(shown or ["  nothing"])])
    lines = []
    if shown:
        by = printable(session.gist_by)
        lines.append(f"gist of turns 1 to {session.gist_end}, by {by}:" if session.gist_end else "gist:")
        lines += shown
    else:
        lines.append("no gist: nothing has left the verbatim window" if not context.boundary else "no gist")
    unread = pinned - {line.text for line in context.lines}
    lines += [f"edited or pinned since: {printable(text)}" for text in sorted(unread)]
    lines.append(f"verbatim, from turn {context.boundary + 1}:")
    lines += [
        f"  {'User' if turn.role == PERSON else 'You'}: {printable(turn.text)}"
        for turn in (*context.turns, context.last)
    ]
    read = f"; {session.engine.prefilled} of the prompt were new to the model" if session.engine.prefilled else ""
    lines.append(f"{context.tokens} of {session.budget} tokens used before the last turn{read}")
    return "\n".join(lines)


def _sources(line: Sentence) -> str:
    turns = [turn + 1 for turn in line.sources or (line.turn,)]
    if turns == [0]:
        return "  (by hand)"
    return f"  (turn{'s' if len(turns) > 1 else ''} {', '.join(map(str, turns))})"
