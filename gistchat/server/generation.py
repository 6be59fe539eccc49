"""Replies in threads: so many at once, so many waiting, the others refused.

A reply is written by a worker thread, piece by piece, while the event loop serves everybody else. Whoever reads the
pieces may stop at any time: the thread is told, ends within two decoding steps, and its slot is free again. What it
does then, such as keeping what was said so far, it does to the end.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

import anyio

from gistchat.server.errors import ApiError

T = TypeVar("T")
Work = Callable[[threading.Event], Iterator[T]]  # writes a reply in a thread, and ends early when the event is set
END = object()
LONGEST_RETRY = 60  # seconds


class Busy(ApiError):
    """All slots and the queue are taken."""

    def __init__(self, seconds: float) -> None:
        retry = {"Retry-After": str(min(max(math.ceil(seconds), 1), LONGEST_RETRY))}
        super().__init__(429, "too many replies are being written; try again later", code="queue_full", headers=retry)


def _too_late() -> ApiError:
    retry = {"Retry-After": "30"}
    return ApiError(503, "no slot became free in time; try again later", code="timeout", headers=retry)


class Pieces(Generic[T]):
    """A reply as it comes.

    Attributes:
        is_late: whether it was ended as its time was over.
    """

    def __init__(self, work: Work[T], loop: asyncio.AbstractEventLoop) -> None:
        self.is_late = False
        self.begun: float | None = None
        self._work, self._loop = work, loop
        self._cancel = threading.Event()
        self._items: asyncio.Queue[Any] = asyncio.Queue()
        self._ended = False

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        """Raises whatever the work raised."""
        item = END if self._ended else await self._items.get()
        if item is END:
            self._ended = True
            raise StopAsyncIteration
        if isinstance(item, BaseException):
            self._ended = True
            raise item
        return item

    def write(self) -> None:
        """In a worker thread: do the work."""
        try:
            if not self._cancel.is_set():
                for piece in self._work(self._cancel):
                    self._tell(piece)
            self._tell(END)
        except BaseException as error:
            self._tell(error)

    def _tell(self, item: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    def end(self) -> None:
        """Have it end; pieces may come still."""
        self._cancel.set()

    def run_out(self, error: ApiError | None = None) -> None:
        """Its time is over: it ends as it is, or with an error."""
        self.is_late = True
        self.end()
        if error:
            self._items.put_nowait(error)


class Generation:
    """The worker threads, and who waits for them. To be used in one event loop.

    Attributes:
        running: replies that are being written.
    """

    def __init__(self, slots: int, queue: int, wait_seconds: float, reply_seconds: float) -> None:
        self.slots, self.queue = slots, queue
        self.wait_seconds, self.reply_seconds = wait_seconds, reply_seconds
        self.running = self._places = 0
        self._usual_seconds = 5.0  # that a reply takes, as far as is known
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="reply")

    @property
    def waiting(self) -> int:
        """Replies that wait for a slot, or for the conversation that they belong to."""
        return self._places - self.running

    @contextlib.asynccontextmanager
    async def reply(self, prepared: AbstractAsyncContextManager[Work[T]]) -> AsyncIterator[Pieces[T]]:
        """Have a reply written, and iterate over its pieces. When the block ends, so has the thread.

        Args:
            prepared: gives the work, and holds what it needs until the thread has ended. It is entered when there is a
                place for the reply.

        Raises:
            Busy: there is none.
            ApiError: it waited too long.
        """
        if self._places >= self.slots + self.queue:
            raise Busy(self._usual_seconds * (self.waiting + 1) / self.slots)
        self._places += 1
        deadline = time.monotonic() + self.wait_seconds
        try:
            async with contextlib.AsyncExitStack() as stack:
                try:
                    async with asyncio.timeout(self.wait_seconds):
                        work = await stack.enter_async_context(prepared)
                except TimeoutError:
                    raise _too_late() from None
                yield await stack.enter_async_context(self._writing(work, deadline))
        finally:
            self._places -= 1

    @contextlib.asynccontextmanager
    async def _writing(self, work: Work[T], deadline: float) -> AsyncIterator[Pieces[T]]:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        pieces = Pieces(work, loop)
        timer = loop.call_later(deadline - time.monotonic(), pieces.run_out, _too_late())

        def start() -> None:
            nonlocal timer
            self.running, pieces.begun = self.running + 1, time.monotonic()
            timer.cancel()
            timer = loop.call_later(self.reply_seconds, pieces.run_out)

        def finish() -> None:
            if pieces.begun is not None:
                self.running -= 1
                self._usual_seconds += (time.monotonic() - pieces.begun - self._usual_seconds) / 8
            timer.cancel()
            done.set()

        future = self._threads.submit(self._write, pieces, loop, start)
        future.add_done_callback(lambda _: _call(loop, finish))
        try:
            yield pieces
        finally:
            pieces.end()
            future.cancel()
            with anyio.CancelScope(shield=True):  # the thread may be using what is held for it
                await done.wait()

    @staticmethod
    def _write(pieces: Pieces[T], loop: asyncio.AbstractEventLoop, start: Callable[[], None]) -> None:
        _call(loop, start)
        pieces.write()

    def close(self) -> None:
        """No more replies; those that are being written end first."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(function)
