"""The chat in a terminal: reads lines, streams replies, obeys commands that begin with a slash."""

import contextlib
import sys
from datetime import datetime
from pathlib import Path

from gistchat.chat import PERSON, ChatSession
from gistchat.context import Line
from gistchat.errors import UserError
from gistchat.prompt import render_line

HELP = """\
/gist             the summary and the verbatim turns that the model saw before its last reply
/gist edit TEXT   replace the summary (without TEXT: type it on the next line)
/save [FILE]      save the conversation as JSONL (default: chat-DATE.jsonl)
/reset            start over
/help             this list
/quit             leave (also Ctrl-D, or {end!r})"""


def chat_in_terminal(folder: Path, overrides: list[str], seed: int | None) -> None:
    """Talk until /quit, the end command or the end of input."""
    interactive = sys.stdin.isatty()
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    session = ChatSession.open(folder, overrides, seed)
    end = session.checkpoint.recipe.chat.end_command
    if interactive:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  line editing and history for input()
        print(f"Talking to {folder}, context {session.checkpoint.recipe.chat.strategy}. /help lists commands.")
    while True:
        line = _read("you> " if interactive else "")
        if line is None or line.strip() in ("/quit", end):
            break
        line = line.strip()
        if not line:
            continue
        try:
            if line.startswith("/"):
                _command(session, line, interactive)
            else:
                _answer(session, line, interactive)
        except (UserError, OSError) as error:  # a path that cannot be written must not end the conversation
            print(f"error: {error}", file=sys.stderr)
    if interactive:
        print("bye")


def _read(prompt: str) -> str | None:
    try:
        return input(prompt)
    except EOFError:
        return None
    except KeyboardInterrupt:
        print()
        return None


def _answer(session: ChatSession, line: str, interactive: bool) -> None:
    if interactive:
        print("bot> ", end="", flush=True)
    try:
        for piece in session.reply(line):
            # Control characters that a model makes up must not drive the terminal.
            print("".join(char if char.isprintable() else " " for char in piece), end="", flush=True)
    except KeyboardInterrupt:
        if not interactive:
            raise
        print(" ...", end="")
    print(flush=True)
    _tell(session)
    session.remember()
    _tell(session)


def _tell(session: ChatSession) -> None:
    """Show what the user should know, once."""
    if session.notice:
        print(f"({session.notice})", file=sys.stderr)
        session.notice = ""


def _command(session: ChatSession, line: str, interactive: bool) -> None:
    name, _, rest = line.partition(" ")
    if name == "/gist" and rest.split(" ")[0] == "edit":
        text = rest.removeprefix("edit").strip() or (_read("new gist> " if interactive else "") or "").strip()
        session.edit_gist(text)
        print(f"gist set: {text}")
    elif name == "/gist":
        print(describe_gist(session))
    elif name == "/save":
        path = Path(rest.strip() or f"chat-{datetime.now():%Y%m%d-%H%M%S}.jsonl")
        session.save(path)
        print(f"saved {path}")
    elif name == "/reset":
        session.reset()
        print("started over")
    elif name == "/help":
        print(HELP.format(end=session.checkpoint.recipe.chat.end_command))
    else:
        print(f"unknown command {name}; /help lists them")


def describe_gist(session: ChatSession) -> str:
    """What the model saw before its last reply: gist, boundary and verbatim turns, with the turns each line is from."""
    context = session.context
    if context is None:
        return "nothing said yet"
    lines = []
    if context.lines:
        lines.append(f"gist of turns 1 to {context.boundary}, by {session.gist_by}:" if context.boundary else "gist:")
        lines += [f"  {render_line(line)}{_sources(line)}" for line in context.lines]
    else:
        lines.append("no gist: nothing has left the verbatim window" if not context.boundary else "no gist")
    unread = [line.text for line in session.memory.pinned if all(line.text != shown.text for shown in context.lines)]
    lines += [f"edited since: {text}" for text in unread]
    lines.append(f"verbatim, from turn {context.boundary + 1}:")
    lines += [f"  {'User' if turn.role == PERSON else 'You'}: {turn.text}" for turn in (*context.turns, context.last)]
    lines.append(f"{context.tokens} of {session.budget} tokens used before the last turn")
    return "\n".join(lines)


def _sources(line: Line) -> str:
    turns = [turn + 1 for turn in line.sources or (line.turn,)]
    if turns == [0]:
        return "  (by hand)"
    return f"  (turn{'s' if len(turns) > 1 else ''} {', '.join(map(str, turns))})"
