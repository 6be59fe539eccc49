"""Answers that take a while: they end when the client goes away, whether it listens to a stream or waits."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# Of a response that is a stream: what a schema says of each of its events.
EVENTS = {
    "text/event-stream": {
        "schema": {
            "type": "object",
            "required": ["data"],
            "properties": {"data": {"type": "string", "contentMediaType": "application/json"}},
        }
    }
}
GONE = 499  # the status of an answer that nobody waits for, as servers log it


def event(data: Any) -> bytes:
    """A server-sent event of a JSON value."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


@contextlib.asynccontextmanager
async def while_connected(receive: Receive) -> AsyncIterator[None]:
    """Cancel the block when the client goes away, which is no error: the code after the block runs then, too.

    To be entered when the body was read.
    """
    with anyio.CancelScope() as scope:
        watcher = asyncio.create_task(_watch(receive, scope))
        try:
            yield
        finally:
            watcher.cancel()


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def first_of(events: AsyncGenerator[Any], request: Request) -> Any:
    """The first of them, after which an answer can begin; None where the client goes away before it."""
    async with while_connected(request.receive):
        return await anext(events)
    return None


class EventStream(Response):
    """Server-sent events as they come. The generator is closed at once when the client goes away."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes], headers: dict[str, str] | None = None) -> None:
        self.events, self.status_code, self.background = events, 200, None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with contextlib.aclosing(self.events), while_connected(receive):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for data in self.events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
