"""Memory in front of another model: chats go on to the backend with what was remembered, and are kept.

Where no memory can be had in time, a request goes on as it came, and a header of the answer says so.
"""

import json
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gistchat.dialogue.turns import today
from gistchat.errors import UserError
from gistchat.server.backend import Backend, passed_back
from gistchat.server.chat_body import ChatBody
from gistchat.server.errors import ApiError, as_api_error
from gistchat.server.identity import HEADER, Identity, Placed, Transcript, Transcripts
from gistchat.server.memories import Memories, Recalled, memory_model
from gistchat.server.overheard import Overheard, text_of
from gistchat.server.remembered import Said, Sent, arrange, everything, listed, message_cost, read_message
from gistchat.server.settings import ServeSettings
from gistchat.server.streams import event, while_connected
from gistchat.store.conversation_store import ConversationStore

log = logging.getLogger("gistchat.server")
T = TypeVar("T")
Later = Callable[[Coroutine[Any, Any, None]], None]
ORIGIN = "proxy"
RECORD_SECONDS = 10.0  # for keeping an answer, whose end the client waits for
THREADS = 16
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass
class Plan:
    """What becomes of a chat.

    Attributes:
        body: that is sent on.
        id: of the conversation; empty while there is none.
        before, after: tokens of the messages as they came and as they are sent, estimated.
        receipt: gives what is sent, line by line; None where the list is not changed.
        problem: why there is no memory, in one line without anything that was said.
    """

    body: bytes
    namespace: str = ""
    chat: ChatBody | None = None
    transcript: Transcript | None = None
    placed: Placed | None = None
    id: str = ""
    before: int = 0
    after: int = 0
    receipt: Callable[[], dict[str, Any]] | None = None
    receipt_id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    problem: str = ""

    def headers(self) -> list[tuple[str, str]]:
        found = [(HEADER, self.id)] if self.id else []
        if self.placed:
            found += [("x-gistchat-tokens-before", str(self.before)), ("x-gistchat-tokens-after", str(self.after))]
        if self.id and self.receipt:
            found.append(("x-gistchat-receipt", f"/api/receipts/{self.receipt_id}"))
        if self.problem:
            found.append(("x-gistchat-error", self.problem.encode("ascii", "replace").decode()[:200]))
        return found


