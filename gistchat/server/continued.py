"""Which conversation a list of messages goes on with: one that has been heard up to its last answer is not heard again.

A transcript is known by the key of its last answer, which is a hash of it and all before it, within the namespace of
the caller's key. Who names the conversation goes on with that one.
"""

import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass

from anyio import to_thread

from gistchat.chat.session import ChatSession
from gistchat.dialogue.turns import Turn
from gistchat.server.live import OpenConversation
from gistchat.server.shared import Shared
from gistchat.store.conversation_store import NoSuchConversation

ORIGIN = "api"
MOST_CANDIDATES = 8  # conversations with the same beginning that are looked at


@dataclass(frozen=True)
class Continued:
    """A conversation, and what of the caller's list it has not heard yet.

    Attributes:
        known: the turns up to the last answer, as the store has them; None where these are all that it holds.
        new: those after them, without the one that is answered.
    """

    conversation: OpenConversation
    known: list[Turn] | None
    new: list[Turn]

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
async def continued(server: Shared, namespace: str, turns: list[Turn], answered: int) -> AsyncIterator[Continued]:
    """The conversation that a list goes on with, for this block alone; a new one where there is none.

    Args:
        turns: without the one that is answered.
        answered: how many of them are up to the last answer.
    """
    key, id = await to_thread.run_sync(_find, server, namespace, turns[:answered])
    if id:
        async with server.live.opened(id, namespace) as conversation:
            known = None
            if conversation.kept.head != key:
                known = await to_thread.run_sync(_path, server, id, key)
            yield Continued(conversation, known, turns[answered:])
        return
    conversation = server.live.begun(namespace, ORIGIN)
    yield Continued(conversation, None, turns)
    if conversation.kept.id:
        server.live.keep_open(conversation)


def _path(server: Shared, id: str, key: str) -> list[Turn]:
    return [Turn(message.speaker, message.text, message.date) for message in server.store.path(id, key)]


def _find(server: Shared, namespace: str, turns: list[Turn]) -> tuple[str, str]:
    """The key of these turns, and a conversation that has heard them; empty where none has, or it is busy.

    One that ends there is gone on with. In the only one that went on otherwise, this becomes another branch.
    """
    if not turns:
        return "", ""
    key = server.store.keys(turns)[-1]
    ids = server.store.find(namespace, key)
    free = [id for id in ids[:MOST_CANDIDATES] if not server.live.is_busy(id)]
    for id in free:
        with contextlib.suppress(NoSuchConversation):  # deleted meanwhile
            if server.store.info(id, namespace).head == key:
                return key, id
    return key, free[0] if len(ids) == len(free) == 1 else ""
