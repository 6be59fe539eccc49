"""Many clients at once: `gistchat serve` beside the library called bare, with the same file, prompts and slots."""

import atexit
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count, islice
from typing import NamedTuple

import httpx2
from figures import Measurement, Pair, Timed
from serve_load import Server

from gistchat.engines.llama_server import threads
from gistchat.models.packaged_file import packaged_file

SLOTS, REQUESTS, TOKENS = 4, 24, 48
ROUNDS = 5
NUMBERS = count(1000)
SUBJECTS = ["dog", "garden", "violin", "bicycle", "teacher", "mountain", "kitchen", "library"]
# The library as its documents call it: its own chat template, its own scheduler, threads that ask.
BARE = """
import sys, time, json, xllamacpp
from concurrent.futures import ThreadPoolExecutor
model, threads, slots, tokens = sys.argv[1], *map(int, sys.argv[2:])
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.verbosity = model, 4096 * slots, slots, -1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
server = xllamacpp.Server(params)
def ask(text):
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": tokens, "temperature": 0}
    return server.handle_chat_completions(body)["usage"]["completion_tokens"]
for line in sys.stdin:
    at_once, *texts = json.loads(line)
    start = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        written = sum(pool.map(ask, texts))
    print(json.dumps([written, time.perf_counter() - start]), flush=True)
"""


class Sides(NamedTuple):
    ours: Server
    bare: subprocess.Popen
    folder: tempfile.TemporaryDirectory


@cache
def sides() -> Sides:
    """Both with the packaged base model, each in a process of its own, with as many threads and slots."""
    folder = tempfile.TemporaryDirectory()
    model = str(packaged_file())
    options = [model, "--slots", str(SLOTS), "--queue", str(REQUESTS), "--budget", "1024"]
    ours = Server(f"sqlite:///{folder.name}/conversations.db", options)
    command = [sys.executable, "-c", BARE, model, str(threads()), str(SLOTS), str(TOKENS)]
    bare = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for process in (ours.process, bare):  # else they outlive the benchmark
        atexit.register(process.terminate)
    return Sides(ours, bare, folder)


def questions() -> list[str]:
    """New ones each time, so that no side has them read already."""
    return [
        f"Tell me a story about a {SUBJECTS[number % len(SUBJECTS)]} that is called number {number}."
        for number in islice(NUMBERS, REQUESTS)
    ]


def ours(state: Sides, at_once: int = SLOTS) -> Timed:
    def ask(text: str) -> int:
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": TOKENS, "temperature": 0}
        answer = client.post(f"{state.ours.url}/chat/completions", json=body)
        answer.raise_for_status()
        return answer.json()["usage"]["completion_tokens"]

    with httpx2.Client(timeout=600) as client, ThreadPoolExecutor(at_once) as pool:
        texts, start = questions(), time.perf_counter()
        return Timed(sum(pool.map(ask, texts)), time.perf_counter() - start)


def bare(state: Sides, at_once: int = SLOTS) -> Timed:
    state.bare.stdin.write(json.dumps([at_once, *questions()]) + "\n")
    state.bare.stdin.flush()
    return Timed(*json.loads(state.bare.stdout.readline()))


PAIR = Pair(
    "serve_vs_llama",
    "tokens/s",
    f"{REQUESTS} greedy replies of {TOKENS} tokens at most, {SLOTS} at once, each in a new conversation, by `gistchat "
    "serve` over HTTP, receipts and database included; baseline: the same file, questions, slots and threads in the "
    "library (xllamacpp) called bare, without HTTP. The bound is what is aimed at.",
    sides,
    bare,
    ours,
    repeats=ROUNDS,
    bound=0.9,
    peaks=False,
)


def _gain() -> float:
    state = sides()
    ratios = []
    for _ in range(3):
        one, many = (ours(state, at_once) for at_once in (1, SLOTS))
        ratios.append((many.items / many.seconds) / (one.items / one.seconds))
    return statistics.median(ratios)


GAIN = Measurement(
    "serve_at_once",
    "times",
    f"tokens a second of {SLOTS} replies at once by those of one after another, by `gistchat serve`; the median of 3. "
    "The bound is what it should not fall below: on two cores the library itself gives 1.2 to 1.3 times.",
    _gain,
    1.0,
)
