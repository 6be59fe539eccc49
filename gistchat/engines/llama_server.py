"""llama.cpp, by package xllamacpp: the one module that calls it. Tested with xllamacpp 2026.10.

The package opens a port on the loopback interface, which nobody else is to use: its key is drawn at random. Texts are
tokenized through that port, as the package has no function for it; replies are asked for without it.
"""

import contextlib
import http.client
import importlib
import json
import math
import os
import queue
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from gistchat.engines.sampling import not_a_number
from gistchat.errors import UserError, first_line
from gistchat.processes import cores

NEEDED = {"avx2", "fma", "f16c", "bmi2"}  # of an Intel or AMD processor, by the package's get_system_info()
EXPLAIN = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.warmup, params.verbosity = sys.argv[1], 64, False, 1
params.enable_chat_template = params.ui = False
params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in sys.argv[2:]]
xllamacpp.Server(params)
"""
REASON = "error loading model: "
SPINS = "2000"
KEPT_MIB = 256  # MiB for what was read of conversations that lost their slot; the packaged model takes 1 for 43 tokens
POLL = 0.05  # seconds
BATCH = 256  # tokens of a prompt that are read at a time: between two of them a reply can be cancelled


class Token(NamedTuple):
    """What llama.cpp said next."""

    id: int | None  # None where only its text is told
    text: str  # whole characters; empty for an end token, and while a character is unfinished
    log_likelihood: float | None  # by the model alone, nats; None where it is not told


@dataclass
class Progress:
    """What llama.cpp tells of a reply while it goes on."""

    read: int = 0  # tokens of the prompt that had to be read; the others were kept from the one before
    written: int = 0
    cut: bool = False  # whether it ended at its greatest length


class LlamaServer:
    """A model that llama.cpp holds.

    Attributes:
        context: tokens that a prompt and its reply may have together.
        slots: replies that are written at once.
    """

    def __init__(self, model: Path, context: int, adapter: Path | None = None, slots: int = 1) -> None:
        """
        Args:
            adapter: LoRA weights as GGUF, put on top.
            slots: replies that are written at once, each with a context of its own; others wait.

        Raises:
            UserError: package xllamacpp is missing or cannot run here, or the files are no model that it can open.
        """
        library = load_library()
        self.context, self.slots = context, slots
        self._free = threading.Semaphore(slots)
        key = secrets.token_urlsafe(32)
        try:
            self._server = library.Server(_parameters(library, model, context, adapter, key, slots))
        except RuntimeError:
            raise UserError(f"{model}: llama.cpp cannot open it ({_reason(model, adapter)})") from None
        self._http = _Connection(self._server.listening_address, key)
        self._try()

    def _try(self) -> None:
        """Have a token written. A server that is closed before its loop has begun would wait for that for ever.

        Raises:
            UserError: the model's output is not a number.
        """
        fixed = {"n_predict": 1, "n_probs": 1, "temperature": 0, "cache_prompt": False}
        [first] = self._http.post("/completion", {"prompt": [0], **fixed})["completion_probabilities"]
        if first["logprob"] is None:  # JSON has no other word for it
            raise not_a_number()

    def tokenize(self, text: str, control: bool = False) -> list[int]:
        """Ids of a text. `control`: whether control tokens that are spelled out in it count as such."""
        answer = self._http.post("/tokenize", {"content": text, "add_special": False, "parse_special": control})
        return answer["tokens"]

    def tokenize_all(self, texts: Sequence[str], separator: int) -> list[list[int]]:
        """Ids of many texts in one request, which takes a third of the time where they are short.

        Control tokens are spelled out.

        Args:
            separator: a control token, which no text can become.
        """
        content = [part for text in texts for part in (text, separator)]
        answer = self._http.post("/tokenize", {"content": content, "add_special": False, "parse_special": False})
        ids: list[list[int]] = [[]]
        for token in answer["tokens"]:
            if token == separator:
                ids.append([])
            else:
                ids[-1].append(token)
        return ids[:-1]

    def detokenize(self, ids: Sequence[int]) -> str:
        return self._http.post("/detokenize", {"tokens": list(ids)})["content"]

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """Ids of what most likely follows, so many at most. Slower to stop than `complete`, but exact in its ids."""
        fixed = {"temperature": 0, "samplers": ["temperature"], "return_tokens": True, "cache_prompt": False}
        return self._http.post("/completion", {"prompt": list(ids), "n_predict": count, **fixed})["tokens"]

    def complete(
        self, request: dict[str, Any], progress: Progress | None = None, cancel: threading.Event | None = None
    ) -> Iterator[Token]:
        """Yield token by token what follows; closing the iterator ends it, a token later at most.

        The call blocks, so it runs in a thread of its own.

        Args:
            progress: is kept up to date.
            cancel: set by any thread, it ends this as closing does, also while the prompt is read, or a slot awaited.

        Raises:
            UserError: llama.cpp refuses, or fails.
        """
        progress, cancel = progress or Progress(), cancel or threading.Event()
        chunks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        stopped = threading.Event()

        def is_over() -> bool:
            return stopped.is_set() or cancel.is_set()

        def take(chunk: Any) -> bool:
            chunks.put(chunk)
            return is_over()

        def run() -> None:
            try:
                with self._slot(is_over) as is_free:
                    if is_free:
                        chunks.put(self._server.handle_completions(request, take))
            except Exception as error:
                chunks.put({"error": {"message": first_line(error)}})
            chunks.put(None)

        thread = threading.Thread(target=run, name="llama.cpp", daemon=True)
        thread.start()
        try:
            while (chunk := chunks.get()) is not None and not cancel.is_set():
                yield from self._tokens(chunk, progress)
        finally:
            stopped.set()
            thread.join()

    @contextlib.contextmanager
    def _slot(self, is_over: Callable[[], bool]) -> Iterator[bool]:
        """A slot, once one is free; False where it is over before. Whoever waits inside llama.cpp cannot leave."""
        while not (is_free := self._free.acquire(timeout=POLL)) and not is_over():
            pass
        try:
            yield is_free
        finally:
            if is_free:
                self._free.release()

    def _tokens(self, chunk: Any, progress: Progress) -> Iterator[Token]:
        for part in chunk if isinstance(chunk, list) else [chunk]:
            if not isinstance(part, dict):
                continue
            if "error" in part:
                raise UserError(f"llama.cpp: {first_line(part['error'].get('message', part['error']))}")
            timings, before = part.get("timings", {}), progress.written
            if known := part.get("prompt_progress"):
                progress.read = known["total"] - known["cache"]
            progress.written = timings.get("predicted_n", before)
            for choice in part.get("choices", []):
                progress.cut = choice.get("finish_reason") == "length"
                yield from self._of_choice(choice, progress.written - before)

    def _of_choice(self, choice: dict[str, Any], count: int) -> Iterator[Token]:
        """The tokens of a piece of text, so many."""
        named, text = (choice.get("logprobs") or {}).get("content") or [], choice["text"]
        if not named:  # nobody asked for likelihoods
            if text:
                yield Token(None, text, None)
            return
        last = named[-1]
        # Tokens of an unfinished character come together with the one that finishes it, and only that one is named.
        held = self.tokenize(text)[:-1][1 - count :] if count > 1 else []
        yield from (Token(token, "", None) for token in [last["id"]] * (count - 1 - len(held)) + held)
        score = last["logprob"]
        yield Token(last["id"], text, math.nan if score is None else score)  # JSON has no other word for it


def _parameters(library: Any, model: Path, context: int, adapter: Path | None, key: str, slots: int) -> Any:
    params = library.CommonParams()
    params.model.path = str(model)
    params.n_ctx, params.n_parallel = context * slots, slots
    for part in (params.cpuparams, params.cpuparams_batch):
        part.n_threads = threads()
    params.n_batch = BATCH
    # Left to itself it gives a new conversation the slot of another that begins alike, and all begin with the same
    # words; so what was read of that one is put aside. One conversation alone needs no such memory.
    params.cache_ram_mib = KEPT_MIB if slots > 1 else 0
    params.enable_chat_template = False  # prompts are made here
    params.warmup = False
    params.verbosity = -1
    params.api_keys = [key]
    params.ui = params.endpoint_slots = params.endpoint_metrics = False
    if adapter:
        params.lora_adapters = [library.CommonAdapterLoraInfo(str(adapter), 1.0)]
    return params


def threads() -> int:
    """OMP_NUM_THREADS where it is set, as for torch, else one for each core."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(wanted) if wanted.isdecimal() and int(wanted) else cores()


