"""Small parts shared by the tests: dialogues, a tiny random GPT-2 with the genuine GPT-2 tokenizer, a run of it."""

import contextlib
import gc
import io
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest import mock

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the network

from gistchat.chat import session as chat_module
from gistchat.chat.session import ChatSession
from gistchat.cli import main
from gistchat.dialogue.turns import Dialogue, Turn
from gistchat.engines import open as open_module
from gistchat.engines.llama_server import LlamaServer
from gistchat.models.checkpoint import Checkpoint, load_checkpoint
from gistchat.models.resolve import resolve_base
from gistchat.pipeline import Workspace, open_workspace, run_train
from gistchat.recipe.schema import ModelConfig, Recipe

pytest_plugins = ["hub_fixtures", "postgres_server", "server_fixtures"]

FORKS = multiprocessing.get_context("forkserver")


def pytest_configure(config):
    """Convert the packaged base once, before the workers all want it. Processes are forks of one that imported all."""
    FORKS.set_forkserver_preload(["preloaded"])
    if not hasattr(config, "workerinput"):
        resolve_base(ModelConfig(), seed=0)


def pytest_collection_finish():
    """What was imported stays: it is not looked through for garbage again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


@pytest.fixture(scope="session", autouse=True)
def no_chat_of_a_test_is_kept_at_home(tmp_path_factory):
    """Folders of its own for state and data, for the processes that tests start, too."""
    places = {name: str(tmp_path_factory.mktemp(name)) for name in ("XDG_STATE_HOME", "XDG_DATA_HOME")}
    with mock.patch.dict(os.environ, places):
        os.environ.pop("GISTCHAT_DATABASE", None)
        yield


@pytest.fixture
def state(tmp_path, monkeypatch):
    """The state folder of gistchat, for this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "gistchat"


@pytest.fixture
def database_file(tmp_path, monkeypatch):
    """Where conversations are kept, for this test alone; there is nothing yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "gistchat" / "conversations.db"


THINGS = ["dog", "cat", "river", "garden", "violin", "bicycle", "teacher", "mountain", "kitchen", "library", "engine"]
DEEDS = ["bought", "painted", "lost", "repaired", "visited", "remembered", "sold", "cleaned", "described"]


def make_dialogue(number: int, turns: int = 12, **changes) -> Dialogue:
    """A dialogue of two speakers with sentences of its own."""
    rng = random.Random(number)
    said = [
        Turn(
            f"speaker{(number + i) % 2}",
            f"I {rng.choice(DEEDS)} a {rng.choice(THINGS)} near the {rng.choice(THINGS)}. "
            f"Did you see the {rng.choice(THINGS)} number {rng.randrange(1000)}?",
        )
        for i in range(turns)
    ]
    return Dialogue(id=f"d{number}", turns=tuple(said), **changes)


@pytest.fixture
def dialogues() -> list[Dialogue]:
    return [make_dialogue(i) for i in range(20)]


@pytest.fixture
def dialogue_file(tmp_path: Path, dialogues: list[Dialogue]) -> Path:
    path = tmp_path / "talks.jsonl"
    path.write_bytes(b"".join(dialogue.to_line() for dialogue in dialogues))
    return path


@pytest.fixture(scope="session")
def tiny_base():
    """A random two-layer GPT-2 in the model cache."""
    return resolve_base(ModelConfig(name="gpt2", init="scratch", size="tiny"), seed=0)


@pytest.fixture
def tiny_recipe(dialogue_file: Path, tmp_path: Path) -> Recipe:
    return small_recipe(dialogue_file, tmp_path / "data")


def small_recipe(dialogue_file: Path, data: Path) -> Recipe:
    """A recipe that runs in seconds: tiny GPT-2, twenty dialogues."""
    place = {"corpus": "jsonl", "source": str(dialogue_file), "folder": str(data)}
    return Recipe(name="tiny").change(
        data={**place, "test_share": 0.3, "validation_share": 0.15},
        model={"name": "gpt2", "init": "scratch", "size": "tiny"},
        context={"budget": 48},
        train={"steps": 6, "batch_size": 2, "evaluate_every": 3, "save_every": 2, "validation_items": 3},
        evaluate={"items": 4, "reply_items": 3, "max_reply_tokens": 6, "resamples": 200},
    )


def train_tiny(recipe: Recipe, folder: Path, force: bool = False) -> Workspace:
    """Prepare, summarize and train a recipe."""
    workspace = open_workspace(recipe, folder)
    run_train(workspace, force)
    return workspace


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """A trained run, to be read only."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "talks.jsonl").write_bytes(b"".join(make_dialogue(i).to_line() for i in range(20)))
    run_train(open_workspace(small_recipe(folder / "talks.jsonl", folder / "data"), folder / "run"))
    return folder / "run"


@pytest.fixture(scope="session")
def checkpoint(run_folder: Path) -> Checkpoint:
    """Of the trained run, as training and evaluation load it: the model of torch, the tokenizer of transformers."""
    return load_checkpoint(run_folder)


