"""Conversations that are open between requests, so that their memory need not be read from the store each time."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from anyio import to_thread

from gistchat.chat.kept import KeptConversation
from gistchat.chat.model import ChatModel
from gistchat.chat.session import ChatSession
from gistchat.dialogue.turns import today
from gistchat.errors import UserError
from gistchat.store.conversation_store import ConversationStore

T = TypeVar("T")


@dataclass
class OpenConversation:
    """A conversation that one request has for itself.

    Attributes:
        kept: what of the session is in the store.
        is_stale: whether the next request has to open it anew, as the store was changed beside the session.
        is_changed: whether this request changed it.
        compared: receipts of answers that were compared last, by their texts: one of them may be chosen.
    """

    kept: KeptConversation
    session: ChatSession
    is_stale: bool = False
    is_changed: bool = False
    compared: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def change(self, change: Callable[[ChatSession], T]) -> T:
        """Change the session in a thread, and keep it; when this returns, it is in the store for good."""

        self.is_changed = True

        def work() -> T:
            result = change(self.session)
            self.kept.record(self.session)
            return result

        return await to_thread.run_sync(work)


@dataclass
class _Place:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0  # who have it, or wait for it
    tidying: int = 0  # of these, those that do what no answer waits for
    conversation: OpenConversation | None = None


class LiveConversations:
    """The latest conversations of a server, each for one request at a time. To be used in one event loop.

    The store counts: one that another process went on with is opened again, and so is one that a request left in a
    state that was not kept.

    Attributes:
        changed: is told the id of each conversation that a request changed.
    """

    def __init__(self, model: ChatModel, store: ConversationStore, most: int) -> None:
        self.changed: Callable[[str], None] = lambda id: None
        self.model, self.store, self.most = model, store, most
        self._places: OrderedDict[str, _Place] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    def is_busy(self, id: str) -> bool:
        """Whether a request has it now, or waits for it."""
        place = self._places.get(id)
        return place is not None and place.users > place.tidying

    @contextlib.asynccontextmanager
    async def opened(self, id: str, namespace: str | None = None) -> AsyncIterator[OpenConversation]:
        """A conversation of the store, for this block alone; others wait.

        Raises:
            NoSuchConversation: the namespace has none of this id.
            StoreUnavailable: the database cannot be read.
        """
        place = self._places.setdefault(id, _Place())
        self._places.move_to_end(id)
        place.users += 1
        try:
            async with place.lock:
                place.conversation = await to_thread.run_sync(self._current, id, namespace, place.conversation)
                opened = place.conversation
                opened.is_changed = False
                try:
                    yield opened
                except BaseException:
                    place.conversation = None  # what failed half-way is opened anew
                    raise
                finally:
                    if opened.is_changed or opened.is_stale:
                        self.changed(id)
        finally:
            place.users -= 1
            self._close_oldest()

    def begun(self, namespace: str, origin: str) -> OpenConversation:
        """A conversation that begins. It is in the store, and has an id, once it is recorded."""
        return OpenConversation(KeptConversation(self.store, origin, namespace), ChatSession(self.model))

    def keep_open(self, conversation: OpenConversation) -> None:
        """Keep one that has begun, and that nobody else can have had meanwhile."""
        self._places.setdefault(conversation.kept.id, _Place(conversation=conversation))
        self._close_oldest()

    async def remember(self, id: str) -> None:
        """Refresh the memory after a reply, so that no reply waits for it, and keep it.

        Where that fails, the next reply tries again.
        """
        place = self._places.setdefault(id, _Place())
        place.tidying += 1
        try:
            with contextlib.suppress(UserError):
                async with self.opened(id) as conversation:
                    await conversation.change(ChatSession.remember)
        finally:
            place.tidying -= 1

    async def delete(self, id: str, namespace: str | None = None) -> None:
        """Delete it from the store, once whoever has it is done; a reply that is being written ends.

        Raises NoSuchConversation, StoreUnavailable.
        """
        await to_thread.run_sync(self.store.info, id, namespace)
        place = self._places.setdefault(id, _Place())
        if place.conversation:
            place.conversation.session.cache.cancel.set()
        place.users += 1
        try:
            async with place.lock:
                place.conversation = None
                await to_thread.run_sync(self.store.delete, id)
        finally:
            self.changed(id)
            place.users -= 1
            self._close_oldest()

    def _current(self, id: str, namespace: str | None, before: OpenConversation | None) -> OpenConversation:
        info = self.store.info(id, namespace)
        if before and not before.is_stale and before.kept.head == info.head:
            return before
        kept = KeptConversation.open(self.store, id, namespace)
        return OpenConversation(kept, _session(kept, self.model))

    def _close_oldest(self) -> None:
        idle = [id for id, place in self._places.items() if not place.users]
        gone = [id for id in idle if self._places[id].conversation is None]
        for id in gone + idle[: max(len(self._places) - self.most, 0)]:
            self._places.pop(id, None)


def _session(kept: KeptConversation, model: ChatModel) -> ChatSession:
    """At the strategy and the budget that the conversation has, whichever of its branches it is at.

    A turn at its end that has no answer, as the server was killed over it, is the last of the session's turns.
    """
    session, unanswered = kept.open_session(model)
    session.clock = today
    if unanswered:
        session.turns.append(unanswered)
    if (strategy := kept.settings.get("strategy")) and strategy != session.strategy.name:
        session.switch_strategy(strategy)
    if (budget := kept.settings.get("budget")) is not None:
        session.switch_budget(budget)
    return session
