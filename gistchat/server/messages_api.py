"""What was said: to read, to say more, to have answered again, to edit, to forget; branches and ratings."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from gistchat.chat.session import ChatSession
from gistchat.context.types import MOST
from gistchat.server.conversation_access import ConversationId, MessageKey, info_of, live_of, namespace, number_of
from gistchat.server.conversation_schemas import (
    Answered,
    Edit,
    Edited,
    Head,
    Messages,
    Rated,
    Rating,
    Said,
    ToAnswer,
    Undone,
)
from gistchat.server.errors import error_responses
from gistchat.server.message_view import messages_of
from gistchat.server.shared import shared
from gistchat.server.streams import EVENTS
from gistchat.server.turns import Regenerate, Say, SayInstead, answered

router = APIRouter(prefix="/conversations/{id}", tags=["messages"], responses=error_responses(404))

First = Annotated[int, Query(ge=-MOST, le=MOST, description="number of the first one, from 1; below 0: from the end")]
Limit = Annotated[int, Query(ge=1, le=1000)]
DESCRIPTION = (
    "With `stream`, server-sent events: `asked` with the person's message, `piece` with `text` as often as it takes, "
    "then `done` with `message`, `asked` and `notice`, or `error`."
)
STREAM = {"description": DESCRIPTION, "content": EVENTS}
ANSWERS = {200: STREAM, 201: {"model": Answered}, **error_responses(422, 429)}


@router.get("/messages")
def read(request: Request, id: ConversationId, first: First = 1, limit: Limit = 200) -> Messages:
    """The messages of the line that the conversation is at now, each with the keys of its other versions."""
    store = shared(request).store
    store.info(id, namespace(request))
    path = store.path(id)
    start = min(first - 1 if first > 0 else max(0, len(path) + first), len(path))
    part = path[start : start + limit]
    return Messages(total=len(path), first=start + 1, messages=messages_of(store, id, part))


@router.post("/messages", status_code=201, response_model=Answered, responses=ANSWERS, description=DESCRIPTION)
async def say(request: Request, id: ConversationId, body: Said) -> Response:
    """Say something, and have it answered."""
    return await answered(request, id, Say(body, body.text))


@router.post("/regenerate", status_code=201, response_model=Answered, responses=ANSWERS, description=DESCRIPTION)
async def regenerate(request: Request, id: ConversationId, body: ToAnswer) -> Response:
    """Have the last turn answered once more; the answer before stays as another version."""
    return await answered(request, id, Regenerate(body))


@router.patch(
    "/messages/{key}",
    response_model=Edited,
    responses={201: {"model": Answered}, 200: {"content": EVENTS}, **error_responses(422, 429)},
)
async def edit(request: Request, id: ConversationId, key: MessageKey, body: Edit) -> Response | Edited:
    """Put another text in the place of a message; the one before stays as another version.

    What followed follows the new one, too. With `answer`, a person's turn is answered anew instead, with the answers
    of `POST .../messages`; what followed stays with the text before.
    """
    if body.answer:
        return await answered(request, id, SayInstead(body, body.text, key))
    async with live_of(request).opened(id, namespace(request)) as conversation:
        kept, number = conversation.kept, number_of(conversation.kept, key)
        before = list(kept.keys)
        await conversation.change(lambda session: session.edit_turn(number, body.text))
        copies = {old: new for old, new in zip(before[number:], kept.keys[number:], strict=True) if old != new}
        await to_thread.run_sync(kept.store.copy_beside, id, copies)
        return Edited(key=kept.keys[number - 1], total=len(kept.keys))


@router.delete("/messages/{key}", status_code=204)
async def forget(request: Request, id: ConversationId, key: MessageKey) -> Response:
    """Take the text of a message out for good: here, in its copies, the search, the memory and the receipts."""
    server = shared(request)
    if not server.live:
        await info_of(request, id)
        await to_thread.run_sync(server.store.forget, id, key)
        return Response(status_code=204)
    async with server.live.opened(id, namespace(request)) as conversation:
        if key in conversation.kept.keys:
            number = number_of(conversation.kept, key)
            await conversation.change(lambda session: session.forget(number))
            conversation.compared.clear()
        else:  # of another branch; a copy of it may be in this one
            await to_thread.run_sync(conversation.kept.store.forget, id, key)
            conversation.is_stale = True
    return Response(status_code=204)


@router.post("/head")
async def head(request: Request, id: ConversationId, body: Head) -> Edited:
    """Go on with the line that a message is in, where that was left last, and with the memory that it had."""
    async with live_of(request).opened(id, namespace(request)) as conversation:
        kept = conversation.kept

        def switch() -> Edited:
            leaf = kept.store.leaf_below(id, body.key)
            kept.store.set_head(id, leaf)
            return Edited(key=leaf, total=kept.store.info(id).messages)

        return await to_thread.run_sync(switch)  # the next request opens the conversation anew, as its head moved


@router.post("/undo")
async def undo(request: Request, id: ConversationId) -> Undone:
    """Take the person's last turn and its answer back; both stay as another version."""
    async with live_of(request).opened(id, namespace(request)) as conversation:
        asked = await conversation.change(ChatSession.take_back)
        return Undone(text=asked.text, total=len(conversation.kept.keys))


@router.post("/messages/{key}/rating")
async def rate(request: Request, id: ConversationId, key: MessageKey, body: Rating) -> Rated:
    """Rate a message; 0 takes the rating back."""
    await info_of(request, id)
    await to_thread.run_sync(shared(request).store.rate, id, key, body.value, body.note)
    return Rated(key=key, value=body.value, note=body.note)
