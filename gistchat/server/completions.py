"""POST /v1/chat/completions, as OpenAI's clients call it. The whole conversation may be sent each time."""

import contextlib
import secrets
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.responses import JSONResponse

from gistchat.chat.session import ChatSession
from gistchat.context.types import USER, Context, RoleTurn
from gistchat.engines.engine import stream_reply
from gistchat.engines.sampling import Sampling
from gistchat.server.chat_request import Asked, ChatRequest, read_request, sampling_of
from gistchat.server.continued import Continued, continued
from gistchat.server.errors import ApiError, as_api_error, error_responses
from gistchat.server.generation import Work
from gistchat.server.models import model_id, require_model
from gistchat.server.shared import Shared, shared
from gistchat.server.streams import GONE, EventStream, event, first_of, while_connected

router = APIRouter(prefix="/v1", tags=["openai"])
CONVERSATION = "x-gistchat-conversation"
LEAST_REPLY = 16  # tokens
FINISH_REASONS = {"end": "stop", "stop": "stop", "length": "length", "cancel": "length"}


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


class Piece(NamedTuple):
    """Of the text of a choice."""

    choice: int
    text: str


class Ended(NamedTuple):
    """A choice is whole, and in the store."""

    choice: int
    reason: str


Item = Piece | Ended


@dataclass
class Reply:
    """What is known of the replies to a request as they come.

    Attributes:
        prompt, cached, written: tokens.
        headers: of the answer; complete when the first item has come.
    """

    id: str
    created: int
    model: str
    prompt: int = 0
    cached: int = 0
    written: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.written,
            "total_tokens": self.prompt + self.written,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


@router.post(
    "/chat/completions",
    response_model=ChatCompletion,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **error_responses(400, 401, 403, 404, 408, 413, 429, 500, 503),
    },
)
async def chat_completions(request: Request, body: ChatRequest) -> Response:
    """Answer the last of the messages. Those before are condensed, however many they are."""
    server, begun = shared(request), time.perf_counter()
    reply = Reply(f"chatcmpl-{secrets.token_hex(12)}", int(time.time()), model_id(require_model(server, body.model)))
    asked = await to_thread.run_sync(read_request, body, server.settings)
    items = _items(server, _continued(request, asked), asked, body, reply)
    first = await first_of(items, request)
    if first is None:
        return Response(status_code=GONE)
    server.metrics.first_piece_seconds.observe(time.perf_counter() - begun)
    if body.stream:
        return EventStream(_events(first, items, reply, body), reply.headers)
    async with contextlib.aclosing(items), while_connected(request.receive):
        return _whole([first, *[item async for item in items]], reply)
    return Response(status_code=GONE)


def _continued(request: Request, asked: Asked) -> AbstractAsyncContextManager[Continued]:
    server, namespace = shared(request), request.state.namespace
    return continued(server, namespace, asked.before, asked.answered)


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
            yield partial(_write, server, conversation, asked, body, reply)

    async with server.generation.reply(prepared()) as pieces:
        async for item in pieces:
            yield item
    server.later(server.live.remember(reply.headers[CONVERSATION]))


def _write(
    server: Shared, heard: Continued, asked: Asked, body: ChatRequest, reply: Reply, cancel: threading.Event
) -> Iterator[Item]:
    """In a thread: bring the conversation to where the request is, answer, and keep what was said."""
    heard.follow(cancel)
    kept, session = heard.conversation.kept, heard.conversation.session
    session.preamble, session.cache.cancel = asked.preamble, cancel
    sampling = sampling_of(body, session.sampling(), server.settings)
    require_fit(session, asked, sampling)
    said = session.reply(asked.text, sampling)
    first = next(said, "")
    if not kept.id:
        kept.record(session)  # has an id from now on
    reply.headers = _headers(heard, session)
    yield Piece(0, first)
    for text in said:
        yield Piece(0, text)
    kept.record(session)
    yield _ended(server, reply, session, 0)
    for number in range(1, body.n or 1):
        if cancel.is_set():
            return
        other = replace(sampling, seed=sampling.seed_of(number))
        for text in stream_reply(session.engine, session.context, other, session.cache):
            yield Piece(number, text)
        yield _ended(server, reply, session, number)


def _headers(heard: Continued, session: ChatSession) -> dict[str, str]:
    return {CONVERSATION: heard.conversation.kept.id}


def _ended(server: Shared, reply: Reply, session: ChatSession, choice: int) -> Ended:
    cache = session.cache
    if choice == 0:
        reply.prompt, reply.cached = cache.prompt, max(cache.prompt - cache.prefilled, 0)
    reply.written += cache.written
    server.metrics.note_tokens(cache.prompt, cache.prompt - cache.prefilled, cache.written)
    server.metrics.replies.labels(cache.ended or "failed").inc()
    return Ended(choice, FINISH_REASONS.get(cache.ended, "stop"))


def require_fit(session: ChatSession, asked: Asked, sampling: Sampling) -> None:
    """Raises ApiError where the model cannot take even the last message alone."""
    limit, most = session.engine.limit, sampling.max_tokens
    alone = Context((), (), RoleTurn(USER, asked.text, len(asked.before)), 0, 0, preamble=asked.preamble)
    needed = session.engine.count_tokens(alone)
    if needed + most <= limit:
        return
    [last, preamble] = session.engine.count([asked.text, asked.preamble])
    param = "messages" if needed + min(most, LEAST_REPLY) > limit else "max_tokens"
    raise ApiError(
        400,
        f"the model holds {limit:,} tokens; the last message ({last:,}), the system message ({preamble:,}), what "
        f"stands around them ({needed - last - preamble:,}) and a reply of up to {most:,} are {needed + most:,}",
        param,
        "context_length_exceeded",
    )


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
