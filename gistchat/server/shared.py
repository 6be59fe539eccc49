"""What the requests of a server share."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request

from gistchat.chat.model import ChatModel
from gistchat.server.generation import Generation
from gistchat.server.live import LiveConversations
from gistchat.server.metrics import Metrics
from gistchat.server.proxy import Proxy
from gistchat.server.settings import ServeSettings
from gistchat.store.conversation_store import ConversationStore


class Shared:
    """Made once for an app.

    Attributes:
        model: who answers; None where only a backend does.
        store: the conversations.
        live: those of them that are open, to be seen and changed; None where there is neither model nor backend.
        proxy: takes chats to a backend; None where the model answers here.
        generation: the threads that write replies.
        begun: when it was made, in seconds since 1970.
        active: requests that are being answered.
        stopping: whether new ones are refused, as the server ends.
    """

    def __init__(self, settings: ServeSettings, model: ChatModel | None, store: ConversationStore) -> None:
        self.settings, self.model, self.store = settings, model, store
        self.metrics = Metrics()
        self.generation = Generation(settings.slots, settings.queue, settings.wait_seconds, settings.reply_seconds)
        self.active, self.stopping, self.begun = 0, False, int(time.time())
        self._tasks: set[asyncio.Task[Any]] = set()
        self.proxy = Proxy(settings, store, self.later) if settings.backend else None
        opening = model or (self.proxy.model if self.proxy else None)
        self.live = LiveConversations(opening, store, settings.open_conversations) if opening else None
        if self.live is not None and self.proxy:
            self.live.changed = self.proxy.memories.drop

    @property
    def idle(self) -> bool:
        """Whether nothing is left to be done."""
        return not self.active and not self._tasks

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Have something done that no answer waits for; the server does not end before it is done."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """End the threads."""
        self.generation.close()


def shared(request: Request) -> Shared:
    """Of the app that a request came to."""
    return request.app.state.shared
