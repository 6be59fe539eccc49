"""Conversations, their branches, and what is kept beside them: memory, receipts, ratings.

A conversation is a tree of messages that only grows. What it says now is the path from a first message to its head;
to edit, regenerate or take back is to add messages and to move the head.
"""

from __future__ import annotations  # in the class, `list` is a method

import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, func, insert, or_, select, tuple_, update

from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError
from gistchat.store import tree
from gistchat.store.database import Database
from gistchat.store.forgetting import without_text
from gistchat.store.message_keys import FORGOTTEN, folded, message_keys, storable
from gistchat.store.rows import OF_MESSAGE, ConversationInfo, Message, as_info, as_message, as_rows, title_of, titled
from gistchat.store.tables import conversations, messages, ratings, receipts, states

LONGEST_SEARCH, MOST_WORDS = 1000, 100  # characters, and words: SQLite nests a term in the other
AT_ONCE = 1000  # values in one question: databases limit them


class NoSuchConversation(UserError):
    """There is none of this id, or not in this namespace."""


class NoSuchMessage(NoSuchConversation):
    """The conversation has no message of this key."""


class NoSuchReceipt(NoSuchConversation):
    """There is none of this id, or not in this namespace."""


class ConversationStore:
    """What is kept of all conversations. Threads may share it; each method is one transaction.

    All methods raise StoreUnavailable where the database cannot be read or written, NoSuchConversation where there is
    none of that id, and NoSuchMessage where it has no message of that key. What a method wrote is on disk when it
    returns.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    # ---- conversations

    def create(
        self, origin: str, namespace: str = "", title: str = "", settings: dict[str, Any] | None = None
    ) -> ConversationInfo:
        """A conversation without messages."""
        now, name = time.time(), _unguessable()
        values = {"id": name, "namespace": namespace, "created": now, "updated": now, "head": "", "origin": origin}
        values |= titled(title) | {"settings": json.dumps(settings or {})}
        with self.database.writing() as connection:
            connection.execute(insert(conversations).values(values))
            return _info(connection, name)

    def info(self, id: str, namespace: str | None = None) -> ConversationInfo:
        """None as the namespace: whichever it is in, for the operator's eyes."""
        with self.database.reading() as connection:
            return _info(connection, id, namespace)

    def list(
        self,
        namespace: str | None = None,
        limit: int = 50,
        before: tuple[float, str] | None = None,
        search: str = "",
    ) -> list[ConversationInfo]:
        """The latest first.

        Args:
            namespace: None for all.
            before: `updated` and `id` of the last one that was listed, to go on after it.
            search: words that the title or one message holds, all of them.

        Raises:
            UserError: too much to search for.
        """
        query = _infos(namespace).order_by(conversations.c.updated.desc(), conversations.c.id.desc()).limit(limit)
        if before:
            query = query.where(tuple_(conversations.c.updated, conversations.c.id) < tuple_(*before))
        if words := _words(search):
            said = messages.alias()  # the query has the head's message besides
            here = said.c.conversation == conversations.c.number
            said = select(said.c.number).where(here, *_hold(said.c.folded, words))
            query = query.where(or_(and_(*_hold(conversations.c.folded_title, words)), said.exists()))
        with self.database.reading() as connection:
            return [as_info(row) for row in connection.execute(query)]

    def search(
        self, text: str, namespace: str | None = None, limit: int = 50
    ) -> list[tuple[ConversationInfo, Message]]:
        """Messages that hold all words of the text, in whatever branch, the latest first; of none, nothing.

        Raises UserError: too much to search for.
        """
        if not (words := _words(text)):
            return []
        found = (
            select(*OF_MESSAGE, messages.c.conversation)
            .join(conversations, conversations.c.number == messages.c.conversation)
            .where(*_hold(messages.c.folded, words), *_within(namespace))
            .order_by(messages.c.number.desc())
            .limit(limit)
        )
        with self.database.reading() as connection:
            rows = connection.execute(found).all()
            numbers = {row.conversation for row in rows}
            query = _infos().where(conversations.c.number.in_(numbers))
            infos = {row.number: as_info(row) for row in connection.execute(query)}
        return [(infos[row.conversation], as_message(row)) for row in rows]

    def find(self, namespace: str, key: str) -> list[str]:
        """Ids of the conversations that hold a message of this key, and so all before it; the latest first."""
        query = (
            select(conversations.c.id)
            .join(messages, messages.c.conversation == conversations.c.number)
            .where(messages.c.key == storable(key), conversations.c.namespace == namespace)
            .order_by(conversations.c.updated.desc())
        )
        with self.database.reading() as connection:
            return list(connection.scalars(query))

    def settings(self, id: str, settings: dict[str, Any]) -> None:
        """Replace them."""
        self._change(id, {"settings": json.dumps(settings)})

    def rename(self, id: str, title: str) -> None:
        self._change(id, titled(title))

    def date(self, id: str, created: float, updated: float) -> None:
        """Say when a conversation was had that was kept elsewhere, in seconds since 1970."""
        self._change(id, {"created": created, "updated": updated})

    def _change(self, id: str, values: dict[str, Any]) -> None:
        with self.database.writing() as connection:
            number = _number(connection, id)
            connection.execute(update(conversations).where(conversations.c.number == number).values(values))

    def delete(self, id: str) -> None:
        """With all that is kept beside it; nothing of it stays in the files."""
        with self.database.writing() as connection:
            number = _number(connection, id)
            connection.execute(delete(conversations).where(conversations.c.number == number))
        self.database.checkpoint()

    # ---- messages

    def keys(self, turns: Sequence[Turn], extras: Sequence[dict[str, Any]] = (), parent: str = "") -> list[str]:
        """The keys that turns have or would have, the first of them after `parent`."""
        return message_keys(self.database.secret, parent, turns, extras)

    def path(self, id: str, head: str | None = None) -> list[Message]:
        """From a first message to the head of the conversation, or to any of its messages."""
        with self.database.reading() as connection:
            number, end = _number_and_head(connection, id)
            end = end if head is None else head
            if not end:
                return []
            _require(connection, number, end)
            return [as_message(row) for row in connection.execute(tree.path(number, end))]

    def messages(self, id: str, keys: Sequence[str]) -> list[Message]:
        """The messages of these keys, in their order."""
        with self.database.reading() as connection:
            found = _held(connection, _number(connection, id), keys)
        if any(key not in found for key in keys):
            raise NoSuchMessage("the conversation has no such message")
        return [found[key] for key in keys]

    def append(
        self,
        id: str,
        parent: str,
        turns: Sequence[Turn],
        extras: Sequence[dict[str, Any]] = (),
        state: dict[str, Any] | None = None,
    ) -> list[Message]:
        """Add turns after a message, and move the head to the last of them; all or nothing.

        What is there already is not added twice: the same turn after the same message is the same message, also where
        its text was forgotten since.

        Args:
            parent: key of the message before; empty for a first turn.
            extras: of each turn, what there is beside it; turns beyond them have none.
            state: memory as it is after the last.

        Returns:
            The turns as they are stored.
        """
        keys = self.keys(turns, extras, parent)
        with self.database.writing() as connection:
            number = _number(connection, id, alone=True)
            position = _require(connection, number, parent) + 1
            rows = as_rows(number, keys, parent, position, turns, extras)
            here = _held(connection, number, keys)
            if new := [row for row in rows if row["key"] not in here]:
                connection.execute(insert(messages), new)
            _move_head(connection, number, keys[-1] if keys else parent, turns)
            if state is not None:
                _keep_state(connection, number, keys[-1] if keys else parent, state)
            stored = _held(connection, number, keys)
        return [stored[key] for key in keys]

    def set_head(self, id: str, key: str, state: dict[str, Any] | None = None) -> None:
        """Let the conversation end with one of its messages, or, with an empty key, before the first.

        Args:
            state: memory as it is there.
        """
        with self.database.writing() as connection:
            number = _number(connection, id, alone=True)
            _require(connection, number, key)
            _move_head(connection, number, key)
            if state is not None:
                _keep_state(connection, number, key, state)

    def leaf_below(self, id: str, key: str) -> str:
        """The newest message that follows a message, be it at once or later; itself where none does."""
        with self.database.reading() as connection:
            number = _number(connection, id)
            _require(connection, number, key)
            return connection.scalar(tree.newest_below(number, key)) or key

    def siblings(self, id: str, keys: Sequence[str]) -> dict[str, list[str]]:
        """For each of the messages, all that follow the same message, itself among them, the oldest first."""
        found: dict[str, list[str]] = {}
        with self.database.reading() as connection:
            number = _number(connection, id)
            for some in _some_at_once(keys):
                for key, sibling in connection.execute(tree.siblings(number, some)):
                    found.setdefault(key, []).append(sibling)
        return found

    def forget(self, id: str, key: str) -> None:
        """Take a message's text out of the conversation for good, wherever it holds it.

        That is in copies of the message in other branches, in receipts, in notes, in a title that was made from it, in
        all memory of the conversation, which is made anew. The message keeps its key and its place, and its text is
        FORGOTTEN. With SQLite nothing of it is left in the files.
        """
        with self.database.writing() as connection:
            number = _number(connection, id, alone=True)
            _require(connection, number, key)
            if key:
                _forget(connection, number, key)
        self.database.checkpoint()

    def versions(self, id: str, key: str) -> list[str]:
        """Keys of what the speaker of a message said in its place, in any branch: itself, its copies and others."""
        with self.database.reading() as connection:
            number = _number(connection, id)
            _require(connection, number, key)
            return list(connection.scalars(tree.versions(number, key)))

    # ---- memory

    def keep_state(self, id: str, key: str, state: dict[str, Any]) -> None:
        """Keep memory as it is after a message, in place of what was kept earlier on the way to it."""
        with self.database.writing() as connection:
            number = _number(connection, id, alone=True)
            _require(connection, number, key)
            _keep_state(connection, number, key, state)

    def state(self, id: str, key: str) -> dict[str, Any] | None:
        """Memory as it was kept after a message; None where none was."""
        with self.database.reading() as connection:
            number = _number(connection, id)
            query = select(states.c.state).where(states.c.conversation == number, states.c.key == storable(key))
            text = connection.scalar(query)
        return None if text is None else json.loads(text)

    # ---- receipts and ratings

    def add_receipt(self, id: str, message_key: str, receipt: dict[str, Any], name: str = "") -> str:
        """Keep what was sent for a message; returns an id that cannot be guessed.

        Args:
            name: that id, where it was told before there was a message to keep the receipt for; of `secrets`, too.
        """
        name = name or secrets.token_urlsafe(16)
        with self.database.writing() as connection:
            number = _number(connection, id)
            _require(connection, number, message_key)
            values = {"id": name, "conversation": number, "key": message_key, "receipt": json.dumps(receipt)}
            connection.execute(insert(receipts).values(values))
        return name

    def receipt(self, receipt_id: str, namespace: str | None = None) -> dict[str, Any]:
        """Raises NoSuchReceipt."""
        query = (
            select(receipts.c.receipt)
            .join(conversations, conversations.c.number == receipts.c.conversation)
            .where(receipts.c.id == storable(receipt_id), *_within(namespace))
        )
        with self.database.reading() as connection:
            text = connection.scalar(query)
        if text is None:
            raise NoSuchReceipt("no such receipt")
        return json.loads(text)

    def receipts_of(self, id: str, keys: Sequence[str]) -> dict[str, str]:
        """By the keys of messages, the ids of their latest receipts, for those that have one."""
        found: dict[str, str] = {}
        with self.database.reading() as connection:
            number = _number(connection, id)
            for some in _some_at_once(keys):
                query = select(receipts.c.key, receipts.c.id).where(
                    receipts.c.conversation == number, receipts.c.key.in_(some)
                )
                found |= {key: name for key, name in connection.execute(query.order_by(receipts.c.number))}
        return found

    def copy_beside(self, id: str, copies: Mapping[str, str]) -> None:
        """Keep receipts and ratings of messages for copies of these, too, which have none of their own.

        Args:
            copies: key of a message -> key of its copy.
        """
        with self.database.writing() as connection:
            number = _number(connection, id, alone=True)
            for table in (receipts, ratings):
                here = table.c.conversation == number
                for some in _some_at_once(copies):
                    theirs = [copies[key] for key in some if key in copies]
                    done = set(connection.scalars(select(table.c.key).where(here, table.c.key.in_(theirs))))
                    query = select(table).where(here, table.c.key.in_(some)).order_by(*table.primary_key)
                    rows = {row.key: row._asdict() for row in connection.execute(query)}
                    new = [_copied(row, copies[key]) for key, row in rows.items() if copies[key] not in done]
                    if new:
                        connection.execute(insert(table), new)

    def rate(self, id: str, message_key: str, value: int, note: str = "") -> None:
        """Rate a message anew; 0 without a note takes the rating back."""
        with self.database.writing() as connection:
            number = _number(connection, id, alone=True)
            _require(connection, number, message_key)
            here = and_(ratings.c.conversation == number, ratings.c.key == message_key)
            connection.execute(delete(ratings).where(here))
            if value or note:
                row = {"conversation": number, "key": message_key, "value": value, "note": storable(note)}
                connection.execute(insert(ratings).values(row | {"rated": time.time()}))

    def ratings_of(self, id: str, keys: Sequence[str]) -> dict[str, tuple[int, str]]:
        """By the keys of messages, value and note, for those that are rated."""
        found: dict[str, tuple[int, str]] = {}
        with self.database.reading() as connection:
            number = _number(connection, id)
            for some in _some_at_once(keys):
                here = and_(ratings.c.conversation == number, ratings.c.key.in_(some))
                query = select(ratings.c.key, ratings.c.value, ratings.c.note).where(here)
                found |= {key: (value, note) for key, value, note in connection.execute(query)}
        return found

    # ---- integrity

    def check(self) -> list[str]:
        """What is wrong with the file or with the conversations in it, a line each; the work grows with all of it."""
        problems = self.database.problems()
        with self.database.reading() as connection:
            for query, problem in tree.PROBLEMS:
                problems += [f"conversation {row.id}: {problem} ({row.key})" for row in connection.execute(query)]
        return problems


