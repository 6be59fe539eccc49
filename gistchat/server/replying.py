"""A reply to a list of messages, in a thread: hear what is new, answer, keep what was said."""

import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from gistchat.chat.receipt import receipt
from gistchat.chat.session import ChatSession
from gistchat.chat.speakers import BOT
from gistchat.context.types import ASSISTANT, USER, Context, RoleTurn
from gistchat.engines.engine import stream_reply
from gistchat.engines.sampling import Sampling
from gistchat.server.chat_request import Asked, ChatRequest, sampling_of
from gistchat.server.continued import Continued
from gistchat.server.errors import ApiError
from gistchat.server.shared import Shared

CONVERSATION, RECEIPT = "x-gistchat-conversation", "x-gistchat-receipt"
TOKENS_BEFORE, TOKENS_AFTER = "x-gistchat-tokens-before", "x-gistchat-tokens-after"
LEAST_REPLY = 16  # tokens
FINISH_REASONS = {"end": "stop", "stop": "stop", "length": "length", "cancel": "length"}


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
        receipt: id of what was sent for the first choice, which is kept when that is whole.
        headers: of the answer; complete when the first item has come.
    """

    id: str
    created: int
    model: str
    prompt: int = 0
    cached: int = 0
    written: int = 0
    receipt: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    headers: dict[str, str] = field(default_factory=dict)

    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.written,
            "total_tokens": self.prompt + self.written,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


def write(
    server: Shared, heard: Continued, asked: Asked, body: ChatRequest, reply: Reply, cancel: threading.Event
) -> Iterator[Item]:
    """In a thread: bring the conversation to where the request is, answer, and keep what was said."""
    heard.follow(cancel)
    kept, session = heard.conversation.kept, heard.conversation.session
    session.preamble, session.cache.cancel = asked.preamble, cancel
    sampling = sampling_of(body, session.sampling(), server.settings)
    require_fit(session, asked, sampling)
    heard_turns, said = len(session.turns), session.reply(asked.text, sampling)
    first = next(said, "")
    if heard.is_kept and not kept.id:
        kept.record(session)  # has an id from now on
    reply.headers = _headers(reply, kept.id, session)
    yield Piece(0, first)
    for text in said:
        yield Piece(0, text)
    if heard.is_kept:
        kept.record(session)
        if len(session.turns) == heard_turns + 2:  # there was an answer
            server.store.add_receipt(kept.id, kept.head, receipt(session), reply.receipt)
    yield _ended(server, reply, session, 0)
    for number in range(1, body.n or 1):
        if cancel.is_set():
            return
        other = replace(sampling, seed=sampling.seed_of(number))
        for text in stream_reply(session.engine, session.context, other, session.cache):
            yield Piece(number, text)
        yield _ended(server, reply, session, number)


def _headers(reply: Reply, conversation: str, session: ChatSession) -> dict[str, str]:
    counts = {
        TOKENS_BEFORE: str(tokens_whole(session)),
        TOKENS_AFTER: str(session.engine.count_tokens(session.context)),
    }
    kept = {CONVERSATION: conversation, RECEIPT: f"/api/receipts/{reply.receipt}"} if conversation else {}
    return kept | counts


def tokens_whole(session: ChatSession) -> int:
    """Tokens that the prompt of the last reply would have had with all turns word for word."""
    alone = replace(session.context, lines=(), turns=(), found=())
    before = session.turns[: session.context.last.first]
    turns = [RoleTurn(ASSISTANT if turn.speaker == BOT else USER, turn.text, 0) for turn in before]
    return session.engine.count_tokens(alone) + sum(map(session.engine.costs.turn_cost, turns))


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
