"""The commands of a chat: one table that gives the help, the completion and the dispatch.

To add one, write a function of the terminal and the words after the name, and give it an entry in `COMMANDS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gistchat.chat import session_file
from gistchat.chat.describe import describe_gist, without_words
from gistchat.chat.speakers import BOT, PERSON
from gistchat.cli.options import CHAT_STRATEGIES
from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError
from gistchat.progress import show

if TYPE_CHECKING:
    from gistchat.cli.chat_terminal import Terminal

MOST_FOUND = 10  # turns that a search shows


@dataclass(frozen=True)
class Command:
    """A command of the chat.

    Attributes:
        name: what is typed, such as "/gist edit".
        arguments: as the help shows them, such as "N TEXT".
    """

    name: str
    arguments: str
    help: str
    run: Callable[["Terminal", str], None]


def run_command(terminal: "Terminal", line: str) -> None:
    """Run the command that a line begins with, the longest name first."""
    for command in sorted(COMMANDS, key=lambda command: -len(command.name)):
        if line == command.name or line.startswith(command.name + " "):
            command.run(terminal, line[len(command.name) :].strip())
            return
    word = line.split()[0]
    show(f"unknown command {word}; /help lists them; to say a line that begins with a slash, type /{word}")


def _show_gist(terminal: "Terminal", rest: str) -> None:
    if rest:
        names = [command.name for command in COMMANDS if command.name.split()[0] == "/gist"]
        raise UserError(f"/gist {rest.split()[0]}: there are {', '.join(names)}")
    show(*describe_gist(terminal.session).split("\n"))


def _edit_gist(terminal: "Terminal", text: str) -> None:
    text = text or (terminal.ask("new gist> ") or "").strip()
    terminal.session.edit_gist(text)
    show(f"gist set: {text}")


def _drop_line(terminal: "Terminal", rest: str) -> None:
    show(f"dropped: {terminal.session.drop_line(_number(rest, 0))}")


def _gist_versions(terminal: "Terminal", rest: str) -> None:
    versions = terminal.session.versions()
    for number, gist in enumerate(versions, 1):
        lines = " / ".join(line.text for line in gist.sentences) or "nothing"
        show(f"{number}. turns 1 to {gist.end}, by {gist.made_by}: {lines}")
    if not versions:
        show("no earlier gist is kept")


def _gist_back(terminal: "Terminal", rest: str) -> None:
    terminal.session.back_to(_number(rest, 1))
    lines = " / ".join(line.text for line in terminal.session.memory.current().sentences)
    show(f"gist: {lines or 'nothing'}")


def _pin(terminal: "Terminal", rest: str) -> None:
    if rest.isdecimal():
        show(f"pinned: {terminal.session.pin_line(_number(rest, 0))}")
    else:
        terminal.session.pin(rest)
        show(f"pinned: {rest}")


def _unpin(terminal: "Terminal", rest: str) -> None:
    show(f"no longer pinned: {terminal.session.unpin(_number(rest, 1))}")


def _turns(terminal: "Terminal", rest: str) -> None:
    turns = terminal.session.turns
    first = max(0, len(turns) - _number(rest, 10))
    for number, turn in enumerate(turns[first:], first + 1):
        show(f"{number}. {_name(turn)}> {turn.text}")


def _name(turn: Turn) -> str:
    return {PERSON: "you", BOT: "bot"}.get(turn.speaker, turn.speaker)


def _edit_turn(terminal: "Terminal", rest: str) -> None:
    number, _, text = rest.partition(" ")
    terminal.session.edit_turn(_number(number, 0), text)
    show(f"turn {number} changed; /regenerate answers the last one again")


def _search(terminal: "Terminal", rest: str) -> None:
    if not rest:
        raise UserError("/search WORDS: what should the turns be about?")
    found = terminal.session.search(rest)
    for number, turn, words in found[:MOST_FOUND]:
        why = ", ".join(words) or without_words(terminal.session)
        show(f"{number + 1}. {_name(turn)}> {turn.text}  ({why})")
    if not found:
        show("no turn holds any of these words")
    elif len(found) > MOST_FOUND:
        show(f"and {len(found) - MOST_FOUND} more")


def _forget(terminal: "Terminal", rest: str) -> None:
    turn = terminal.session.forget(_number(rest, 0))
    show(f"forgotten: {turn.text}")


def _undo(terminal: "Terminal", rest: str) -> None:
    show(f"taken back: {terminal.session.take_back().text}")


def _regenerate(terminal: "Terminal", rest: str) -> None:
    terminal.stream(terminal.session.regenerate())


def _switch_strategy(terminal: "Terminal", rest: str) -> None:
    terminal.session.switch_strategy(rest)
    show(f"context strategy {rest}")
    terminal.remember()


def _switch_model(terminal: "Terminal", rest: str) -> None:
    terminal.session.switch_model(_path(rest, "/model MODEL: name a run's folder, or a GGUF file"))
    show(f"talking to {rest}")


def _save(terminal: "Terminal", rest: str) -> None:
    path = _path(rest or f"chat-{datetime.now():%Y%m%d-%H%M%S}.jsonl")
    session_file.save(terminal.session, path)
    show(f"saved {path}")


def load_session(terminal: "Terminal", rest: str) -> None:
    """Go on with a saved conversation; where it cannot be loaded, the one that is open stays."""
    path = _path(rest, "/load FILE: name a saved conversation")
    terminal.go_on_with(session_file.load(terminal.session.model, path, terminal.session.seed))
    show(f"loaded {rest}: {len(terminal.session.turns)} turns")


def _export(terminal: "Terminal", rest: str) -> None:
    session_file.export_text(terminal.session, _path(rest, "/export FILE: name the text file"))
    show(f"exported {rest}")


def _reset(terminal: "Terminal", rest: str) -> None:
    terminal.session.reset()
    terminal.go_on_with(terminal.session)
    show("started over")


def _help(terminal: "Terminal", rest: str) -> None:
    end = terminal.session.recipe.chat.end_command
    lines = [(f"{command.name} {command.arguments}".strip(), command.help) for command in COMMANDS]
    lines.append(("//TEXT", "say a line that begins with a slash: //home says /home"))
    lines.append(("/quit", f"leave (also Ctrl-D, or {end!r}); gistchat chat --continue goes on. Ctrl-C stops a reply"))
    width = max(len(usage) for usage, _ in lines) + 2
    for usage, text in lines:
        show(f"{usage:{width}}{text}")


COMMANDS = (
    Command("/gist", "", "what the model saw before its last reply, the tokens used, and the gist since", _show_gist),
    Command("/gist edit", "TEXT", "replace the gist (without TEXT: type it on the next line)", _edit_gist),
    Command("/gist drop", "N", "remove the Nth line of the gist; a fact that it states stays away", _drop_line),
    Command("/gist versions", "", "the earlier gists that are kept", _gist_versions),
    Command("/gist back", "[N]", "go back to the Nth of them (1, the latest)", _gist_back),
    Command("/pin", "TEXT", "keep a line word for word (or /pin N: the Nth line of the gist)", _pin),
    Command("/unpin", "[N]", "unpin the Nth pinned line (1)", _unpin),
    Command("/turns", "[N]", "the last N turns with their numbers (10)", _turns),
    Command("/edit", "N TEXT", "change turn N; a gist that covers it goes", _edit_turn),
    Command("/search", "WORDS", "the turns that these words are in, best first", _search),
    Command("/forget", "N", "take turn N out of conversation, gist and search", _forget),
    Command("/undo", "", "take your last turn and its answer back", _undo),
    Command("/regenerate", "", "another answer to your last turn", _regenerate),
    Command("/strategy", "NAME", CHAT_STRATEGIES, _switch_strategy),
    Command("/model", "MODEL", "go on with another run, or a GGUF file", _switch_model),
    Command("/save", "[FILE]", "save the conversation as JSONL (default: chat-DATE.jsonl)", _save),
    Command("/load", "FILE", "go on with a saved conversation", load_session),
    Command("/export", "FILE", "write it as a text to read", _export),
    Command("/reset", "", "start over", _reset),
    Command("/help", "", "this list", _help),
)


def _number(text: str, default: int) -> int:
    if not text and default:
        return default
    if not text.isdecimal() or len(text) > 9:
        raise UserError(f"{text[:20]!r} is not a number of a turn or a line")
    return int(text)


def _path(text: str, usage: str = "") -> Path:
    if not text:
        raise UserError(usage)
    if "\0" in text:
        raise UserError("no file has such a name")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{text.split('/')[0]}: no such home folder") from None