def _unguessable() -> str:
    """An id; none that a command line would take for an option."""
    while (id := secrets.token_urlsafe(16)).startswith("-"):
        pass
    return id


# ---- inside a transaction


def _copied(row: dict[str, Any], key: str) -> dict[str, Any]:
    """A row of receipts or ratings for another message."""
    if "receipt" in row:
        return {
            "id": secrets.token_urlsafe(16),
            **{name: row[name] for name in ("conversation", "receipt")},
            "key": key,
        }
    return row | {"key": key}


def _some_at_once(keys: Iterable[str]) -> Iterator[list[str]]:
    keys = iter(dict.fromkeys(map(storable, keys)))
    return iter(lambda: list(islice(keys, AT_ONCE)), [])


def _words(text: str) -> list[str]:
    """Raises UserError: more than a database can look for."""
    words = list(dict.fromkeys(folded(text).split())) if len(text) <= LONGEST_SEARCH else []
    if len(text) > LONGEST_SEARCH or len(words) > MOST_WORDS:
        raise UserError(f"too much to search for: at most {LONGEST_SEARCH:,} characters, and {MOST_WORDS} words")
    return words


def _hold(column: Any, words: Iterable[str]) -> list[Any]:
    return [column.contains(word, autoescape=True) for word in words]


def _within(namespace: str | None) -> list[Any]:
    return [] if namespace is None else [conversations.c.namespace == namespace]


