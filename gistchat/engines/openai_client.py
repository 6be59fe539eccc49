"""A client of OpenAI-compatible servers: models behind it write summaries and judge replies.

Servers are not trusted: which of them may be called at all, and gets the key, is decided in `gistchat.trusted_hosts`.
An answer has limits of time and size, and is checked in `openai_answer`.
"""

import asyncio
import functools
import itertools
import os
import random
import threading
import time
from collections.abc import Coroutine, Sequence
from typing import Any, NoReturn, TypeVar

from gistchat import trusted_hosts
from gistchat.engines.openai_answer import NoText, answer_text, error_message, in_words, seconds_to_wait
from gistchat.errors import UserError, first_line, require
from gistchat.printable import printable
from gistchat.progress import say
from gistchat.trusted_hosts import KEY_VARIABLE

TIMEOUT = 120.0  # seconds for a whole answer, however its bytes come
MOST_BYTES = 2**20  # of an answer; one that thinks aloud has a tenth of it
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
        self.openai = require("openai", "endpoint")
        self.url, self.model = self.server.url, model
        self._paused_until = 0.0
        self._loop = _event_loop()
        # Redirects are not followed, as they may lead to another server. What is sent to a server on this machine stays
        # here, so it passes no proxy.
        http_client = self.openai.DefaultAsyncHttpxClient(
            timeout=TIMEOUT,
            follow_redirects=False,
            trust_env=not self.server.is_local,
            event_hooks={"request": [self._strip], "response": [_receive]},
        )
        self.client = self.openai.AsyncOpenAI(
            base_url=self.url,
            api_key=(self.server.gets_key and _key()) or "none",  # the package insists on one
            max_retries=0,  # they are made here, as the waiting is to be said
            default_headers={"Accept-Encoding": "identity"},  # what is unpacked could be a thousand times as large
            http_client=http_client,
        )

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
                    _say_once(str(reason))
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
        openai = self.openai
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self.client.chat.completions.with_streaming_response.create(**request) as response,
            ):
                return response.http_response.extensions[BODY]
        except (TimeoutError, openai.APITimeoutError):
            retries = min(RETRIES, 1)  # a connection may have been lost, but a server that dawdles will do so again
            raise _Failure(f"no answer within {TIMEOUT:g} s, {retries + 1} times", retries=retries) from None
        except (_Refusal, openai.APIConnectionError) as error:
            cause = error.__cause__ or error  # earlier versions of the package wrap what `_receive` raises
            if isinstance(cause, _Refusal):
                self._explain(cause)
            raise _Failure(f"cannot be reached ({first_line(cause)})") from None
        except (openai.OpenAIError, ValueError) as error:
            raise UserError(f"cannot be asked ({first_line(error)})") from None

    def _explain(self, refusal: "_Refusal") -> NoReturn:
        """Raises _Failure, or UserError where another attempt is no use."""
        if refusal.problem:
            raise UserError(refusal.problem)
        status, message = refusal.status, error_message(refusal.body)
        problem = f"answers {status}" + (f" ({message})" if message else "")
        if status in RETRIED or status >= 500:
            wait = seconds_to_wait(refusal.headers)
            if wait is not None and wait > LONGEST_WAIT:
                raise UserError(f"{problem}, and asks to wait {in_words(wait)}; try again then")
            raise _Failure(problem, wait)
        if place := refusal.headers.get("location"):
            raise UserError(f"{problem} and points to {printable(place)[:200]}; if that is right, give that address")
        if status in (401, 403):
            unsent = "" if self.server.gets_key else " It was not sent, as only hosts that you name get it (--url)."
            raise UserError(f"{problem}; is {KEY_VARIABLE} set?{unsent}")
        raise UserError(problem)

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


class _Failure(Exception):
    """What another attempt may mend."""

    def __init__(self, message: str, wait: float | None = None, retries: int | None = None) -> None:
        """`wait`: seconds that the server asked for; None: it did not."""
        super().__init__(message)
        self.wait, self.retries = wait, RETRIES if retries is None else retries


class _Refusal(Exception):
    """A response that is no success, or has a problem of its own."""

    def __init__(self, response: Any, body: bytes, problem: str = "") -> None:
        super().__init__(problem)
        self.status, self.headers, self.body, self.problem = response.status_code, response.headers, body, problem


async def _receive(response: Any) -> None:
    """Read what a server sent, within limits: the package itself would read all of it where the status is an error."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _Refusal(response, b"", f"answers {response.status_code}, compressed, though it was asked not to")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MOST_BYTES:
            raise _Refusal(response, b"", f"answers {response.status_code} with more than {MOST_BYTES / 2**20:g} MB")
    if not response.is_success:
        raise _Refusal(response, bytes(body))
    response.extensions[BODY] = bytes(body)


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


_say_once = functools.cache(say)
