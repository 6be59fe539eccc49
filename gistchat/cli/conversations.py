"""Commands on kept conversations: list, search, show, export, delete, check."""

import math
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from gistchat.cli.options import Database, within
from gistchat.errors import UserError
from gistchat.names import file_to_write
from gistchat.progress import say_error, show

if TYPE_CHECKING:
    from gistchat.store.conversation_store import ConversationInfo, ConversationStore, Message

SHORT = 8  # characters of an id that lists show
NAMES = {"user": "you", "model": "bot"}

Id = Annotated[str, Argument(metavar="ID", help="As list shows it, or any beginning that only one conversation has.")]
Ids = Annotated[list[str] | None, Argument(metavar="[ID]", help="As list shows them, or unique beginnings.")]
Limit = Annotated[int, Option(metavar="N", callback=within(1, 100_000), help="Show at most so many.")]

commands = typer.Typer(
    name="conversations",
    help="List, search, show, export, delete and check the conversations that are kept. Without a command: list.",
    invoke_without_command=True,
    rich_markup_mode="rich",
)


@commands.callback()
def _without_a_command(context: typer.Context, database: Database = None) -> None:
    if context.invoked_subcommand is None:
        list_(database=database)
    elif database:
        raise UserError(f"give --database after the command: gistchat conversations {context.invoked_subcommand}")


@commands.command("list")
def list_(limit: Limit = 50, database: Database = None) -> None:
    """The conversations, latest first: id, when they last went on, turns, where they were had, title."""
    found = open_store(database).list(limit=limit)
    show(*(map(_line, found) if found else ["no conversation is kept yet"]))


def _line(info: "ConversationInfo") -> str:
    return f"{info.id[:SHORT]}  {_when(info.updated)}  {info.messages:5} turns  {info.origin:5}  {info.title}"


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"


@commands.command("search")
def search(
    words: Annotated[list[str], Argument(metavar="WORDS", help="What a turn holds, all of them, in whatever case.")],
    limit: Limit = 50,
    database: Database = None,
) -> None:
    """The turns that hold all of these words, in all conversations and their branches, latest first."""
    found = open_store(database).search(" ".join(words), limit=limit)
    lines = [f"{info.id[:SHORT]}  {_when(message.created)}  {_turn(message)}" for info, message in found]
    lines = list(dict.fromkeys(lines))  # branches may hold copies
    show(*(lines or ["no turn holds these words"]))


def _turn(message: "Message") -> str:
    return f"{message.position + 1}. {NAMES.get(message.speaker, message.speaker)}> {message.text}"


@commands.command("show")
def show_(
    id: Id,
    turns: Annotated[
        int | None, Option(metavar="N", callback=within(1, 10**9), help="The last N turns. Default: all.")
    ] = None,
    database: Database = None,
) -> None:
    """One conversation: what is known of it, its turns, and what the memory holds."""
    from gistchat.chat.kept import find_conversation
    from gistchat.chat.stored_dialogue import gist_of

    store = open_store(database)
    info = find_conversation(store, id)
    show(info.id, _line(info)[SHORT:].strip())  # the whole id stands alone, to be copied
    known = {"model": info.settings.get("run"), "strategy": info.settings.get("strategy")}
    show(*(f"{name}: {value}" for name, value in known.items() if value))
    path = store.path(info.id)[-turns if turns else 0 :]
    versions = store.siblings(info.id, [message.key for message in path])
    for message in path:
        others = len(versions.get(message.key, [])) - 1
        note = f"  ({others} other version{'s' if others > 1 else ''})" if others > 0 else ""
        show(_turn(message) + note)
    if lines := gist_of(store.state(info.id, info.head)):
        show("gist:", *(f"- {line.text}" for line in lines))


@commands.command("export")
def export(
    out: Annotated[Path, Option(parser=file_to_write, metavar="FILE", help="A new file.")],
    ids: Ids = None,
    all_: Annotated[bool, Option("--all", help="All conversations.")] = False,
    text: Annotated[bool, Option("--text", help="As a text to read, instead of JSONL.")] = False,
    database: Database = None,
) -> None:
    """Write conversations as JSONL: gistchat prepare jsonl reads it, and gistchat chat --load where it is one."""
    from gistchat.files import atomic_text
    from gistchat.locks import locked
    from gistchat.store.database import StoreUnavailable

    store = open_store(database)
    chosen = _chosen(store, ids, all_)
    left_out: list[str] = []
    with locked(out, seconds=0), atomic_text(out) as file:
        for info in chosen:
            try:
                file.write(_as_text(store, info) if text else _as_line(store, info))
            except StoreUnavailable:
                raise
            except (UserError, ValueError) as error:  # nothing was said in it, or more than would be read again
                left_out.append(str(error))
        if len(left_out) == len(chosen):
            raise UserError("; ".join(left_out[:3]) or "no conversation is kept yet")
    say_error(*(f"{problem}; left out" for problem in left_out))
    show(f"{_count(len(chosen) - len(left_out))} -> {out}")