def _infos(namespace: str | None = None) -> Select[Any]:
    ends = and_(messages.c.conversation == conversations.c.number, messages.c.key == conversations.c.head)
    count = func.coalesce(messages.c.position + 1, 0).label("messages")
    return select(conversations, count).select_from(conversations.outerjoin(messages, ends)).where(*_within(namespace))


def _info(connection: Connection, id: str, namespace: str | None = None) -> ConversationInfo:
    row = connection.execute(_infos(namespace).where(conversations.c.id == storable(id))).one_or_none()
    if row is None:
        raise NoSuchConversation("no such conversation")
    return as_info(row)


def _number_and_head(connection: Connection, id: str, alone: bool = False) -> tuple[int, str]:
    query = select(conversations.c.number, conversations.c.head).where(conversations.c.id == storable(id))
    row = connection.execute(query.with_for_update() if alone else query).one_or_none()
    if row is None:
        raise NoSuchConversation("no such conversation")
    return row.number, row.head


def _number(connection: Connection, id: str, alone: bool = False) -> int:
    """Of its rows. `alone`: other writers of this conversation wait until the transaction ends."""
    return _number_and_head(connection, id, alone)[0]


def _require(connection: Connection, number: int, key: str) -> int:
    """The position of a message; -1 for what is before the first."""
    if not key:
        return -1
    query = select(messages.c.position).where(messages.c.conversation == number, messages.c.key == storable(key))
    position = connection.scalar(query)
    if position is None:
        raise NoSuchMessage("the conversation has no such message")
    return position


