"""What the memory adds to a chat with a backend, in a conversation of 2,000 messages: through it, and without."""

import asyncio
import contextlib
import json
import multiprocessing
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import uvicorn
from figures import Measurement
from starlette.types import ASGIApp

from gistchat.server.app import create_app
from gistchat.server.settings import ServeSettings
from gistchat.store.conversation_store import ConversationStore
from gistchat.store.database import Database

MESSAGES, ROUNDS, PAUSE = 2_000, 60, 0.15  # seconds between two requests: nobody writes faster
ANSWER = json.dumps(
    {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Fine."}, "finish_reason": "stop"}]}
)
THINGS = ["dog", "cat", "river", "garden", "violin", "bicycle", "teacher", "mountain", "kitchen", "library"]


async def backend(scope, receive, send) -> None:
    """Answers at once, whatever it is asked."""
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER.encode()})


@contextlib.contextmanager
def served(make: Callable[[], ASGIApp]) -> Iterator[str]:
    """The address of an app that runs in a process of its own, as backends and servers do."""
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        server = uvicorn.Server(uvicorn.Config(make(), log_level="error", lifespan="off"))
        asyncio.run(server.serve([listening]))

    process = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        process.terminate()
        process.join()


def conversation() -> list[dict[str, str]]:
    def text(number: int) -> str:
        one, other = THINGS[number % 10], THINGS[number // 10 % 10]
        return f"I saw a {one} near the {other} and thought of number {number}. Did you see the {other}?"

    roles = ["user", "assistant"] * (MESSAGES // 2)
    return [{"role": role, "content": text(number)} for number, role in enumerate(roles)]


def seconds(client: httpx2.Client, url: str, messages: list[dict[str, str]]) -> float:
    body = json.dumps({"model": "m", "messages": messages}).encode()
    begun = time.perf_counter()
    answer = client.post(f"{url}/chat/completions", content=body, headers={"Content-Type": "application/json"})
    taken = time.perf_counter() - begun
    assert answer.status_code == 200, answer.text
    assert "x-gistchat-error" not in answer.headers, answer.headers
    return taken


def overhead() -> float:
    """Milliseconds that the memory adds, at the median, in turn with requests that go without."""
    messages, with_memory, without = conversation(), [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        served(lambda: backend) as plain,
        httpx2.Client(timeout=60, trust_env=False) as client,
    ):

        def with_store() -> ASGIApp:
            store = ConversationStore(Database.open(str(Path(folder) / "conversations.db")))
            return create_app(ServeSettings(backend=plain, memory_seconds=60), None, store)

        with served(with_store) as url:
            for number in range(ROUNDS):
                messages.append({"role": "user", "content": f"Where was the {THINGS[number % 10]} number {number}?"})
                without.append(seconds(client, plain, messages))
                with_memory.append(seconds(client, url, messages))
                messages.append({"role": "assistant", "content": "Fine."})
                time.sleep(PAUSE)
    return 1000 * (statistics.median(with_memory[5:]) - statistics.median(without[5:]))


FIGURE = Measurement(
    name="proxy_overhead",
    unit="milliseconds",
    explanation="added to a chat of 2,000 messages by the memory in front of a backend that answers at once, both over "
    "HTTP on loopback; the median of 55 requests, each with a new turn",
    take=overhead,
    bound=15,
)

if __name__ == "__main__":
    print(f"{overhead():.1f} ms")
