"""A client of OpenAI-compatible servers: models behind it write summaries, judge replies and answer in a chat.

Servers are not trusted: which of them may be called at all, and gets the key, is decided in `gistchat.trusted_hosts`.
An answer has limits of time and size, and is checked in `openai_answer`.
"""

import asyncio
import contextlib
import functools
import itertools
import json
import os
import queue
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar

from gistchat import trusted_hosts
from gistchat.engines.openai_answer import NoText, answer_text, error_message, in_words, seconds_to_wait
from gistchat.engines.openai_stream import STREAM_BYTES, Delta, TooLong, limited, read_chunk, read_usage
from gistchat.errors import UserError, first_line
from gistchat.printable import printable
from gistchat.progress import say, say_once
from gistchat.trusted_hosts import KEY_VARIABLE

CANCEL_POLL = 0.05  # seconds
TIMEOUT = 120.0  # seconds for a whole answer, however its bytes come
MOST_BYTES = 2**20  # of an answer; one that thinks aloud has a tenth of it
# Of a streamed answer. A slow processor reads 4,000 tokens in three or four minutes, and may load the model before.
FIRST_PIECE = 300.0  # seconds until the model says or thinks something
NEXT_PIECE = 60.0  # seconds until it goes on; one token takes a large model on a slow processor a few
AFTER_END = 2.0  # seconds for what comes after its last word, which is how many tokens it were
LOOK_UP = 10.0  # seconds for what a server knows without its model
RETRIES = 4  # where a server cannot be reached, has too much to do, or fails
FIRST_WAIT = 0.5  # seconds before the first retry, and twice as long before each further one, where no server says
LONGEST_WAIT = 120.0  # that a server can ask for
SAID_WAIT = 2.0  # a longer one is said
RETRIED = (408, 409, 429)  # statuses, and all of 500 and above
# What else the package adds from the environment (key, organisation, headers of the user's own) is for trusted hosts.
HEADERS_FOR_ALL = ("host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent")
PACKAGES_OWN = "x-stainless-"  # prefix of headers by which the package tells its kinds of requests apart
BODY = "gistchat.body"  # where a response keeps what was read of it

Result = TypeVar("Result")
Messages = Sequence[dict[str, str]]


class Ask(Protocol):
    """What is asked for, which can be put in another way where a server does not take it."""

    def fields(self) -> dict[str, Any]:
        """The request's fields, but for `stream`."""

    def adapt(self, status: int, body: str) -> bool:
        """Whether `fields` are others now, as the server refused the last ones with this."""