def _held(connection: Connection, number: int, keys: Iterable[str]) -> dict[str, Message]:
    found = {}
    for some in _some_at_once(keys):
        query = select(*OF_MESSAGE).where(messages.c.conversation == number, messages.c.key.in_(some))
        found |= {row.key: as_message(row) for row in connection.execute(query)}
    return found


def _move_head(connection: Connection, number: int, key: str, turns: Sequence[Turn] = ()) -> None:
    here = conversations.c.number == number
    connection.execute(update(conversations).where(here).values(head=key, updated=time.time()))
    if title := next(filter(None, map(title_of, islice(turns, 10))), ""):
        connection.execute(update(conversations).where(here, conversations.c.title == "").values(titled(title)))


def _keep_state(connection: Connection, number: int, key: str, state: dict[str, Any]) -> None:
    earlier = [key, *connection.scalars(tree.state_before(number, key))] if key else [key]
    connection.execute(delete(states).where(states.c.conversation == number, states.c.key.in_(earlier)))
    connection.execute(insert(states).values(conversation=number, key=key, state=json.dumps(state)))


def _forget(connection: Connection, number: int, key: str) -> None:
    here = messages.c.conversation == number
    message = connection.execute(select(messages).where(here, messages.c.key == key)).one()
    connection.execute(delete(states).where(states.c.conversation == number))
    if message.text == FORGOTTEN:
        return
    # An edit of an earlier turn adds copies of all that follow: at the same place, by the same speaker.
    copy = and_(messages.c.position == message.position, messages.c.speaker == message.speaker)
    same = and_(here, or_(messages.c.key == key, and_(copy, messages.c.text == message.text)))
    keys = list(connection.scalars(select(messages.c.key).where(same)))
    connection.execute(update(messages).where(same).values(text=FORGOTTEN, folded="", extra="{}"))
    title = titled(title_of(message))["title"]
    called = and_(conversations.c.number == number, conversations.c.title == title)
    connection.execute(update(conversations).where(called).values(titled("")))
    _clear_notes(connection, number, message.text, keys)
    _clear_receipts(connection, number, message.text, message.position + 1)


def _clear_notes(connection: Connection, number: int, text: str, keys: list[str]) -> None:
    """Those of the messages, and those that hold the text."""
    noted = and_(ratings.c.conversation == number, ratings.c.note != "")
    for row in connection.execute(select(ratings.c.key, ratings.c.note).where(noted)).all():
        if row.key in keys or not without_text({"note": row.note}, text, 0, "")["note"]:
            connection.execute(update(ratings).where(noted, ratings.c.key == row.key).values(note=""))


def _clear_receipts(connection: Connection, number: int, text: str, turn: int) -> None:
    # One by one: all receipts of a long conversation may not fit into memory.
    for receipt in list(connection.scalars(select(receipts.c.number).where(receipts.c.conversation == number))):
        here = receipts.c.number == receipt
        kept = json.loads(connection.scalar(select(receipts.c.receipt).where(here)) or "{}")
        if (cleared := without_text(kept, text, turn, FORGOTTEN)) != kept:
            connection.execute(update(receipts).where(here).values(receipt=json.dumps(cleared)))
