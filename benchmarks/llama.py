"""The engine of a chat, llama.cpp: beside torch, beside the library called bare, beside transformers.generate."""

import statistics
import subprocess
import sys
import time
from functools import cache
from typing import NamedTuple

import torch
from figures import Measurement, Pair, Timed
from transformers import GenerationConfig, PreTrainedModel

from gistchat.engines.llama_server import threads
from gistchat.models.base import load_model, load_tokenizer
from gistchat.models.packaged import packaged_base
from gistchat.models.packaged_file import packaged_file

STARTS = 7  # of each engine
TOKENS = 100
BEGINNING = "Once upon a time there was a lighthouse keeper who lived far away from everybody. One morning"
# The library as its documents call it, in a process of its own: what gistchat sets for its own process is not set here.
BARE = """
import sys, time, xllamacpp
model, threads, count, *ids = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.verbosity = model, 4096, 1, -1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(threads)
server = xllamacpp.Server(params)
request = {"prompt": [int(number) for number in ids], "n_predict": int(count), "temperature": 0, "stream": True}
for line in sys.stdin:
    times = []
    server.handle_completions(request, lambda chunk: times.append(time.perf_counter()))
    print(len(times) - 1, times[-1] - times[0], flush=True)
"""

# gistchat's engine, as a chat has it, without torch beside it.
OURS = """
import sys, time
from pathlib import Path
from gistchat.engines.engine import ConversationCache
from gistchat.engines.llama_server import LlamaServer
from gistchat.engines.llama_tokenizer import LlamaTokenizer
from gistchat.engines.llamacpp_engine import LlamaCppEngine
from gistchat.engines.sampling import Sampling
from gistchat.engines.stopping import PartialReply
from gistchat.models.gguf_header import read_header
from gistchat.prompts.chat_template import ChatTemplate
from gistchat.prompts.prompt import Prompt
model, threads, count, *ids = sys.argv[1:]
server = LlamaServer(Path(model), 4096)
engine = LlamaCppEngine(server, ChatTemplate(LlamaTokenizer(read_header(Path(model)), server)))
sampling, prompt = Sampling(max_tokens=int(count)), Prompt([int(number) for number in ids])
for line in sys.stdin:
    reply = PartialReply(engine.format, sampling)
    stream = engine.stream_prompt(prompt, sampling, ConversationCache(), reply)
    next(stream)
    start, before = time.perf_counter(), len(reply.ids)
    for piece in stream:
        pass
    assert len(reply.ids) == int(count), f"the reply ended after {len(reply.ids)} tokens"
    print(len(reply.ids) - before, time.perf_counter() - start, flush=True)
"""


# ---- the first word


def first_piece(engine: str) -> float:
    """Seconds from the command to the first piece of the first reply."""
    command = [sys.executable, "-m", "gistchat", "chat", "--no-journal", "--seed", "0", "--engine", engine]
    start = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as chat:
        chat.stdin.write(b"Hi!\n")
        chat.stdout.read(1)
        seconds = time.perf_counter() - start
        chat.stdin.close()
        chat.stdout.read()
    return seconds


@cache
def first_pieces() -> list[tuple[float, float]]:
    """Seconds of llama.cpp and of torch, interleaved; what is made once was made before."""
    for engine in ("llamacpp", "torch"):
        first_piece(engine)
    found = []
    for _ in range(STARTS):
        found.append((first_piece("llamacpp"), first_piece("torch")))
        print(f"first piece after {found[-1][0]:.2f} s | torch {found[-1][1]:.2f} s", flush=True)
    return found


FIRST = Measurement(
    "chat_first_token",
    "s",
    f"seconds from the command `gistchat chat`, packaged model, to the first piece of the first reply; the median of "
    f"{STARTS} starts, files in the system's cache. The bound is what it must not exceed.",
    lambda: statistics.median(ours for ours, _ in first_pieces()),
    3,
)
FIRST_BY_TORCH = Measurement(
    "chat_first_token_by_torch",
    "times",
    "the same by that of `gistchat chat --engine torch`: the median of the pairs' ratios. The bound is what it must "
    "not exceed.",
    lambda: statistics.median(ours / torch_s for ours, torch_s in first_pieces()),
    0.25,
)


# ---- tokens a second


class Engines(NamedTuple):
    """What answers with the packaged model's file, each in a process of its own, as in a chat."""

    ours: subprocess.Popen
    bare: subprocess.Popen
    ids: list[int]
    model: PreTrainedModel | None = None


def started(script: str, ids: list[int]) -> subprocess.Popen:
    command = [sys.executable, "-c", script, str(packaged_file()), str(threads()), str(TOKENS), *map(str, ids)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def with_bare() -> Engines:
    ids = load_tokenizer(packaged_base())(BEGINNING)["input_ids"]
    made = Engines(started(OURS, ids), started(BARE, ids), ids)
    decode(made)
    decode_bare(made)
    return made


def with_generate() -> Engines:
    return with_bare()._replace(model=load_model(packaged_base()))


def timed(process: subprocess.Popen) -> Timed:
    """Tokens after the first: what reading the prompt takes is another matter."""
    process.stdin.write("\n")
    process.stdin.flush()
    count, seconds = process.stdout.readline().split()
    return Timed(int(count), float(seconds))


def decode(made: Engines) -> Timed:
    return timed(made.ours)


def decode_bare(made: Engines) -> Timed:
    return timed(made.bare)


@torch.inference_mode()
def decode_generate(made: Engines) -> Timed:
    """The same tokens by transformers; reading the prompt, 20 tokens, is counted, too."""
    config = GenerationConfig(max_new_tokens=TOKENS, do_sample=False, eos_token_id=None, pad_token_id=0)
    start = time.perf_counter()
    output = made.model.generate(torch.tensor([made.ids]), generation_config=config)
    return Timed(output.shape[1] - len(made.ids), time.perf_counter() - start)


BARE_PAIR = Pair(
    "decode_llama",
    "tokens/s",
    f"{TOKENS} greedy tokens of the packaged model, those after the first, by the engine of `gistchat chat`; baseline: "
    "the same file in the library (xllamacpp) called bare, in a process of its own, with as many threads. The bound is "
    "what is aimed at.",
    with_bare,
    decode_bare,
    decode,
    repeats=15,
    bound=0.95,
    peaks=False,
)
GENERATE_PAIR = Pair(
    "decode_vs_generate",
    "tokens/s",
    "the same; baseline: `transformers.generate` of the same weights in 32-bit floats. The bound is what is aimed at.",
    with_generate,
    decode_generate,
    decode,
    repeats=7,
    bound=3,
    peaks=False,
)
