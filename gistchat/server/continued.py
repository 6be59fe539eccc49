"""Which conversation a list of messages goes on with: one that has been heard up to its last answer is not heard again.

A transcript is known by the key of its last answer, which is a hash of it and all before it, within the namespace of
the caller's key. Who names the conversation goes on with that one.
"""

import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple

from anyio import to_thread

from gistchat.chat.session import ChatSession
from gistchat.dialogue.turns import Turn
from gistchat.server.live import OpenConversation
from gistchat.server.shared import Shared
from gistchat.store.conversation_store import NoSuchConversation, NoSuchMessage

ORIGIN = "api"
MOST_CANDIDATES = 8  # conversations with the same beginning that are looked at


@dataclass(frozen=True)
class Continued:
    """A conversation, and what of the caller's list it has not heard yet.

    Attributes:
        known: the turns up to the last answer, as the store has them; None where these are all that it holds.
        new: those after them, without the one that is answered.
        is_kept: whether it is in the store, or will be.
    """

    conversation: OpenConversation
    known: list[Turn] | None
    new: list[Turn]
    is_kept: bool = True

    def follow(self, cancel: threading.Event) -> None:
        """Bring the session to where the list is. It takes longer the more turns are new; `cancel` ends it."""
        session = self.conversation.session
        if self.known is not None:
            cut(session, _same_at_start(session.turns, self.known))
        known = (self.known or [])[len(session.turns) :]
        for turn in [*known, *self.new]:
            if cancel.is_set():
                return
            session.hear([turn])


def cut(session: ChatSession, length: int) -> None:
    """Take back all turns but the first so many, and maybe some of these."""
    if length < len(session.turns) - length:
        session.reset()  # to hear the few again takes less than to undo the many
    while len(session.turns) > length:
        session.take_back()


def _same_at_start(turns: list[Turn], others: list[Turn]) -> int:
    pairs = enumerate(zip(turns, others, strict=False))
    return next((n for n, (a, b) in pairs if a[:2] != b[:2]), min(len(turns), len(others)))


@contextlib.asynccontextmanager
async def continued(
    server: Shared, namespace: str, turns: list[Turn], answered: int, named: str = ""
) -> AsyncIterator[Continued]:
    """The conversation that a list goes on with, for this block alone; a new one where there is none.

    Args:
        turns: without the one that is answered.
        answered: how many of them are up to the last answer.
        named: id of the conversation, where the caller says it.

    Raises:
        NoSuchConversation: there is none of that id in the namespace.
    """
    before, new = turns[:answered], turns[answered:]
    found = Found(await to_thread.run_sync(_key, server, before), named, may_branch=True)
    if not named and before:
        found = await to_thread.run_sync(_find, server, namespace, found.key)
    if found.id:
        async with server.live.opened(found.id, namespace) as conversation:
            if conversation.kept.head == found.key:
                yield Continued(conversation, None, new)
                return
            if found.may_branch:
                yield Continued(conversation, await to_thread.run_sync(_known, server, found, before), new)
                return
    conversation = server.live.begun(namespace, ORIGIN)
    yield Continued(conversation, None, turns)
    if conversation.kept.id:
        server.live.keep_open(conversation)


@contextlib.asynccontextmanager
async def unkept(server: Shared, turns: list[Turn]) -> AsyncIterator[Continued]:
    """A conversation of which nothing stays."""
    yield Continued(server.live.begun("", ORIGIN), None, turns, is_kept=False)


class Found(NamedTuple):
    """What is known of the turns up to the last answer.

    Attributes:
        key: theirs; empty where there are none.
        id: of a conversation that has heard them; empty where none has.
        may_branch: whether it is gone on with also where it does not end with them.
    """

    key: str
    id: str
    may_branch: bool


def _key(server: Shared, turns: list[Turn]) -> str:
    return server.store.keys(turns)[-1] if turns else ""


def _known(server: Shared, found: Found, turns: list[Turn]) -> list[Turn]:
    """The turns as the store has them, where some may be forgotten; else as they were sent."""
    if found.key:
        with contextlib.suppress(NoSuchMessage):
            path = server.store.path(found.id, found.key)
            return [Turn(message.speaker, message.text, message.date) for message in path]
    return turns


def _find(server: Shared, namespace: str, key: str) -> Found:
    """A conversation that has heard the turns of a key, and is not busy.

    One that ends with them is gone on with. In the only one that went on otherwise, this becomes another branch.
    """
    ids = server.store.find(namespace, key)
    free = [id for id in ids[:MOST_CANDIDATES] if not server.live.is_busy(id)]
    for id in free:
        with contextlib.suppress(NoSuchConversation):  # deleted meanwhile
            if server.store.info(id, namespace).head == key:
                return Found(key, id, may_branch=False)
    only = free[0] if len(ids) == len(free) == 1 else ""
    return Found(key, only, may_branch=True)
