"""A turn and its answer in a kept conversation.

What is asked is in the store before it is answered, and what was said of the answer before anybody is told that it is
whole, also where the client went away. Where no answer comes, the conversation is as it was before.
"""

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import Request, Response
from starlette.responses import JSONResponse

from gistchat.chat.receipt import receipt
from gistchat.chat.session import ChatSession
from gistchat.chat.speakers import BOT, PERSON
from gistchat.dialogue.text_repair import clean_text
from gistchat.dialogue.turns import Turn
from gistchat.engines.sampling import Sampling
from gistchat.server.conversation_access import live_of, namespace, number_of
from gistchat.server.conversation_schemas import Answered, Drawn, Message, ToAnswer
from gistchat.server.errors import ApiError, as_api_error
from gistchat.server.generation import Work
from gistchat.server.live import OpenConversation
from gistchat.server.message_view import messages_of
from gistchat.server.settings import ServeSettings
from gistchat.server.shared import Shared, shared
from gistchat.server.streams import GONE, EventStream, event, first_of, while_connected

Event = dict[str, Any]


class NoAnswer(ApiError):
    """The model said nothing."""

    def __init__(self, notice: str) -> None:
        super().__init__(422, notice or "no answer came", code="no_answer")


@dataclass
class Ask(ABC):
    """What is to be answered.

    Attributes:
        drawn: how.
    """

    drawn: ToAnswer

    @abstractmethod
    def begin(self, conversation: OpenConversation, sampling: Sampling | None) -> Iterator[str]:
        """Bring what is asked to the store; then the pieces of the answer. Raises ApiError, UserError."""

    def give_up(self, conversation: OpenConversation) -> None:
        """There is no answer: the conversation is to be as it was before."""
        conversation.kept.record(conversation.session)


@dataclass
class Say(Ask):
    """Another turn."""

    text: str

    def begin(self, conversation: OpenConversation, sampling: Sampling | None) -> Iterator[str]:
        session = conversation.session
        conversation.kept.record(session, Turn(PERSON, clean_text(self.text), session.clock()))
        return session.reply(self.text, sampling)


@dataclass
class Regenerate(Ask):
    """The last turn once more."""

    def begin(self, conversation: OpenConversation, sampling: Sampling | None) -> Iterator[str]:
        if all(turn.speaker != PERSON for turn in conversation.session.turns):
            raise ApiError(400, "nothing was said yet", code="nothing_said")
        return conversation.session.regenerate(sampling)


@dataclass
class SayInstead(Ask):
    """Another text in the place of a person's turn; what followed stays in the branch before."""

    text: str
    key: str

    def begin(self, conversation: OpenConversation, sampling: Sampling | None) -> Iterator[str]:
        kept, session = conversation.kept, conversation.session
        number = number_of(kept, self.key)
        if session.turns[number - 1].speaker != PERSON:
            raise ApiError(
                400, f"turn {number} is the model's; regenerate answers anew", "answer", "not_a_persons_turn"
            )
        self._before = kept.head
        session.cut(number - 1)
        kept.record(session, Turn(PERSON, clean_text(self.text), session.clock()))
        return session.reply(self.text, sampling)

    def give_up(self, conversation: OpenConversation) -> None:
        conversation.kept.store.set_head(conversation.kept.id, self._before)


async def answered(request: Request, id: str, ask: Ask) -> Response:
    """The answer to a request: as it comes, where that is wanted, or when it is whole."""
    events = _events(request, id, ask)
    first = await first_of(events, request)
    if first is None:
        return Response(status_code=GONE)
    if ask.drawn.stream:
        return EventStream(_streamed(first, events))
    async with contextlib.aclosing(events), while_connected(request.receive):
        told = {item["type"]: item async for item in events}
        done = told["done"]
        answer = Answered(asked=done["asked"], answer=done["message"], notice=done["notice"])
        return JSONResponse(answer.model_dump(), 201)
    return Response(status_code=GONE)


async def _streamed(first: Event, events: AsyncGenerator[Event]) -> AsyncGenerator[bytes]:
    async with contextlib.aclosing(events):
        try:
            yield event(plain(first))
            async for item in events:
                yield event(plain(item))
        except Exception as error:
            yield event({"type": "error", **as_api_error(error).body()})


def plain(item: Event) -> Event:
    return {name: value.model_dump() if isinstance(value, Message) else value for name, value in item.items()}


async def _events(request: Request, id: str, ask: Ask) -> AsyncGenerator[Event]:
    server, live = shared(request), live_of(request)
    asked = False

    @contextlib.asynccontextmanager
    async def prepared() -> AsyncIterator[Work[Event]]:
        async with live.opened(id, namespace(request)) as conversation:
            yield partial(_write, server, conversation, ask)

    try:
        async with server.generation.reply(prepared()) as pieces:
            async for item in pieces:
                asked = True
                yield item
    finally:
        if asked:
            server.later(live.remember(id))


def _write(server: Shared, conversation: OpenConversation, ask: Ask, cancel: threading.Event) -> Iterator[Event]:
    """In a thread, to its end, whoever still listens."""
    kept, session = conversation.kept, conversation.session
    session.cache.cancel = cancel
    sampling = sampling_of(ask.drawn, session, server.settings)
    said, came = ask.begin(conversation, sampling), False
    last = session.turns[-1] if session.turns else None
    try:
        yield {"type": "asked", "message": latest_message(conversation, PERSON)}
        for text in said:
            yield {"type": "piece", "text": text}
    finally:
        came = bool(session.turns) and session.turns[-1].speaker == BOT and session.turns[-1] is not last
        if came:
            kept.record(session)
            kept.store.add_receipt(kept.id, kept.head, receipt(session))
        else:
            ask.give_up(conversation)
    if not came:
        raise NoAnswer(session.notice)
    asked, answer = latest_message(conversation, PERSON), latest_message(conversation, BOT)
    yield {"type": "done", "message": answer, "asked": asked, "notice": session.notice}


def latest_message(conversation: OpenConversation, speaker: str) -> Message:
    """The last message of a speaker, as it is in the store."""
    kept = conversation.kept
    place = max(number for number, turn in enumerate(kept.turns) if turn.speaker == speaker)
    [message] = messages_of(kept.store, kept.id, kept.store.messages(kept.id, [kept.keys[place]]))
    return message


def sampling_of(drawn: Drawn, session: ChatSession, settings: ServeSettings) -> Sampling | None:
    """How a request wants its answer drawn; None: as always, and another draw each time. Raises ApiError."""
    wanted = drawn.model_dump(include={"temperature", "max_tokens", "seed"}, exclude_none=True)
    if not wanted:
        return None
    if wanted.get("max_tokens", 0) > settings.reply_tokens:
        message = f"max_tokens: more than the {settings.reply_tokens:,} that this server writes"
        raise ApiError(400, message, "max_tokens", "invalid_value")
    usual = session.sampling()
    return replace(usual, **{"seed": usual.seed_of(session.draws + 1), **wanted})
