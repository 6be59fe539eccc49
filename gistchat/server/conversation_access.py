"""Which conversation a request is about."""

from typing import Annotated

from anyio import to_thread
from fastapi import Path, Request

from gistchat.server.shared import shared
from gistchat.store.conversation_store import ConversationInfo

ConversationId = Annotated[str, Path(max_length=200, description="as the list of conversations gives it")]
ReceiptId = Annotated[str, Path(max_length=200, description="as a message, or a header of its reply, gives it")]
MessageKey = Annotated[str, Path(max_length=200, description="as the list of messages gives it")]


def namespace(request: Request) -> str:
    """Of the key that asks."""
    return request.state.namespace


async def info_of(request: Request, id: str) -> ConversationInfo:
    """Raises NoSuchConversation: of this namespace."""
    return await to_thread.run_sync(shared(request).store.info, id, namespace(request))