class LookedUp(NamedTuple):
    """What a server answered, whatever it is."""

    status: int
    body: bytes

    @property
    def values(self) -> Any:
        """Its JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class Rejected(UserError):
    """A server does not take a request as it is."""

    def __init__(self, text: str, status: int = 0, body: str = "") -> None:
        super().__init__(text)
        self.status, self.body = status, body


class ChatClient:
    """Asks the model of one server. The key comes from the environment variable OPENAI_API_KEY."""

    def __init__(self, url: str, model: str, what: str = "answers") -> None:
        """
        Args:
            what: the server is to write, for the question whether it may.

        Raises:
            UserError: no address, a server that the user did not name or confirm, or package openai is missing.
        """
        self.server = trusted_hosts.allow(url, what)
        import openai  # takes a fifth of a second, which a chat with a model of its own need not wait for

        self.openai = openai
        self.url, self.model = self.server.url, model
        self._paused_until = 0.0
        self._loop = _event_loop()
        self._sent_key = (self.server.gets_key and _key()) or "none"  # the package insists on one

    def _http_client(self, seconds: float, receive: Callable[[Any], Awaitable[None]]) -> Any:
        """A client in which `receive` reads what comes."""
        # Redirects are not followed, as they may lead to another server. What is sent to a server on this machine stays
        # here, so it passes no proxy.
        return self.openai.DefaultAsyncHttpxClient(
            timeout=seconds,
            follow_redirects=False,
            trust_env=not self.server.is_local,
            event_hooks={"request": [self._strip], "response": [receive]},
        )

    def _open(self, http_client: Any) -> Any:
        return self.openai.AsyncOpenAI(
            base_url=self.url,
            api_key=self._sent_key,
            max_retries=0,  # they are made here, as the waiting is to be said
            default_headers={"Accept-Encoding": "identity"},  # what is unpacked could be a thousand times as large
            http_client=http_client,
        )

    @functools.cached_property
    def client(self) -> Any:
        """The package's client, for whole answers."""
        return self._open(self._http_client(TIMEOUT, functools.partial(_receive, MOST_BYTES)))

    @functools.cached_property
    def _http(self) -> Any:
        """For streams, and for what is no part of the API."""
        return self._http_client(FIRST_PIECE, _receive_stream)

    @functools.cached_property
    def _streamer(self) -> Any:
        return self._open(self._http)

    def ask(self, messages: Messages, max_tokens: int, seed: int | None = None) -> str:
        """The answer to a chat's messages, at temperature 0.

        Raises:
            NoText: a proper answer in which nothing is said.
            UserError: no answer, or none of a chat server.
        """
        return self._wait_for(self._answer(messages, max_tokens, seed))

    def ask_all(self, chats: Sequence[Messages], max_tokens: int, at_once: int) -> list[str]:
        """The answers to several chats, so many at a time; empty where nothing is said, and the reason is told."""

        async def ask(messages: Messages) -> str:
            async with turns:
                try:
                    return await self._answer(messages, max_tokens, None)
                except NoText as reason:
                    say_once(str(reason))
                    return ""

        async def ask_them() -> list[str]:
            tasks = [asyncio.create_task(ask(messages)) for messages in chats]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()

        turns = asyncio.Semaphore(at_once)
        return self._wait_for(ask_them())

    def stream(self, ask: Ask, cancel: threading.Event | None = None) -> Iterator[Delta]:
        """Yield an answer piece by piece. To close it early, or to set `cancel`, ends the request at once.

        Raises:
            UserError: no answer, or it broke off; what came of it has been given.
        """
        deltas: queue.SimpleQueue[Delta | None] = queue.SimpleQueue()
        future = asyncio.run_coroutine_threadsafe(self._listen(ask, deltas.put), self._loop)
        future.add_done_callback(lambda _: deltas.put(None))
        try:
            while (delta := _next(deltas, cancel)) is not None:
                yield delta
            if future.done():
                future.result()
        finally:
            future.cancel()

    def stream_all(
        self,
        asks: Sequence[Ask],
        hear: Callable[[int, Delta], bool],
        at_once: int,
        cancel: threading.Event | None = None,
    ) -> None:
        """Hand the pieces of several answers to `hear`, with their numbers; one that it has enough of is ended.

        To set `cancel` ends them all.

        Raises UserError as `stream` does, where any of them fails; the others are ended then.
        """
        turns = asyncio.Semaphore(at_once)
        came: queue.SimpleQueue[tuple[int, Delta | None]] = queue.SimpleQueue()

        async def listen(number: int, ask: Ask) -> None:
            async with turns:
                await self._listen(ask, lambda delta: came.put((number, delta)))

        running: dict[int, Future[None]] = {}
        try:
            for number, ask in enumerate(asks):
                running[number] = asyncio.run_coroutine_threadsafe(listen(number, ask), self._loop)
                running[number].add_done_callback(lambda _, number=number: came.put((number, None)))
            while running and (heard := _next(came, cancel)) is not None:
                number, delta = heard
                if number not in running:
                    continue  # it was ended
                if delta is None:
                    running.pop(number).result()
                elif hear(number, delta):
                    running.pop(number).cancel()
        finally:
            for future in running.values():
                future.cancel()

    def look_up(self, url: str, body: dict[str, Any] | None = None) -> LookedUp:
        """What the server has at one of its addresses, asked once. Raises UserError where nothing answers there."""
        return self._wait_for(self._look_up(url, body))

    def look_up_all(self, url: str, bodies: Sequence[dict[str, Any]], at_once: int) -> list[LookedUp]:
        """The same for several questions to one address."""

        async def look_up(body: dict[str, Any]) -> LookedUp:
            async with turns:
                return await self._look_up(url, body)

        async def look_them_up() -> list[LookedUp]:
            return await asyncio.gather(*map(look_up, bodies))

        turns = asyncio.Semaphore(at_once)
        return self._wait_for(look_them_up())

    async def _look_up(self, url: str, body: dict[str, Any] | None) -> LookedUp:
        given = {**self._streamer.auth_headers, **self._streamer.default_headers}
        headers = {name: value for name, value in given.items() if isinstance(value, str)}
        method = "GET" if body is None else "POST"
        try:
            async with (
                asyncio.timeout(LOOK_UP),
                self._http.stream(method, url, headers=headers, json=body) as response,
            ):
                return LookedUp(response.status_code, response.extensions.get(BODY, b""))
        except TimeoutError:
            raise UserError(f"{url}: no answer within {LOOK_UP:g} s") from None
        except _Refusal as refusal:
            if refusal.problem:
                raise UserError(f"{url}: {refusal.problem}") from None
            if place := refusal.headers.get("location"):
                raise UserError(f"{url}: {_elsewhere(refusal.status, place)}") from None
            return LookedUp(refusal.status, refusal.body)
        except self._http_error as error:
            problem = f"nothing answers at {self.server.origin}: is it running?"
            raise UserError(f"{problem} ({first_line(error)})") from None

    @property
    def _http_error(self) -> type[Exception]:
        """What the library below the package raises, which is httpx or httpx2 by its version."""
        library = sys.modules[self.openai.DefaultAsyncHttpxClient.__base__.__module__.partition(".")[0]]
        return library.HTTPError

    def _wait_for(self, work: Coroutine[Any, Any, Result]) -> Result:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()  # so that Ctrl-C ends it; what is finished stays as it is

    async def _answer(self, messages: Messages, max_tokens: int, seed: int | None) -> str:
        request = {"model": self.model, "messages": list(messages), "max_tokens": max_tokens, "temperature": 0.0}
        request |= {} if seed is None else {"seed": seed}
        for attempt in itertools.count():
            try:
                return answer_text(await self._exchange(request), max_tokens)
            except _Failure as failure:
                if attempt >= failure.retries:
                    raise UserError(f"{self.url}: {failure}") from None
                await self._pause(failure.wait, attempt)
            except UserError as error:
                raise type(error)(f"{self.url}: {error}") from None

    async def _exchange(self, request: dict[str, Any]) -> bytes:
        """Send a request, and read what comes back. Raises _Failure, or UserError where another attempt is no use."""
        with self._explained(_late(TIMEOUT)):
            async with (
                asyncio.timeout(TIMEOUT),
                self.client.chat.completions.with_streaming_response.create(**request) as response,
            ):
                return response.http_response.extensions[BODY]

    async def _listen(self, ask: Ask, put: Callable[[Delta], None]) -> None:
        """Hand over an answer piece by piece. Nothing is tried again once a part of it has been given."""
        heard, attempt = False, 0

        def pass_on(delta: Delta) -> None:
            nonlocal heard
            heard = heard or bool(delta.text)
            put(delta)

        while True:
            try:
                return await self._hear(ask.fields(), pass_on)
            except (_Failure, UserError) as problem:
                if heard:
                    raise UserError(f"{self.url}: the answer broke off ({problem})") from None
                if not (isinstance(problem, _Failure | Rejected) and ask.adapt(problem.status, problem.body)):
                    await self._prepare_retry(problem, attempt)
                    attempt += 1

    async def _prepare_retry(self, problem: "_Failure | UserError", attempt: int) -> None:
        """Wait before another attempt. Raises UserError where there is to be none."""
        if isinstance(problem, UserError):
            raise type(problem)(f"{self.url}: {problem}") from None
        if attempt >= problem.retries:
            raise UserError(f"{self.url}: {problem}") from None
        await self._pause(problem.wait, attempt)

    async def _hear(self, request: dict[str, Any], put: Callable[[Delta], None]) -> None:
        """Send a request, and hand over the pieces of what comes back. Raises as `_exchange` does."""
        pace = _Pace()
        create = self._streamer.chat.completions.with_streaming_response.create
        with self._explained(_Failure(pace.problem, retries=0)):
            async with contextlib.AsyncExitStack() as stack:
                response = await pace.wait(stack.enter_async_context(create(**request, stream=True)))
                if (body := response.http_response.extensions.get(BODY)) is not None:
                    most = request.get("max_tokens") or request.get("max_completion_tokens") or len(body)
                    text = answer_text(body, most)  # it does not stream
                    put(Delta(text, finish="stop", usage=read_usage(json.loads(body).get("usage"))))
                    return
                pieces = aiter(await response.parse())
                while (chunk := await pace.wait(anext(pieces, None))) is not None:
                    delta = read_chunk(chunk.to_dict(warnings=False) if hasattr(chunk, "to_dict") else chunk)
                    pace.note(delta)
                    put(delta)
                if not (pace.is_over or response.http_response.stream.is_whole):
                    raise _Failure("the connection ended before the answer did")

    @contextlib.contextmanager
    def _explained(self, late: "_Failure") -> Iterator[None]:
        """Raise whatever goes wrong in an exchange as _Failure, or as UserError where another attempt is no use."""
        openai = self.openai
        try:
            yield
        except (TimeoutError, openai.APITimeoutError):
            raise late from None
        except TooLong:
            raise UserError(f"answers with more than {STREAM_BYTES / 2**20:g} MB") from None
        except (_Refusal, openai.APIConnectionError, self._http_error) as error:
            cause = error.__cause__ or error  # earlier versions of the package wrap what `_receive` raises
            if isinstance(cause, _Refusal):
                self._explain(cause)
            raise _Failure(f"cannot be reached ({first_line(cause)})") from None
        except openai.APIError as error:  # sent in place of a piece, with the status of success
            self._explain(_Refusal(*_sent_error(error.body)))
        except (openai.OpenAIError, ValueError, RecursionError) as error:
            raise UserError(f"cannot be asked ({first_line(error)})") from None

    def _explain(self, refusal: "_Refusal") -> NoReturn:
        """Raises _Failure, or UserError where another attempt is no use."""
        if refusal.problem:
            raise UserError(refusal.problem)
        status, message, body = refusal.status, error_message(refusal.body), refusal.body.decode(errors="replace")
        problem = (f"answers {status}" if status else "sends an error") + (f" ({message})" if message else "")
        if status in RETRIED or status >= 500:
            wait = seconds_to_wait(refusal.headers)
            if wait is not None and wait > LONGEST_WAIT:
                raise UserError(f"{problem}, and asks to wait {in_words(wait)}; try again then")
            raise _Failure(problem, wait, status=status, body=body)
        if place := refusal.headers.get("location"):
            raise UserError(_elsewhere(status, place))
        if status in (401, 403):
            raise UserError(self.without_key(problem))
        raise Rejected(problem, status, body)

    def without_key(self, problem: str) -> str:
        """What to do where a server wants another key, or one at all."""
        unsent = "" if self.server.gets_key else " It was not sent, as only hosts that you name get it (--url)."
        return f"{problem}; is {KEY_VARIABLE} set?{unsent}"

    async def _pause(self, wait: float | None, attempt: int) -> None:
        """Wait before another attempt; of several that wait at a time, one says so."""
        seconds = FIRST_WAIT * 2**attempt * random.uniform(0.75, 1) if wait is None else wait
        until = time.monotonic() + seconds
        if seconds > SAID_WAIT and until > self._paused_until + 1:
            say(f"{self.server.origin} has too much to do or fails; trying again in {in_words(seconds)}")
        self._paused_until = max(until, self._paused_until)
        await asyncio.sleep(seconds)

    async def _strip(self, request: Any) -> None:
        """Take from a request whatever only a trusted host may get."""
        if not self.server.gets_key:
            for name in list(request.headers):
                if name.lower() not in HEADERS_FOR_ALL and not name.lower().startswith(PACKAGES_OWN):
                    del request.headers[name]


