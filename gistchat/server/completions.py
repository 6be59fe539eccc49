"""POST /v1/chat/completions, as OpenAI's clients call it. The whole conversation may be sent each time."""

import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.responses import JSONResponse

from gistchat.server.chat_request import Asked, ChatRequest, read_request
from gistchat.server.continued import Continued, continued, unkept
from gistchat.server.errors import as_api_error, error_responses
from gistchat.server.generation import Work
from gistchat.server.models import model_id, require_model
from gistchat.server.replying import CONVERSATION, Ended, Item, Piece, Reply, write
from gistchat.server.shared import Shared, shared
from gistchat.server.streams import EVENTS, GONE, EventStream, event, first_of, while_connected

router = APIRouter(prefix="/v1", tags=["openai"])


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]


class AnswerMessage(BaseModel):
    role: str = "assistant"
    content: str
    refusal: str | None = None


class Choice(BaseModel):
    index: int
    message: AnswerMessage
    finish_reason: str
    logprobs: None = None


class ChatCompletion(BaseModel):
    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


@router.post(
    "/chat/completions",
    response_model=ChatCompletion,
    responses={
        200: {"content": EVENTS},
        **error_responses(404, 429),
    },
)
async def chat_completions(request: Request, body: ChatRequest) -> Response:
    """Answer the last of the messages. Those before are condensed, however many they are."""
    server, begun = shared(request), time.perf_counter()
    reply = Reply(f"chatcmpl-{secrets.token_hex(12)}", int(time.time()), model_id(require_model(server, body.model)))
    asked = await to_thread.run_sync(read_request, body, server.settings)
    items = _items(server, _heard(request, asked, body), asked, body, reply)
    first = await first_of(items, request)
    if first is None:
        return Response(status_code=GONE)
    server.metrics.first_piece_seconds.observe(time.perf_counter() - begun)
    if body.stream:
        return EventStream(_events(first, items, reply, body), reply.headers)
    async with contextlib.aclosing(items), while_connected(request.receive):
        return _whole([first, *[item async for item in items]], reply)
    return Response(status_code=GONE)


def _heard(request: Request, asked: Asked, body: ChatRequest) -> AbstractAsyncContextManager[Continued]:
    server = shared(request)
    if body.store is False:
        return unkept(server, asked.before)
    named = request.headers.get(CONVERSATION, "")
    return continued(server, request.state.namespace, asked.before, asked.answered, named)


async def _items(
    server: Shared,
    heard: AbstractAsyncContextManager[Continued],
    asked: Asked,
    body: ChatRequest,
    reply: Reply,
) -> AsyncGenerator[Item]:
    """The replies as they come. Raises ApiError, UserError."""

    @contextlib.asynccontextmanager
    async def prepared() -> AsyncIterator[Work[Item]]:
        async with heard as conversation:
            yield partial(write, server, conversation, asked, body, reply)

    async with server.generation.reply(prepared()) as pieces:
        async for item in pieces:
            yield item
    if conversation := reply.headers.get(CONVERSATION):
        server.later(server.live.remember(conversation))


def _whole(items: list[Item], reply: Reply) -> Response:
    choices = [
        Choice(index=item.choice, message=AnswerMessage(content=_text(items, item.choice)), finish_reason=item.reason)
        for item in items
        if isinstance(item, Ended)
    ]
    completion = ChatCompletion(
        id=reply.id, created=reply.created, model=reply.model, choices=choices, usage=Usage(**reply.usage())
    )
    return JSONResponse(completion.model_dump(), headers=reply.headers)


def _text(items: list[Item], choice: int) -> str:
    return "".join(item.text for item in items if isinstance(item, Piece) and item.choice == choice)


async def _events(first: Item, items: AsyncGenerator[Item], reply: Reply, body: ChatRequest) -> AsyncGenerator[bytes]:
    """The replies as OpenAI streams them."""
    more = {"usage": None} if body.includes_usage else {}
    head = {"id": reply.id, "object": "chat.completion.chunk", "created": reply.created, "model": reply.model}
    begun = set()
    async with contextlib.aclosing(items):
        try:
            async for item in _after(first, items):
                if item.choice not in begun:
                    begun.add(item.choice)
                    yield event(head | {"choices": [_delta(item.choice, role="assistant", content="")]} | more)
                if isinstance(item, Ended):
                    yield event(head | {"choices": [_delta(item.choice, item.reason)]} | more)
                elif item.text:
                    yield event(head | {"choices": [_delta(item.choice, content=item.text)]} | more)
        except Exception as error:
            yield event(as_api_error(error).body())
            return
    if body.includes_usage:
        yield event(head | {"choices": [], "usage": reply.usage()})
    yield b"data: [DONE]\n\n"


async def _after(first: Item, items: AsyncGenerator[Item]) -> AsyncGenerator[Item]:
    yield first
    async for item in items:
        yield item


def _delta(choice: int, reason: str | None = None, **delta: str) -> dict[str, Any]:
    return {"index": choice, "delta": delta, "logprobs": None, "finish_reason": reason}
