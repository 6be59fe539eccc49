"""Commands on kept conversations: list, search, show, export, delete, check."""

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
    from gistchat.store.conversation_store import ConversationInfo, ConversationStore

SHORT = 8  # characters of an id that lists show
MOST_SNIPPET = 200  # characters of a turn that the search shows
NAMES = {"user": "you", "model": "bot"}

Id = Annotated[str, Argument(metavar="ID", help="As list shows it, or any beginning that only one conversation has.")]
Ids = Annotated[list[str] | None, Argument(metavar="[ID]...", help="As list shows them, or unique beginnings.")]
Limit = Annotated[int, Option(metavar="N", callback=within(1, 100_000), help="Show at most so many.")]

conversations = typer.Typer(
    name="conversations",
    help="List, search, show, export, delete and check the conversations that are kept. Without a command: list.",
    invoke_without_command=True,
    rich_markup_mode="rich",
)


@conversations.callback()
def _without_a_command(context: typer.Context, database: Database = None) -> None:
    if context.invoked_subcommand is None:
        list_(database=database)


@conversations.command("list")
def list_(limit: Limit = 50, database: Database = None) -> None:
    """The conversations, latest first: id, when they last went on, turns, where they were had, title."""
    store = open_store(database)
    for info in store.list(limit=limit):
        show(_line(info))


def _line(info: "ConversationInfo") -> str:
    return f"{info.id[:SHORT]}  {_when(info.updated)}  {info.messages:5} turns  {info.origin:5}  {info.title}"


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"


@conversations.command("search")
def search(
    words: Annotated[list[str], Argument(metavar="TEXT...", help="What a turn holds, in whatever case.")],
    limit: Limit = 50,
    database: Database = None,
) -> None:
    """The turns that hold a text, in all conversations and their branches, latest first."""
    store = open_store(database)
    for info, message in store.search(" ".join(words), limit=limit):
        text = " ".join(message.text.split())
        show(f"{info.id[:SHORT]}  {_when(message.created)}  {_said(message.position + 1, message.speaker, text)}")


def _said(number: int, speaker: str, text: str) -> str:
    return f"{number}. {NAMES.get(speaker, speaker)}> {text}"


@conversations.command("show")
def show_(
    id: Id,
    turns: Annotated[int, Option(metavar="N", callback=within(1, 10**9), help="The last N turns.")] = 10**9,
    database: Database = None,
) -> None:
    """One conversation: what is known of it, its turns, and what the memory holds."""
    from gistchat.chat.kept import find_conversation
    from gistchat.chat.stored_dialogue import gist_of

    store = open_store(database)
    info = find_conversation(store, id)
    show(info.id, _line(info)[SHORT:].strip())
    known = {"model": info.settings.get("run"), "strategy": info.settings.get("strategy")}
    show(*(f"{name}: {value}" for name, value in known.items() if value))
    path = store.path(info.id)[-turns:]
    versions = store.siblings(info.id, [message.key for message in path])
    for message in path:
        others = len(versions.get(message.key, [])) - 1
        note = f"  ({others} other version{'s' if others > 1 else ''})" if others > 0 else ""
        show(_said(message.position + 1, message.speaker, message.text) + note)
    if lines := gist_of(store.state(info.id, info.head)):
        show("gist:", *(f"- {line.text}" for line in lines))


@conversations.command("export")
def export(
    out: Annotated[Path, Argument(parser=file_to_write, metavar="OUT", help="A new file.")],
    ids: Ids = None,
    all_: Annotated[bool, Option("--all", help="All conversations.")] = False,
    text: Annotated[bool, Option("--text", help="As a text to read, instead of JSONL.")] = False,
    database: Database = None,
) -> None:
    """Write conversations as JSONL: gistchat prepare jsonl reads it, and gistchat chat --load where it is one."""
    from gistchat.chat.stored_dialogue import stored_dialogue, stored_text
    from gistchat.dialogue.jsonl import write_jsonl
    from gistchat.files import atomic_text
    from gistchat.locks import locked

    store = open_store(database)
    chosen = _chosen(store, ids, all_)
    with locked(out, seconds=0):
        if text:
            with atomic_text(out) as file:
                file.write(
                    "\n".join(
                        f"{_line(info)}\n\n" + "".join(f"{line}\n" for line in stored_text(store, info))
                        for info in chosen
                    )
                )
        else:
            write_jsonl(out, (stored_dialogue(store, info) for info in chosen))
    show(f"{len(chosen):,} conversations -> {out}")


@conversations.command("delete")
def delete(
    ids: Ids = None,
    all_: Annotated[bool, Option("--all", help="All conversations.")] = False,
    yes: Annotated[bool, Option("--yes", help="Do not ask.")] = False,
    database: Database = None,
) -> None:
    """Delete conversations for good, with all their branches, memory, receipts and ratings."""
    from gistchat.chat.kept import held

    store = open_store(database)
    chosen = _chosen(store, ids, all_)
    show(*map(_line, chosen))
    if not yes:
        _confirm(f"Delete {'it' if len(chosen) == 1 else f'these {len(chosen):,}'} for good?")
    for info in chosen:
        with held(store, info.id):
            store.delete(info.id)
    show(f"{len(chosen):,} deleted")


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UserError("nothing was deleted: nobody is here to be asked; give --yes")
    if not typer.confirm(question):
        raise UserError("nothing was deleted")


def _chosen(store: "ConversationStore", ids: list[str] | None, all_: bool) -> list["ConversationInfo"]:
    from gistchat.chat.kept import find_conversation, newest_first

    if bool(ids) == all_:
        raise UserError("which conversations? Give their ids, or --all")
    if all_:
        return list(newest_first(store, namespace=None))
    return list({info.id: info for info in (find_conversation(store, id) for id in ids or [])}.values())


@conversations.command("check")
def check(database: Database = None) -> None:
    """Look for damage in the database: its own check, and whether every conversation is whole."""
    store = open_store(database)
    if problems := store.check():
        raise UserError("\n  ".join([f"{store.database.url}: {len(problems)} problems", *problems]))
    show(f"{store.database.url}: nothing wrong")


def open_store(database: str | None) -> "ConversationStore":
    """The conversations, with those that earlier versions kept as files. Raises UserError."""
    from gistchat.chat.old_journals import take_over
    from gistchat.store.conversation_store import ConversationStore
    from gistchat.store.database import Database

    store = ConversationStore(Database.open(database))
    try:
        take_over(store)
    except (UserError, OSError) as error:
        say_error(f"(conversations of earlier versions stay where they are: {error})")
    return store