class Proxy:
    """Takes chats to the backend and back.

    Attributes:
        memories: of conversations; whoever changes one elsewhere has to `drop` it there.
    """

    def __init__(self, settings: ServeSettings, store: ConversationStore, later: Later) -> None:
        """
        Args:
            later: has something done that no answer waits for.

        Raises:
            UserError: the settings name no backend that can be, or no memory.
        """
        self.backend = Backend(settings.backend, settings.backend_key, settings.api_keys, settings.backend_seconds)
        self.later, self.store, self.model = later, store, memory_model(settings.memory)
        self.observe, self.memory_seconds = settings.observe, settings.memory_seconds
        self.memories = Memories(self.model, store, settings.open_conversations)
        self.transcripts = Transcripts(store.keys)
        self.identity = Identity(store, self.transcripts)
        self._threads: anyio.CapacityLimiter | None = None

    async def in_thread(self, seconds: float, work: Callable[..., T], *values: Any) -> T:
        """The result of work, which may go on in vain when its time is over.

        Raises TimeoutError, and whatever the work raises.
        """
        self._threads = self._threads or anyio.CapacityLimiter(THREADS)
        with anyio.fail_after(seconds):
            return await anyio.to_thread.run_sync(work, *values, abandon_on_cancel=True, limiter=self._threads)

    # ---- before the backend is asked

    async def plan(self, body: bytes, namespace: str, named: str | None) -> Plan:
        """What to send. Whatever fails, the request goes on as it came."""
        plans = [Plan(body, namespace)]  # the last one holds what is known

        def make() -> None:
            plans.append(self._read(plans[-1], named))
            if not self.observe:
                plans.append(self._remembered(plans[-1]))

        try:
            await self.in_thread(self.memory_seconds, make)
            return plans[-1]
        except TimeoutError:
            reason = f"not within {self.memory_seconds:g} s"
        except Exception as error:  # not even a defect of the memory is a reason not to answer
            reason = as_api_error(error).detail
        known = plans[min(len(plans), 2) - 1]  # a list that is changed too late is not sent
        return replace(known, problem=f"no memory, the request went on as it came: {reason}")

    def _read(self, plan: Plan, named: str | None) -> Plan:
        chat, transcript = self.transcripts.read(plan.body)
        read = replace(plan, chat=chat, transcript=transcript)
        tokens = sum(map(message_cost, _standing_texts(read))) + (transcript.path[-1].tokens if transcript.path else 0)
        placed = self.identity.place(transcript, plan.namespace, named)
        return replace(read, placed=placed, id=placed.id, before=tokens, after=tokens, problem=placed.problem)

    def _remembered(self, plan: Plan) -> Plan:
        """With what was remembered in place of what does not fit."""
        began = time.perf_counter()
        transcript, path = plan.transcript, plan.placed.path
        last, end = _asked(path)
        if last < 0:
            return plan
        recalled = self.memories.recall(plan.id, path[:last], path[last:end], plan.placed.kept)
        if recalled:
            sent = arrange(recalled.context, recalled.turns, last)
        elif len(path) > len(transcript.path):
            sent = everything(path, last)
        else:
            return plan
        messages = listed(plan.chat.messages, transcript.places, transcript.standing, path, sent)
        rest = path[-1].tokens - (path[last - 1].tokens if last else 0)
        return replace(
            plan,
            body=plan.chat.with_messages(messages),
            after=sum(map(message_cost, _standing_texts(plan))) + sent.tokens + rest,
            receipt=partial(self._receipt, plan, sent, recalled, messages, time.perf_counter() - began),
        )

    def _receipt(
        self, plan: Plan, sent: Sent, recalled: Recalled | None, messages: Sequence[str], seconds: float
    ) -> dict[str, Any]:
        chat, path, recipe = plan.chat, plan.placed.path, self.model.recipe
        model = chat.fields.get("model")
        return {
            "strategy": recipe.chat.strategy,
            "budget": recipe.context.budget,
            "tokens": sent.tokens,
            "model": model if isinstance(model, str) else "",
            "made": time.time(),
            "lines": [*_standing_lines(plan), *_lines(path, sent, recalled)],
            "prompt": _prompt(messages),
            "seconds": {"context": seconds},
            "not_sent": {
                "turns": sent.window,
                "reason": f"they do not fit the budget of {recipe.context.budget} tokens",
            },
            "notice": "",
        }

    # ---- when it has answered

    async def begin(self, plan: Plan) -> None:
        """Have a conversation to keep the answer in."""
        if plan.placed and not plan.id:
            try:
                settings = {"backend": self.backend.url}
                info = await self.in_thread(RECORD_SECONDS, self.store.create, ORIGIN, plan.namespace, "", settings)
                plan.id = info.id
            except TimeoutError:
                self._not_kept(plan, UserError(f"not within {RECORD_SECONDS:g} s"))
            except Exception as error:
                self._not_kept(plan, error)

    async def keep(self, plan: Plan, overheard: Overheard) -> None:
        """Keep what was asked and answered; when this returns, it is in the store for good, or the log says why not."""
        overheard.finish()
        if not plan.id:
            return
        if overheard.problem or not (answers := overheard.messages()):
            self._not_kept(plan, UserError(overheard.problem or "there was no answer"))
            return
        try:
            path = await self.in_thread(RECORD_SECONDS, self._keep, plan, answers)
            self.later(self._finish(plan, path, overheard))
        except TimeoutError:
            self._not_kept(plan, UserError(f"not within {RECORD_SECONDS:g} s"))
        except Exception as error:
            self._not_kept(plan, error)

    def _not_kept(self, plan: Plan, error: BaseException) -> None:
        reason = as_api_error(error).detail
        plan.problem = plan.problem or f"not kept: {reason}"
        log.warning("a chat was not kept: %s", reason)

    def _keep(self, plan: Plan, answers: Sequence[dict[str, Any]]) -> list[Said]:
        """Returns the transcript with the first answer."""
        path, kept = plan.placed.path, plan.placed.kept
        before = path[-1] if path else None
        said = []
        for answer in answers:
            turn, extra = read_message(answer, before)
            said.append(self.transcripts.after(before, turn._replace(date=today()), extra))
        parent = path[kept - 1].key if kept else ""
        for answer in reversed(said):  # the first one is what the conversation goes on with
            new = [*path[kept:], answer]
            self.store.append(plan.id, parent, [one.turn for one in new], [one.extra for one in new])
        return [*path, said[0]]

    async def _finish(self, plan: Plan, path: list[Said], overheard: Overheard) -> None:
        """What nobody waits for: the receipt, and to hear what was said before the next request does."""

        def work() -> None:
            if plan.receipt:
                ended = {"usage": overheard.usage(), "ended": overheard.finish_reason()}
                self.store.add_receipt(plan.id, path[-1].key, plan.receipt() | ended, plan.receipt_id)
            if not self.observe and "calls" not in path[-1].extra:
                self.memories.hear(plan.id, path)

        try:
            await anyio.to_thread.run_sync(work, limiter=self._threads)
        except Exception as error:  # the next request hears it
            log.warning("not heard yet: %s", as_api_error(error).detail)


def _prompt(messages: Sequence[str]) -> str:
    """Messages to be read by people, each under its role."""
    values = map(json.loads, messages)
    return "\n\n".join(f"[{value.get('role')}]\n{text_of(value.get('content'))}" for value in values)


def _asked(path: Sequence[Said]) -> tuple[int, int]:
    """Where the person's last messages begin and end; -1 where the person said nothing."""
    end = len(path)
    while end and not path[end - 1].by_person:
        end -= 1
    begin = end
    while begin and path[begin - 1].by_person:
        begin -= 1
    return (begin, end) if end else (-1, 0)