def load_library() -> Any:
    """Package xllamacpp. Raises UserError where it is missing, or would die of an instruction that is not there."""
    if lacking := NEEDED - _processor_flags():
        raise UserError(
            f"this processor lacks {', '.join(sorted(lacking)).upper()}, without which package xllamacpp (llama.cpp) "
            "cannot run; answer with torch (pip install 'gistchat[train]', then --engine torch) or by a server (--url)"
        )
    # Its threads wait for each other hundreds of times a token. Left to themselves, they do so in a loop of some
    # milliseconds that keeps a core busy; beside other work they stop each other. With a short loop, and then sleep, a
    # quiet machine loses nothing, and a busy one keeps three times as much (docs/LOG.md). Without any, it halves.
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    try:
        return importlib.import_module("xllamacpp")
    except ImportError as error:
        raise UserError(f"llama.cpp cannot be used ({first_line(error)}): pip install xllamacpp") from None


def _processor_flags() -> set[str]:
    """Of an Intel or AMD processor under Linux, as the system names them; of others, whatever is needed."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, flags = line.partition(":")
            if name.strip() == "flags":
                return set(flags.split())
    return NEEDED


def _reason(model: Path, adapter: Path | None) -> str:
    """Why it cannot open a model: it says so only on standard error, so another process is made to fail, too."""
    command = [sys.executable, "-c", EXPLAIN, str(model), *([str(adapter)] if adapter else [])]
    try:
        said = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60).stderr
    except (OSError, subprocess.TimeoutExpired):
        return "it does not say why"
    reasons = [line.partition(REASON)[2] for line in said.splitlines() if REASON in line]
    return first_line(reasons[0])[:200] if reasons else "damaged, or of a kind that it does not know"


class _Connection:
    """To the port of this process's own server, kept open from request to request."""

    def __init__(self, address: str, key: str) -> None:
        self.host = urlsplit(address).netloc
        self.headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.lock = threading.Lock()
        self._connect()

    def _connect(self) -> None:
        self.connection = http.client.HTTPConnection(self.host, timeout=600)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, path: str, values: dict[str, Any]) -> Any:
        body = json.dumps(values).encode()
        with self.lock:
            try:
                return self._exchange(path, body)
            except (http.client.HTTPException, OSError):  # the server closes a connection after a while
                self.connection.close()
                self._connect()
                return self._exchange(path, body)

    def _exchange(self, path: str, body: bytes) -> Any:
        self.connection.request("POST", path, body, self.headers)
        answer = self.connection.getresponse().read()
        values = json.loads(answer)
        if "error" in values:
            raise UserError(f"llama.cpp: {first_line(values['error'].get('message', ''))}")
        return values
