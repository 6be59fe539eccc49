"""The same turn answered in two ways, side by side; nothing is kept until one answer is chosen."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
from anyio import to_thread
from fastapi import APIRouter, Request, Response

from gistchat.chat.receipt import receipt
from gistchat.chat.session import ChatSession
from gistchat.chat.speakers import BOT, PERSON
from gistchat.dialogue.text_repair import clean_text
from gistchat.dialogue.turns import Turn
from gistchat.server.conversation_access import ConversationId, live_of, namespace
from gistchat.server.conversation_schemas import Answered, Choice, Comparison, Side
from gistchat.server.errors import as_api_error, error_responses
from gistchat.server.generation import Work
from gistchat.server.live import OpenConversation
from gistchat.server.models import require_model
from gistchat.server.shared import Shared, shared
from gistchat.server.streams import EVENTS, GONE, EventStream, event, first_of
from gistchat.server.turns import latest_message, sampling_of

router = APIRouter(prefix="/conversations/{id}", tags=["compare"], responses=error_responses(404))
DESCRIPTION = (
    "Server-sent events: `piece` with `side` (0 or 1) and `text` as often as it takes, `done` with `side`, `text` and "
    "`receipt` for each, or `error`."
)
STREAM = {"description": DESCRIPTION, "content": EVENTS}

Event = dict[str, Any]


@router.post(
    "/compare",
    response_class=Response,
    description=DESCRIPTION,
    responses={200: STREAM, **error_responses(429)},
)
async def compare(request: Request, id: ConversationId, body: Comparison) -> Response:
    """Answer a turn by two strategies."""
    server = shared(request)
    for side in body.sides:
        require_model(server, side.model)
    async with live_of(request).opened(id, namespace(request)) as conversation:
        original = await to_thread.run_sync(_Original.of, conversation)
    works = [partial(_write, server, original, body, number) for number in range(len(body.sides))]
    events = _events(server, works)
    first = await first_of(events, request)
    if first is None:
        return Response(status_code=GONE)
    return EventStream(_streamed(first, events))


@dataclass
class _Original:
    """The conversation as it was when the comparison began."""

    conversation: OpenConversation
    values: dict[str, Any]
    strategy: str
    budget: int

    @classmethod
    def of(cls, conversation: OpenConversation) -> "_Original":
        session = conversation.session
        return cls(conversation, session.to_dict(), session.strategy.name, session.recipe.context.budget)

    def copy(self, side: Side) -> ChatSession:
        session = ChatSession.from_dict(self.conversation.session.model, self.values)
        session.clock = self.conversation.session.clock
        session.switch_budget(self.budget)
        session.switch_strategy(side.strategy or self.strategy)
        return session


def _write(
    server: Shared, original: _Original, body: Comparison, side: int, cancel: threading.Event
) -> Iterator[Event]:
    """In a thread: one of the answers."""
    session = original.copy(body.sides[side])
    session.cache.cancel = cancel
    text = session.take_back().text if body.text is None else body.text
    before = len(session.turns)
    for piece in session.reply(text, sampling_of(body, session, server.settings)):
        yield {"type": "piece", "side": side, "text": piece}
    answer = session.turns[-1].text if len(session.turns) > before else ""
    sent = receipt(session)
    original.conversation.compared[answer] = sent
    yield {"type": "done", "side": side, "text": answer, "receipt": sent}


async def _events(server: Shared, works: list[Work[Event]]) -> AsyncGenerator[Event]:
    """Of all answers, as they come."""
    items: asyncio.Queue[Event | Exception | None] = asyncio.Queue()
    tasks = [asyncio.create_task(_put(server, work, items)) for work in works]
    going_on = len(tasks)
    try:
        while going_on:
            item = await items.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                going_on -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        with anyio.CancelScope(shield=True):  # their threads end first
            await asyncio.gather(*tasks, return_exceptions=True)


async def _put(server: Shared, work: Work[Event], items: asyncio.Queue[Event | Exception | None]) -> None:
    try:
        async with server.generation.reply(_as_it_is(work)) as pieces:
            async for item in pieces:
                items.put_nowait(item)
        items.put_nowait(None)
    except Exception as error:
        items.put_nowait(error)


@contextlib.asynccontextmanager
async def _as_it_is(work: Work[Event]) -> AsyncIterator[Work[Event]]:
    yield work


async def _streamed(first: Event, events: AsyncGenerator[Event]) -> AsyncGenerator[bytes]:
    async with contextlib.aclosing(events):
        try:
            yield event(first)
            async for item in events:
                yield event(item)
        except Exception as error:
            yield event({"type": "error", **as_api_error(error).body()})


@router.post("/choose", status_code=201)
async def choose(request: Request, id: ConversationId, body: Choice) -> Answered:
    """Go on with one of two answers; the other stays as another version, and which was better as ratings of both."""
    live = live_of(request)
    async with live.opened(id, namespace(request)) as conversation:
        return await to_thread.run_sync(_choose, conversation, body)


def _choose(conversation: OpenConversation, body: Choice) -> Answered:
    kept, session = conversation.kept, conversation.session
    asked = session.take_back() if body.text is None else Turn(PERSON, clean_text(body.text), session.clock())
    answer, other = clean_text(body.answer), clean_text(body.other or "")
    note = json.dumps(body.model_dump(include={"chosen", "rejected"}, exclude_none=True))
    session.hear([asked])
    kept.record(session)
    if other and other != answer:
        [rejected] = kept.store.append(kept.id, kept.head, [Turn(BOT, other, asked.date)])
        kept.store.rate(kept.id, rejected.key, -1, note)
    session.hear([Turn(BOT, answer, asked.date)])
    kept.record(session)
    kept.store.rate(kept.id, kept.head, 1, note)
    if sent := conversation.compared.get(answer):
        kept.store.add_receipt(kept.id, kept.head, sent)
    conversation.compared.clear()
    messages = [latest_message(conversation, speaker) for speaker in (PERSON, BOT)]
    return Answered(asked=messages[0], answer=messages[1], notice=session.notice)
