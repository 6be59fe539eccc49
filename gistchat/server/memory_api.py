"""What the model remembers of a conversation: to see, to correct, to pin, and to search."""

from collections.abc import Callable
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request

from gistchat.chat.session import ChatSession
from gistchat.context.types import MOST
from gistchat.server.conversation_access import ConversationId, live_of, namespace
from gistchat.server.conversation_schemas import FoundMessage, FoundMessages, GistNumber, GistText, Memory, Pin
from gistchat.server.errors import ApiError, error_responses
from gistchat.server.live import OpenConversation
from gistchat.server.memory_view import line_numbers, memory_of, why_found

router = APIRouter(prefix="/conversations/{id}", tags=["memory"], responses=error_responses(404))

LineNumber = Annotated[int, Path(ge=1, le=MOST, description="as the memory numbers them")]
Asked = Annotated[str, Query(min_length=1, max_length=10_000)]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("/memory", response_model=Memory)
async def read(request: Request, id: ConversationId) -> dict[str, Any]:
    """What is remembered, where each line comes from, and what of the budget it takes."""
    async with live_of(request).opened(id, namespace(request)) as conversation:
        return await to_thread.run_sync(_memory, conversation)


@router.put("/gist", response_model=Memory)
async def write_gist(request: Request, id: ConversationId, body: GistText) -> dict[str, Any]:
    """Put a text in the place of the gist; it stays word for word, and later turns are summed up after it."""
    return await _changed(request, id, lambda session: session.edit_gist(body.text))


@router.delete("/gist/{number}", response_model=Memory)
async def drop_line(request: Request, id: ConversationId, number: LineNumber) -> dict[str, Any]:
    """Remove a line of the gist; a fact that it states stays away."""
    return await _changed(request, id, lambda session: session.drop_line(_own_number(session, number)))


@router.post("/gist/back", response_model=Memory)
async def gist_back(request: Request, id: ConversationId, body: GistNumber) -> dict[str, Any]:
    """Go back to an earlier gist; the turns after it are read word for word again."""

    def back(session: ChatSession) -> None:
        _require(body.number, len(session.versions()), "earlier gist", "number")
        session.back_to(body.number)
        session.remember()

    return await _changed(request, id, back)


@router.post("/pins", response_model=Memory)
async def pin(request: Request, id: ConversationId, body: Pin) -> dict[str, Any]:
    """Keep a text, or a line of the gist, word for word."""

    def keep(session: ChatSession) -> None:
        if body.line is None:
            session.pin(body.text)
        else:
            session.pin_line(_own_number(session, body.line))

    return await _changed(request, id, keep)


@router.delete("/pins/{number}", response_model=Memory)
async def unpin(request: Request, id: ConversationId, number: LineNumber) -> dict[str, Any]:
    """Pin a line no longer."""

    def let_go(session: ChatSession) -> None:
        _require(number, len(session.memory.pinned), "pinned line", "number")
        session.unpin(number)

    return await _changed(request, id, let_go)


@router.get("/search")
async def search(request: Request, id: ConversationId, q: Asked, limit: Limit = 50) -> FoundMessages:
    """The turns that match a text, best first, as the model's own memory finds them."""

    def find(conversation: OpenConversation) -> list[FoundMessage]:
        session, keys = conversation.session, conversation.kept.keys
        return [
            FoundMessage(
                number=found.number + 1,
                key=keys[found.number],
                speaker=found.turn.speaker,
                text=found.turn.text,
                why=why_found(session, found.words),
            )
            for found in session.search(q)[:limit]
        ]

    async with live_of(request).opened(id, namespace(request)) as conversation:
        return FoundMessages(found=await to_thread.run_sync(find, conversation))


async def _changed(request: Request, id: str, change: Callable[[ChatSession], Any]) -> dict[str, Any]:
    """The memory after a change, which is in the store."""
    async with live_of(request).opened(id, namespace(request)) as conversation:
        await conversation.change(change)
        return await to_thread.run_sync(_memory, conversation)


def _memory(conversation: OpenConversation) -> dict[str, Any]:
    return memory_of(conversation.session)


def _own_number(session: ChatSession, number: int) -> int:
    """The number that the session has for a line. Raises ApiError: there is no such line."""
    lines = list(line_numbers(session))
    _require(number, len(lines), "line of the gist", "line")
    own = dict.fromkeys([*session.gist_lines(), *session.next_gist_lines()])
    return list(own).index(lines[number - 1]) + 1


def _require(number: int, most: int, what: str, param: str) -> None:
    if number > most:
        raise ApiError(404, f"there is no {what} {number}; there are {most}", param, "not_found")