def _as_text(store: "ConversationStore", info: "ConversationInfo") -> str:
    from gistchat.chat.stored_dialogue import stored_text

    return "".join(f"{line}\n" for line in (_line(info), "", *stored_text(store, info), ""))


def _as_line(store: "ConversationStore", info: "ConversationInfo") -> str:
    from gistchat.chat.stored_dialogue import stored_dialogue

    return stored_dialogue(store, info).to_line().decode()


@commands.command("delete")
def delete(
    ids: Ids = None,
    all_: Annotated[bool, Option("--all", help="All conversations.")] = False,
    before: Annotated[
        str | None, Option(metavar="DATE", help="All that did not go on since that day, such as 2026-01-31.")
    ] = None,
    yes: Annotated[bool, Option("--yes", help="Do not ask.")] = False,
    database: Database = None,
) -> None:
    """Delete conversations for good, with all their branches, memory, receipts and ratings."""
    from gistchat.chat.kept import held
    from gistchat.locks import InUse

    store = open_store(database)
    chosen = _chosen(store, ids, all_, before)
    show(*map(_line, chosen))
    if chosen and not yes:
        _confirm(f"Delete {_count(len(chosen))} for good?")
    in_use = []
    for info in chosen:
        try:
            with held(store, info.id):
                store.delete(info.id)
        except InUse as error:
            in_use.append(str(error))
    show(f"{len(chosen) - len(in_use):,} deleted")
    if in_use:
        raise UserError("; ".join(in_use))


def _confirm(question: str) -> None:
    if not _somebody_is_there():
        raise UserError("nothing was deleted: nobody is here to be asked; give --yes")
    if not typer.confirm(question):
        raise UserError("nothing was deleted")


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def _count(number: int) -> str:
    return f"{number:,} conversation{'' if number == 1 else 's'}"


def _chosen(
    store: "ConversationStore", ids: list[str] | None, all_: bool, before: str | None = None
) -> list["ConversationInfo"]:
    from gistchat.chat.kept import find_conversation, newest_first

    if [bool(ids), all_, before is not None].count(True) != 1:
        raise UserError("which conversations? Give their ids, or --all" + (", or a date alone" if before else ""))
    if ids:
        return list({info.id: info for info in (find_conversation(store, id) for id in ids)}.values())
    end = _seconds(before) if before else math.inf
    return [info for info in newest_first(store, namespace=None) if info.updated < end]


def _seconds(day: str) -> float:
    try:
        return datetime.strptime(day, "%Y-%m-%d").timestamp()
    except (ValueError, OverflowError, OSError):
        raise UserError(f"--before {day[:20]!r}: give a date such as 2026-01-31") from None


@commands.command("check")
def check(database: Database = None) -> None:
    """Look for damage in the database: its own check, and whether every conversation is whole."""
    from gistchat.chat.kept import newest_first

    store = open_store(database)
    if problems := store.check():
        raise UserError("\n  ".join([f"{store.database.url}: {len(problems)} problems", *problems]))
    show(f"{store.database.url}: {_count(sum(1 for _ in newest_first(store, namespace=None)))}, nothing wrong")


def open_store(database: str | None, busy_seconds: float = 10) -> "ConversationStore":
    """The conversations, with those that earlier versions kept as files. Raises UserError.

    Args:
        database: URL; None for where conversations usually are, which alone takes over what earlier versions kept.
        busy_seconds: how long a lock of another process is waited for.
    """
    from gistchat.chat.old_journals import take_over
    from gistchat.store.conversation_store import ConversationStore
    from gistchat.store.database import Database

    store = ConversationStore(Database.open(database, busy_seconds))
    try:
        if not database:
            take_over(store)
    except (UserError, OSError) as error:
        say_error(f"(conversations of earlier versions stay where they are: {error})")
    return store
