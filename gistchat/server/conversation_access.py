"""Which conversation a request is about."""

from typing import Annotated

from anyio import to_thread
from fastapi import Path, Request

from gistchat.chat.kept import KeptConversation
from gistchat.server.live import LiveConversations
from gistchat.server.models import require_model
from gistchat.server.shared import shared
from gistchat.store.conversation_store import ConversationInfo, NoSuchMessage

ConversationId = Annotated[str, Path(max_length=200, description="as the list of conversations gives it")]
ReceiptId = Annotated[str, Path(max_length=200, description="as a message, or a header of its reply, gives it")]
MessageKey = Annotated[str, Path(max_length=200, description="as the list of messages gives it")]


def namespace(request: Request) -> str:
    """Of the key that asks."""
    return request.state.namespace


async def info_of(request: Request, id: str) -> ConversationInfo:
    """Raises NoSuchConversation: of this namespace."""
    return await to_thread.run_sync(shared(request).store.info, id, namespace(request))


def live_of(request: Request) -> LiveConversations:
    """The open conversations. Raises ApiError: the server has neither model nor backend, so nothing can be opened."""
    server = shared(request)
    if server.live is None:
        require_model(server, None)
    return server.live


def number_of(kept: KeptConversation, key: str) -> int:
    """Of a message in the line that the conversation is, from 1. Raises NoSuchMessage."""
    try:
        return kept.keys.index(key) + 1
    except ValueError:
        raise NoSuchMessage("no such message in the line that the conversation is at now") from None