TINY_TOML = """
[data]
corpus = "jsonl"
source = "talks.jsonl"
folder = "data"
test_share = 0.3
validation_share = 0.15

[model]
name = "gpt2"
init = "scratch"
size = "tiny"

[context]
budget = 48

[train]
steps = 6
batch_size = 2
evaluate_every = 3
save_every = 2
validation_items = 3

[evaluate]
items = 4
reply_items = 3
max_reply_tokens = 6
resamples = 200
"""


LONG = "The lighthouse was painted yellow again by the neighbours of the old harbour."


@pytest.fixture(scope="session")
def servers() -> dict[tuple, LlamaServer]:
    """By model and context, what `shared_servers` opened."""
    return {}


@pytest.fixture
def shared_servers(servers, monkeypatch):
    """llama.cpp opens a model once for all tests, as for all sessions of one `ChatModel`; all above it is as ever."""

    def opened(model: Path, context: int, adapter: Path | None = None, slots: int = 1) -> LlamaServer:
        files = [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in (model, adapter) if path]
        key = (*files, context, slots)
        if key not in servers:
            servers[key] = LlamaServer(model, context, adapter, slots)
        return servers[key]

    monkeypatch.setattr(open_module, "LlamaServer", opened)


@pytest.fixture
def session(run_folder: Path) -> ChatSession:
    return ChatSession.open(run_folder, ["chat.max_reply_tokens=8"], seed=3)


@pytest.fixture
def prompts(monkeypatch):
    """The texts of the prompts that the model reads."""
    read = []
    stream = chat_module.stream_reply

    def recorded(engine, context, sampling, cache):
        read.append(engine.format.tokenizer.decode(engine.format.encode(context).ids))
        return stream(engine, context, sampling, cache)

    monkeypatch.setattr(chat_module, "stream_reply", recorded)
    return read


def say(session: ChatSession, text: str) -> str:
    return "".join(session.reply(text))


def talk(session: ChatSession, turns: int) -> None:
    for i in range(turns):
        session.hear([Turn("user", f"{LONG} {i}"), Turn("model", f"I saw {i} boats there, and a dog.")])


def texts(session: ChatSession) -> list[str]:
    """Of the gist's lines."""
    return [line.text for line in session.memory.current().sentences]


@pytest.fixture
def tiny_folder(tmp_path: Path, dialogue_file: Path) -> Path:
    """A working folder with talks.jsonl and tiny.toml."""
    (tmp_path / "tiny.toml").write_text(TINY_TOML)
    return tmp_path


def gistchat(
    *words: str, cwd: Path, stdin: str | None = None, apart: bool = False, **changes
) -> subprocess.CompletedProcess:
    """Run the real command line: its entry point in this process, or `apart`, in one of its own.

    Importing torch and transformers takes longer than what most tests do with them.

    Args:
        changes: of a subprocess, which then starts from nothing, as a user's does.
    """
    if apart and not changes:
        with forked(*words, cwd=cwd, stdin=stdin or "") as process:
            process.join(300)
            said = [process.files[name].read_text(encoding="utf-8") for name in ("out", "err")]
            return subprocess.CompletedProcess(words, process.exitcode, *said)
    if changes:
        command = [sys.executable, "-c", "from gistchat.cli import main; main()", *words]
        environment = {**os.environ, "COLUMNS": "120", **changes.pop("env", {})}
        return subprocess.run(
            command, cwd=cwd, input=stdin, capture_output=True, text=True, env=environment, timeout=300, **changes
        )
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["gistchat", *words]),
        mock.patch.object(sys, "stdin", io.StringIO(stdin or "")),
        mock.patch.dict(os.environ, {"COLUMNS": "120"}),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def forked(*words: str, cwd: Path, stdin: str = "") -> Iterator[BaseProcess]:
    """The command line in a process of its own, which is killed at the end where it still runs.

    Its `files` hold what it reads and writes: in, out and err.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in ("in", "out", "err")}
        files["in"].write_text(stdin, encoding="utf-8")
        environment = {**os.environ, "COLUMNS": "120"}
        process = FORKS.Process(target=_run_command, args=(words, cwd, files, environment))
        process.files = files
        process.start()
        try:
            yield process
        finally:
            process.kill()
            process.join()


def _run_command(words: tuple[str, ...], cwd: Path, files: dict[str, Path], environment: dict[str, str]) -> None:
    for number, (name, path) in enumerate(files.items()):
        os.dup2(os.open(path, os.O_RDONLY if name == "in" else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode, encoding="utf-8") for number, mode in enumerate("rww"))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["gistchat", *words]
    main()


def torchrun(folder: Path, *words: str | Path) -> subprocess.CompletedProcess:
    """Run the command line in two processes, on a port that is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "-m", "gistchat", *words], cwd=folder, capture_output=True, text=True, env=environment, timeout=280
    )