class _Pace:
    """How long the next piece of an answer may take."""

    def __init__(self) -> None:
        self.is_over = False  # whether the model has said its last word
        self.problem = f"the model said nothing within {FIRST_PIECE:g} s"
        self._until = time.monotonic() + FIRST_PIECE

    async def wait(self, piece: Awaitable[Result]) -> Result | None:
        """The next piece; None where the answer is over. Raises _Failure where it comes too late."""
        try:
            async with asyncio.timeout(max(self._until - time.monotonic(), 0)):
                return await piece
        except TimeoutError:
            if self.is_over:
                return None
            raise _Failure(self.problem, retries=0) from None

    def note(self, delta: Delta) -> None:
        """A piece has come. One that brings nothing, as some servers send to keep a connection, wins no time."""
        if delta.finish or self.is_over:
            self.is_over = True
            self._until = time.monotonic() + AFTER_END
        elif delta.text or delta.thought:
            self.problem = f"the model said nothing more within {NEXT_PIECE:g} s"
            self._until = time.monotonic() + NEXT_PIECE


class _Failure(Exception):
    """What another attempt may mend."""

    def __init__(
        self, message: str, wait: float | None = None, retries: int | None = None, status: int = 0, body: str = ""
    ) -> None:
        """`wait`: seconds that the server asked for; None: it did not. `status` and `body`: what it sent, if it did."""
        super().__init__(message)
        self.wait, self.retries = wait, RETRIES if retries is None else retries
        self.status, self.body = status, body


