"""A server under load: is a request lost, is a reply in the wrong conversation, does memory grow, what outlives a kill?

    .venv/bin/python benchmarks/serve_load.py                       32 clients for five minutes
    .venv/bin/python benchmarks/serve_load.py --kills 50 --seconds 8    kill -9 under that load, 50 times
    .venv/bin/python benchmarks/serve_load.py --database postgresql://...

Each client has conversations of its own, whose turns hold a marker. At the end every answer that was acknowledged is
looked for in the store, in the conversation that its header named, after exactly the turns that were said before it.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from gistchat.store.conversation_store import ConversationStore, NoSuchConversation
from gistchat.store.database import Database

CONVERSATION = "x-gistchat-conversation"
TURNS = 12  # of a conversation, before a client begins another
TALK = ["I walked the dog", "It rains here", "We had soup", "My bicycle broke", "The garden is green", "I read a book"]


@dataclass
class Conversation:
    """What a client knows of one: the turns that it sent and the answers that it got whole."""

    marker: str
    id: str = ""
    turns: list[tuple[str, str]] = field(default_factory=list)
    acknowledged: int = 0  # of these turns, those up to the last whole answer


@dataclass
class Outcome:
    """What all clients saw."""

    statuses: collections.Counter = field(default_factory=collections.Counter)
    seconds: list[float] = field(default_factory=list)
    tokens: int = 0
    conversations: list[Conversation] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, status: str, seconds: float = 0, tokens: int = 0) -> None:
        with self.lock:
            self.statuses[status] += 1
            if seconds:
                self.seconds.append(seconds)
            self.tokens += tokens


class Client(threading.Thread):
    """Talks until it is stopped; every third request is streamed, some of these are left before their end."""

    def __init__(self, number: int, url: str, outcome: Outcome, stop: threading.Event, tokens: int) -> None:
        super().__init__(daemon=True)
        self.number, self.url, self.outcome, self.stop, self.tokens = number, url, outcome, stop, tokens
        self.random = random.Random(number)

    def run(self) -> None:
        with httpx2.Client(timeout=120) as http:
            begun = 0
            while not self.stop.is_set():
                begun += 1
                talk = Conversation(f"marker{self.number}x{begun}")
                with self.outcome.lock:
                    self.outcome.conversations.append(talk)
                for turn in range(TURNS):
                    if self.stop.is_set() or not self._exchange(http, talk, turn):
                        break

    def _exchange(self, http: httpx2.Client, talk: Conversation, turn: int) -> bool:
        """Whether the conversation can go on."""
        talk.turns.append(("user", f"{self.random.choice(TALK)}, {talk.marker} number {turn}."))
        messages = [{"role": role, "content": text} for role, text in talk.turns]
        body = {
            "messages": messages,
            "max_tokens": self.tokens,
            "temperature": 0.7,
            "seed": self.random.randrange(2**31),
        }
        start = time.perf_counter()
        try:
            if self.random.random() < 1 / 3:
                answer, tokens = self._streamed(http, body, talk)
            else:
                response = http.post(f"{self.url}/chat/completions", json=body)
                answer, tokens = self._whole(response, talk)
        except httpx2.HTTPError as error:
            self.outcome.note(f"no answer ({type(error).__name__})")
            return False
        if answer is None:
            return False
        self.outcome.note("200", time.perf_counter() - start, tokens)
        talk.turns.append(("assistant", answer))
        talk.acknowledged = len(talk.turns)
        return bool(answer)

    def _whole(self, response: httpx2.Response, talk: Conversation) -> tuple[str | None, int]:
        if response.status_code != 200:
            self._refused(response.status_code, response)
            return None, 0
        talk.id = response.headers[CONVERSATION]
        values = response.json()
        return values["choices"][0]["message"]["content"], values["usage"]["completion_tokens"]

    def _streamed(self, http: httpx2.Client, body: dict, talk: Conversation) -> tuple[str | None, int]:
        leaves = self.random.random() < 0.1
        asked = body | {"stream": True, "stream_options": {"include_usage": True}}
        with http.stream("POST", f"{self.url}/chat/completions", json=asked) as response:
            if response.status_code != 200:
                self._refused(response.status_code, response)
                return None, 0
            pieces, tokens, done = [], 0, False
            for line in response.iter_lines():
                if line == "data: [DONE]":
                    done = True
                elif line.startswith("data: "):
                    values = json.loads(line[6:])
                    if "error" in values:
                        self.outcome.note(f"error in a stream ({values['error']['code']})")
                        return None, 0
                    tokens = (values.get("usage") or {}).get("completion_tokens", tokens)
                    pieces += [choice["delta"].get("content", "") for choice in values["choices"]]
                if leaves and len(pieces) > 3:
                    self.outcome.note("left by the client")
                    return None, 0
        if not done:
            self.outcome.note("a stream without its end")
            return None, 0
        talk.id = response.headers[CONVERSATION]
        return "".join(pieces), tokens

    def _refused(self, status: int, response: httpx2.Response) -> None:
        self.outcome.note(str(status))
        if status in (429, 503):
            self.stop.wait(min(float(response.headers.get("retry-after", 1)), 5))


class Server:
    """`gistchat serve` as a process of its own."""

    def __init__(self, database: str, options: list[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "gistchat",
            "serve",
            "--port",
            str(self.port),
            "--database",
            database,
            *options,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._wait()

    def _wait(self) -> None:
        for _ in range(600):
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"http://127.0.0.1:{self.port}/health").status_code == 200:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit("the server did not start")

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(timeout=120)


@contextlib.contextmanager
def talking(server: Server, clients: int, outcome: Outcome, tokens: int) -> Iterator[threading.Event]:
    stop = threading.Event()
    threads = [Client(number, server.url, outcome, stop, tokens) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield stop
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=150)


def faults(store: ConversationStore, outcome: Outcome) -> list[str]:
    """What was acknowledged and is not there, or stands in another conversation."""
    found, owners = [], {}
    for talk in outcome.conversations:
        if not talk.acknowledged:
            continue
        if owners.setdefault(talk.id, talk.marker) != talk.marker:
            found.append(f"{talk.id}: shared by {owners[talk.id]} and {talk.marker}")
        try:
            kept = {message.key: message for message in _all_messages(store, talk.id)}
        except NoSuchConversation:
            found.append(f"{talk.id}: gone")
            continue
        lines = {_line(kept, key) for key in kept}
        wanted = tuple(text for _, text in talk.turns[: talk.acknowledged])
        if wanted not in lines:
            found.append(f"{talk.id}: turns of {talk.marker} are not there as they were acknowledged")
        if any(
            "marker" in message.text and talk.marker not in message.text
            for message in kept.values()
            if message.speaker == "user"
        ):
            found.append(f"{talk.id}: holds another client's marker")
    return found


def _all_messages(store: ConversationStore, id: str) -> list:
    """The path to the head, and those that end in other branches."""
    path = store.path(id)
    siblings = store.siblings(id, [message.key for message in path])
    others = {key for keys in siblings.values() for key in keys} - {message.key for message in path}
    return path + [message for key in others for message in store.path(id, store.leaf_below(id, key))]


def _line(kept: dict, key: str) -> tuple[str, ...]:
    texts = []
    while key:
        texts.append(kept[key].text)
        key = kept[key].parent
    return tuple(reversed(texts))


def load(args: argparse.Namespace, database: str) -> int:
    """Returns how many faults there are."""
    server, outcome, memory = Server(database, args.options), Outcome(), []
    try:
        with talking(server, args.clients, outcome, args.tokens):
            end = time.monotonic() + args.seconds
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(left, 5))
                memory.append(server.memory_mb())
                print(f"{args.seconds - left:4.0f} s  {memory[-1]:6.0f} MB  {dict(outcome.statuses)}", flush=True)
    finally:
        code = server.end(signal.SIGTERM)
    found = faults(ConversationStore(Database.open(database)), outcome)
    _report(outcome, args.seconds, found)
    third = max(len(memory) // 3, 1)
    early, late = statistics.median(memory[third : 2 * third] or memory), statistics.median(memory[-third:])
    print(f"memory: {early:.0f} MB in the second third, {late:.0f} MB in the last; ended by SIGTERM with code {code}")
    return len(found) + sum(n for status, n in outcome.statuses.items() if status.startswith(("5", "no answer")))


def kills(args: argparse.Namespace, database: str) -> int:
    """Kill the server again and again. Returns how many faults there are."""
    total, acknowledged, chance = 0, 0, random.Random(0)
    for number in range(1, args.kills + 1):
        server, outcome = Server(database, args.options), Outcome()
        with talking(server, args.clients, outcome, args.tokens) as stop:
            time.sleep(args.seconds * chance.uniform(0.5, 1.5))
            stop.set()  # what fails from now on is the kill's doing
            server.end(signal.SIGKILL)
        store = ConversationStore(Database.open(database))
        found = faults(store, outcome) + store.check()
        store.database.close()
        acknowledged += outcome.statuses["200"]
        total += len(found)
        print(f"kill {number}: {outcome.statuses['200']} acknowledged, {len(found)} faults {found[:3]}", flush=True)
    print(f"{args.kills} kills, {acknowledged:,} answers acknowledged, {total} faults")
    return total


def _report(outcome: Outcome, seconds: float, found: list[str]) -> None:
    times = sorted(outcome.seconds) or [0.0]
    print(f"answers: {dict(outcome.statuses)}; conversations: {len(outcome.conversations)}")
    print(
        f"seconds an answer: median {statistics.median(times):.2f}, 95 % {times[int(len(times) * 0.95)]:.2f}; "
        f"{outcome.tokens / seconds:.1f} tokens/s"
    )
    print(f"faults: {len(found)} {found[:5]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300, help="of load; with --kills, until each of them, about")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=16, help="of an answer, at most")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--database", default="", help="default: a new file")
    parser.add_argument(
        "options", nargs="*", help="for gistchat serve, after --", default=["--slots", "4", "--queue", "64"]
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("OMP_NUM_THREADS", "2")
        database = args.database or f"sqlite:///{folder}/conversations.db"
        sys.exit(min((kills if args.kills else load)(args, database), 1))


if __name__ == "__main__":
    main()