def _standing_texts(plan: Plan) -> list[str]:
    """Of messages that nobody of the conversation said."""
    messages = plan.chat.messages
    return [text_of(messages[place].value.get("content")) for place in plan.transcript.standing]


def _standing_lines(plan: Plan) -> list[dict[str, Any]]:
    why = "the caller's, always sent"
    return [_line("system", "system", text, [], message_cost(text), why) for text in _standing_texts(plan)]


def _lines(path: Sequence[Said], sent: Sent, recalled: Recalled | None) -> list[dict[str, Any]]:
    """Of the transcript, in the order in which they are sent."""
    notes = sent.notes

    def said(part: str, begin: int, end: int, why: str) -> list[dict[str, Any]]:
        numbered = enumerate(path[begin:end], begin + 1)
        return [
            _line(part, one.turn.speaker, one.turn.text, [number], message_cost(one.turn.text), why)
            for number, one in numbered
        ]

    remembered = []
    reasons = list(recalled.reasons) if recalled else []
    for place, line in enumerate((*notes.lines, *notes.found)):
        part, why = reasons[place] if place < len(reasons) else ("found", "the model's answer before the first message")
        sources = [turn + 1 for turn in line.sources or (line.turn,) if turn >= 0]
        remembered.append(_line(part, line.name or line.role, line.text, sources, message_cost(line.text), why))
    return [
        *said("verbatim", sent.window, sent.last, "one of the latest, word for word"),
        *remembered,
        *said("last", sent.last, len(path), "what is answered"),
    ]


def _line(part: str, speaker: str, text: str, turns: list[int], tokens: int, why: str) -> dict[str, Any]:
    return {"part": part, "speaker": speaker, "text": text, "turns": turns, "tokens": tokens, "why": why}


# ---- answers


class Relay(Response):
    """The backend's answer, as it comes; it ends when the client goes away."""

    def __init__(self, proxy: Proxy, request: Request, body: bytes, plan: Plan | None = None) -> None:
        self.proxy, self.request, self.body, self.plan = proxy, request, body, plan
        self.status_code, self.background = 200, None
        self._begun = self._kept = False
        self._overheard: Overheard | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        broken: ApiError | None = None
        try:
            async with while_connected(receive):
                try:
                    await self._pass(send)
                except ApiError as error:
                    broken = await self._tell(error, scope, receive, send)
        finally:
            if self._overheard and not self._kept and self._overheard.messages():  # the client went away
                self.proxy.later(self._keep())
        if broken:
            raise broken

    async def _pass(self, send: Send) -> None:
        url, headers = self.request.url, self.request.headers
        path = self.request.scope["path"].removeprefix("/v1")
        async with self.proxy.backend.ask(self.request.method, path, url.query, headers, self.body) as answer:
            listens = bool(self.plan and self.plan.placed and answer.status_code == 200)
            if listens:
                kind, encoding = (answer.headers.get(name, "") for name in ("content-type", "content-encoding"))
                self._overheard = Overheard(kind, encoding)
                await self.proxy.begin(self.plan)
            streams = not listens or self._overheard.streams
            held: bytes | None = None  # of a whole answer the last piece, until it is kept
            if streams:
                await self._begin(answer, send)
            async for data in answer.aiter_raw():
                if listens:
                    self._overheard.take(data)
                    if self._overheard.ended and not self._kept:
                        await self._keep()
                if streams:
                    await _send_piece(send, data)
                else:
                    await self._send_held(answer, send, held)
                    held = data
            if listens and not self._kept:
                await self._keep()
            await self._send_held(answer, send, held or b"")
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _keep(self) -> None:
        self._kept = True
        await self.proxy.keep(self.plan, self._overheard)

    async def _send_held(self, answer: Any, send: Send, held: bytes | None) -> None:
        if held is not None:
            if not self._begun:
                await self._begin(answer, send)
            if held:
                await _send_piece(send, held)

    async def _begin(self, answer: Any, send: Send) -> None:
        self._begun = True
        more = self.plan.headers() if self.plan else []
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in [*passed_back(answer), *more]]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})

    async def _tell(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> ApiError | None:
        """What went wrong: as an error, or in a stream that has begun as an event; what cannot be told comes back."""
        if not self._begun:
            await error.response()(scope, receive, send)
        elif self._overheard and self._overheard.streams:
            await _send_piece(send, event(error.body()))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            return error
        return None


async def _send_piece(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


def proxy_router(proxy: Proxy) -> APIRouter:
    """All addresses under /v1."""

    router = APIRouter()

    @router.post("/v1/chat/completions", include_in_schema=False)
    async def chat(request: Request) -> Response:
        """A chat, with memory."""
        body = await request.body()
        plan = await proxy.plan(body, request.state.namespace, request.headers.get(HEADER))
        return Relay(proxy, request, plan.body, plan)

    @router.api_route("/v1/{path:path}", methods=METHODS, include_in_schema=False)
    async def anything_else(request: Request) -> Response:
        """Goes to the backend as it is."""
        return Relay(proxy, request, await request.body())

    return router
