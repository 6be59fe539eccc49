"""The conversations API: here the conversations themselves, and the router of all subjects."""

import re
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from gistchat import __version__
from gistchat.chat.session import ChatSession
from gistchat.chat.stored_dialogue import stored_dialogue
from gistchat.dialogue.text_repair import clean_line, clean_text
from gistchat.dialogue.turns import Turn
from gistchat.server import compare_api, memory_api, messages_api, receipts_api
from gistchat.server.conversation_access import ConversationId, info_of, live_of, namespace
from gistchat.server.conversation_schemas import (
    CHAT_STRATEGIES,
    ChangedConversation,
    Conversation,
    Conversations,
    Info,
    NewConversation,
)
from gistchat.server.errors import ApiError, error_responses
from gistchat.server.shared import Shared, shared
from gistchat.store.conversation_store import ConversationInfo

router = APIRouter(prefix="/api")
NOT_FOUND = error_responses(404)

Search = Annotated[str, Query(max_length=1000, description="only those whose title or messages hold this")]
Limit = Annotated[int, Query(ge=1, le=200)]
Before = Annotated[str | None, Query(max_length=200, description="`next` of the request before")]


@router.get("/info", tags=["server"])
async def info(request: Request) -> Info:
    """What this server is, for pages and programs before they have a key."""
    server = shared(request)
    model = server.model
    return Info(
        version=__version__,
        model=model.name if model else "",
        strategy=model.recipe.chat.strategy if model else "",
        strategies=list(CHAT_STRATEGIES),
        budget=model.recipe.context.budget if model else 0,
        limit=model.engine.limit if model else 0,
        backend=bool(server.settings.backend),
        needs_key=bool(server.settings.api_keys),
    )


@router.get("/conversations", tags=["conversations"])
def list_conversations(
    request: Request, search: Search = "", limit: Limit = 50, before: Before = None
) -> Conversations:
    """The conversations of the key that asks, latest first."""
    server = shared(request)
    place = _read_cursor(before) if before else None
    infos = server.store.list(namespace(request), limit + 1, place, clean_line(search))
    last = infos[limit - 1] if len(infos) > limit else None
    return Conversations(
        conversations=[conversation_of(server, info) for info in infos[:limit]],
        next=f"{last.updated!r}_{last.id}" if last else None,
    )


def _read_cursor(text: str) -> tuple[float, str]:
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)_([\w-]{1,100})", text, re.ASCII)
    if not match:
        raise ApiError(400, "before: not a `next` of this server", "before", "invalid_cursor")
    return float(match[1]), match[2]


def conversation_of(server: Shared, info: ConversationInfo) -> Conversation:
    model = server.model
    return Conversation(
        id=info.id,
        title=info.title,
        created=info.created,
        updated=info.updated,
        messages=info.messages,
        origin=info.origin,
        strategy=info.settings.get("strategy") or (model.recipe.chat.strategy if model else ""),
        budget=info.settings.get("budget", model.recipe.context.budget if model else None),
    )


@router.post("/conversations", status_code=201, tags=["conversations"], responses=NOT_FOUND)
async def begin(request: Request, body: NewConversation) -> Conversation:
    """Begin a conversation, with turns that were said elsewhere or none; its memory is made of these."""
    server, settings = shared(request), body.model_dump(include={"strategy", "budget"}, exclude_none=True)
    origin = "page" if request.headers.get("sec-fetch-site") == "same-origin" else "api"
    made = await to_thread.run_sync(server.store.create, origin, namespace(request), body.title, settings)
    if body.turns:
        turns = [Turn(turn.speaker, clean_text(turn.text)) for turn in body.turns]
        async with live_of(request).opened(made.id, namespace(request)) as conversation:
            await conversation.change(lambda session: session.hear(turns))
    return conversation_of(server, await info_of(request, made.id))


@router.get("/conversations/{id}", tags=["conversations"], responses=NOT_FOUND)
async def read(request: Request, id: ConversationId) -> Conversation:
    return conversation_of(shared(request), await info_of(request, id))


@router.patch("/conversations/{id}", tags=["conversations"], responses=NOT_FOUND)
async def change(request: Request, id: ConversationId, body: ChangedConversation) -> Conversation:
    """Another title, or another strategy or budget from the next reply on."""
    server = shared(request)
    await info_of(request, id)
    if body.title is not None:
        await to_thread.run_sync(server.store.rename, id, body.title)
    if body.strategy is not None or body.budget is not None:
        async with live_of(request).opened(id, namespace(request)) as conversation:
            await conversation.change(lambda session: _switch(session, body))
    return conversation_of(server, await info_of(request, id))


def _switch(session: ChatSession, body: ChangedConversation) -> None:
    if body.strategy is not None:
        session.switch_strategy(body.strategy)
    if body.budget is not None:
        session.switch_budget(body.budget)
    session.remember()


@router.delete("/conversations/{id}", status_code=204, tags=["conversations"], responses=NOT_FOUND)
async def delete(request: Request, id: ConversationId) -> Response:
    """Gone for good, with memory, receipts and ratings. A reply that is being written ends."""
    server = shared(request)
    if server.live:
        await server.live.delete(id, namespace(request))
    else:
        await info_of(request, id)
        await to_thread.run_sync(server.store.delete, id)
    return Response(status_code=204)


@router.get(
    "/conversations/{id}/export",
    tags=["conversations"],
    response_class=Response,
    responses={
        200: {"content": {"application/jsonl": {"schema": {"type": "string"}}}, "description": "one line"},
        **NOT_FOUND,
    },
)
async def export(request: Request, id: ConversationId) -> Response:
    """The conversation as a line of JSONL, as `gistchat prepare` and `gistchat chat --load` read it."""
    store, info = shared(request).store, await info_of(request, id)
    if not info.messages:
        raise ApiError(400, "nothing was said in this conversation yet", code="empty_conversation")
    line = await to_thread.run_sync(lambda: stored_dialogue(store, info).to_line())
    headers = {"Content-Disposition": f'attachment; filename="conversation-{id}.jsonl"'}
    return Response(line, media_type="application/jsonl", headers=headers)


for part in (messages_api, memory_api, compare_api, receipts_api):
    router.include_router(part.router)
