"""Servers for tests: an app on a port of the loopback that the system picks, stopped when its test is over."""

from __future__ import annotations  # what only servers need is imported when one is started

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gistchat.chat.model import ChatModel
from gistchat.context.types import Context, GistLine, RoleTurn
from gistchat.engines.engine import ConversationCache, Engine
from gistchat.engines.sampling import Sampling
from gistchat.memory.factory import MemoryFactory
from gistchat.recipe.load import override
from gistchat.recipe.schema import Recipe

if TYPE_CHECKING:
    import httpx2
    import openai

    from gistchat.server.shared import Shared


@dataclass
class Served:
    """A server that runs.

    Attributes:
        url: without a slash at its end.
    """

    url: str
    shared: Shared

    def openai(self, key: str = "none") -> openai.OpenAI:
        import openai

        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)

    def async_openai(self, key: str = "none") -> openai.AsyncOpenAI:
        import openai

        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)

    def http(self, **options: Any) -> httpx2.Client:
        import httpx2

        return httpx2.Client(base_url=self.url, timeout=60, trust_env=False, **options)

    def texts(self, conversation: str) -> list[str]:
        """What is in the store of a conversation."""
        return [message.text for message in self.shared.store.path(conversation)]


@contextlib.contextmanager
def serving(model: ChatModel | None, folder: Path, **settings: Any) -> Iterator[Served]:
    """Serve a model, with its database in a folder.

    Args:
        settings: of `ServeSettings`.
    """
    import uvicorn

    from gistchat.server.app import create_app
    from gistchat.server.run import bound, uvicorn_config
    from gistchat.server.settings import ServeSettings
    from gistchat.store.conversation_store import ConversationStore
    from gistchat.store.database import Database

    store = ConversationStore(Database.open(f"sqlite:///{folder}/conversations.db"))
    app = create_app(ServeSettings(**settings), model, store)
    listening = bound("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn_config(app))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", app.state.shared)
    finally:
        server.should_exit = True
        thread.join()
        app.state.shared.close()
        listening.close()
        store.database.close()


def settle(server: Served) -> None:
    """Wait until nothing is left to be done after an answer."""
    while not server.shared.idle:
        time.sleep(0.005)


@pytest.fixture(scope="session")
def packaged_model() -> ChatModel:
    """The adapter that comes with gistchat, with llama.cpp."""
    return ChatModel.open()


@pytest.fixture(scope="session")
def served(packaged_model: ChatModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The packaged model, served without a key; shared by all tests."""
    with serving(packaged_model, tmp_path_factory.mktemp("served")) as server:
        yield server


class WordCosts:
    """A token is a word."""

    def turn_cost(self, turn: RoleTurn) -> int:
        return len(turn.text.split()) + 1

    def line_cost(self, line: GistLine) -> int:
        return len(line.text.split()) + 1

    def gist_cost(self) -> int:
        return 2

    def found_cost(self) -> int:
        return 2

    def spent(self, context: Context) -> int:
        return context.tokens


class ScriptedEngine(Engine):
    """Says numbered words until a reply has as many as it may, a step each.

    Attributes:
        step: seconds that a word takes.
        steps: words so far, of all replies.
        contexts: what was answered.
        gate: while it is not set, no step is taken.
    """

    name = "scripted"
    limit = 512
    costs = WordCosts()

    def __init__(self, step: float = 0.0) -> None:
        self.step, self.steps, self.contexts = step, 0, []
        self.gate = threading.Event()
        self.gate.set()

    def count_tokens(self, context: Context) -> int:
        texts = [context.preamble, context.last.text, *(turn.text for turn in context.turns)]
        texts += [line.text for line in (*context.lines, *context.found)]
        return sum(self.count(texts)) + 4

    def count(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def end_of(self, text: str, tokens: int) -> str:
        return " ".join(text.split()[-tokens:])

    def prompt_text(self, context: Context) -> str:
        return "\n".join([context.preamble, *(turn.text for turn in context.turns), context.last.text])

    def stream(self, context: Context, sampling: Sampling, cache: ConversationCache) -> Iterator[str]:
        self.contexts.append(context)
        cache.begin(self.count_tokens(context))
        cache.prefilled = cache.prompt
        said = f"({context.last.text.split()[-1]})"
        yield said
        while cache.written < sampling.max_tokens and not cache.cancel.is_set():
            self.gate.wait()
            time.sleep(self.step)
            self.steps, cache.written = self.steps + 1, cache.written + 1
            yield f" w{cache.written}"
        cache.ended = "cancel" if cache.cancel.is_set() else "length"

    def generate_batch(self, contexts: Sequence[Context], sampling: Sampling, rows: Sequence[int], cancel=None) -> list:
        raise NotImplementedError


def scripted_model(engine: Engine, *overrides: str) -> ChatModel:
    """A model whose replies are an engine's of a test."""
    recipe = override(Recipe(name="scripted"), ["chat.max_reply_tokens=5", *overrides])
    return ChatModel(recipe, engine, MemoryFactory.of(recipe.summary, recipe.context, engine.costs), name="scripted")