def _late(seconds: float) -> _Failure:
    retries = min(RETRIES, 1)  # a connection may have been lost, but a server that dawdles will do so again
    return _Failure(f"no answer within {seconds:g} s, {retries + 1} times", retries=retries)


class _Refusal(Exception):
    """A response that is no success, or has a problem of its own."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, problem: str = "") -> None:
        super().__init__(problem)
        self.status, self.headers, self.body, self.problem = status, headers, body, problem


def _elsewhere(status: int, place: str) -> str:
    return f"answers {status} and points to {printable(place)[:200]}; if that is right, give that address"


def _sent_error(body: Any) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a refusal that came as a piece of an answer."""
    code = body.get("code") if isinstance(body, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 0
    return status, {}, json.dumps({"error": body}).encode()


async def _receive(most: int, response: Any) -> None:
    """Read what a server sent, within limits: the package itself would read all of it where the status is an error."""
    _require_unpacked(response)
    status, headers = response.status_code, response.headers
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > most:
            raise _Refusal(status, headers, b"", f"answers {status} with more than {most / 2**20:g} MB")
    if not response.is_success:
        raise _Refusal(status, headers, bytes(body))
    response.extensions[BODY] = bytes(body)


async def _receive_stream(response: Any) -> None:
    """Leave a stream to be read piece by piece, within limits; read anything else."""
    _require_unpacked(response)
    if response.is_success and response.headers.get("content-type", "").startswith("text/event-stream"):
        response.stream = limited(response)
    else:
        await _receive(STREAM_BYTES, response)


def _require_unpacked(response: Any) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        problem = f"answers {response.status_code}, compressed, though it was asked not to"
        raise _Refusal(response.status_code, response.headers, b"", problem)


def _next(came: queue.SimpleQueue[Result], cancel: threading.Event | None) -> Result | None:
    """What comes next; None where `cancel` is set, also while nothing comes."""
    while cancel is None or not cancel.is_set():
        with contextlib.suppress(queue.Empty):
            return came.get(timeout=None if cancel is None else CANCEL_POLL)
    return None


def _key() -> str:
    """Raises UserError where it cannot be sent; a message of the package's would show it."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"{KEY_VARIABLE} is no key: it holds characters that cannot be sent")
    return key


@functools.cache
def _event_loop() -> asyncio.AbstractEventLoop:
    """Runs in a thread of its own, also where the caller has one: only so can a whole exchange be ended in time."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="openai", daemon=True).start()
    return loop
