"""The engine behind an address: any OpenAI-compatible server answers, such as Ollama, vLLM, llama.cpp or LM Studio."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from gistchat.context.types import Context
from gistchat.engines.engine import ConversationCache, Engine
from gistchat.engines.openai_answer import NoText, error_message
from gistchat.engines.openai_client import RETRIED, ChatClient, Delta, LookedUp
from gistchat.engines.sampling import Sampling
from gistchat.engines.server_reply import ServerReply
from gistchat.engines.server_request import ServerDialect, root_of
from gistchat.engines.server_tokens import AT_ONCE, TokenMeter
from gistchat.errors import UserError
from gistchat.printable import printable
from gistchat.progress import say, say_once
from gistchat.prompts.wording import PREAMBLE

# Where a server does not tell. It is what Ollama takes unless it is told otherwise (OLLAMA_CONTEXT_LENGTH), and it
# drops the beginning of a longer prompt without a word.
DEFAULT_LIMIT = 4096
LIMITS = ("max_model_len", "context_length", "context_window", "max_context_length")  # vLLM, and hosts
MOST_LISTED = 5


class ServerEngine(Engine):
    """A model behind an address. It keeps nothing of a conversation; what the server keeps is its own affair."""

    name = "server"
    knows_likelihood = False

    def __init__(self, client: ChatClient, limit: int, preamble: str = PREAMBLE) -> None:
        """`limit`: tokens that the model takes; `preamble`: what it is told first."""
        self.client, self.limit = client, limit
        self.dialect = ServerDialect(client.url, preamble)
        self.costs = TokenMeter(client, self.dialect)

    def count_tokens(self, context: Context) -> int:
        return self.costs.prompt(context)

    def count(self, texts: list[str]) -> list[int]:
        return self.costs.count(texts)

    def end_of(self, text: str, tokens: int) -> str:
        return self.costs.end_of(text, tokens)

    def prompt_text(self, context: Context) -> str:
        """The messages, each under its role."""
        return "\n\n".join(f"[{sent['role']}]\n{sent['content']}" for sent in self.dialect.messages(context))

    def told_first(self, context: Context) -> str:
        return context.preamble or self.dialect.preamble

    def stream(self, context: Context, sampling: Sampling, cache: ConversationCache) -> Iterator[str]:
        """Yield a reply piece by piece.

        Raises:
            UserError: no answer, or it broke off; what came of it has been given.
        """
        ask, reply = self._ask(context, sampling, sampling.seed), ServerReply(sampling, self.costs)
        cache.begin(0)
        if not reply.ended:
            with contextlib.closing(self.client.stream(ask, cache.cancel)) as deltas:
                for delta in deltas:
                    if piece := reply.add(delta):
                        yield piece
                    if reply.ended:
                        break
            if piece := reply.end("cancel") if cache.cancel.is_set() else self._finish(reply):
                yield piece
            self._note(context, reply)
        cache.ended, cache.written = reply.ended, len(reply.ids)
        cache.prompt = reply.usage.prompt if reply.usage else self.count_tokens(context)
        if reply.usage:
            cache.prefilled = reply.usage.prompt - reply.usage.cached

    def generate_batch(
        self,
        contexts: Sequence[Context],
        sampling: Sampling,
        rows: Sequence[int],
        cancel: threading.Event | None = None,
    ) -> list[ServerReply]:
        """A whole reply to each context, a few at once; empty where the model or a filter refused, which is said."""
        repeatable = sampling.seed is not None
        asks = [
            self._ask(context, sampling, sampling.seed_of(row) if repeatable else None)
            for context, row in zip(contexts, rows, strict=True)
        ]
        replies = [ServerReply(sampling, self.costs) for _ in contexts]
        if not replies or replies[0].ended:
            return replies

        def hear(number: int, delta: Delta) -> bool:
            replies[number].add(delta)
            return bool(replies[number].ended)

        self.client.stream_all(asks, hear, AT_ONCE, cancel)
        for context, reply in zip(contexts, replies, strict=True):
            try:
                reply.end("cancel") if cancel and cancel.is_set() else self._finish(reply)
            except NoText as reason:
                say_once(str(reason))
            self._note(context, reply)
        return replies

    def _ask(self, context: Context, sampling: Sampling, seed: int | None) -> "_Ask":
        self.dialect.options(sampling, seed)  # raises where it cannot be asked for
        return _Ask(self.client.model, self.dialect, context, sampling, seed)

    def _finish(self, reply: ServerReply) -> str:
        try:
            return reply.finish()
        except UserError as error:
            raise type(error)(f"{self.client.url}: {error}") from None

    def _note(self, context: Context, reply: ServerReply) -> None:
        """Learn from the tokens that the server counted."""
        if reply.usage:
            self.costs.note(context, reply.usage.prompt)
        elif reply.is_whole and not self.costs.is_exact:
            say_once(f"{self.client.url}: tells no token counts, so they stay estimated, rather too high")


class _Ask:
    """A context that is put as the server's dialect wants it now."""

    def __init__(
        self, model: str, dialect: ServerDialect, context: Context, sampling: Sampling, seed: int | None
    ) -> None:
        self.model, self.dialect = model, dialect
        self.context, self.sampling, self.seed = context, sampling, seed
        self._asked: dict[str, Any] = {}

    def fields(self) -> dict[str, Any]:
        options = self.dialect.options(self.sampling, self.seed)
        self._asked = {"model": self.model, "messages": self.dialect.messages(self.context), **options}
        return self._asked

    def adapt(self, status: int, body: str) -> bool:
        return self.dialect.adapt(status, body, self._asked)


def open_server_engine(url: str, model: str = "", what: str = "replies", preamble: str = PREAMBLE) -> ServerEngine:
    """The engine of a server's model; the server's only one where none is named.

    Args:
        preamble: what the model is told first.
        what: the server is to write, for the question whether it may (`trusted_hosts.allow`).

    Raises:
        UserError: nothing answers there, it is no such server, it has no such model, or may not be asked.
    """
    client = ChatClient(url, model, what)
    entries = _models(client)
    if entries is None:
        if not model:
            raise UserError(f"{client.url}: does not say which models it has; name one (--model)")
        return ServerEngine(client, DEFAULT_LIMIT, preamble)
    entry = _chosen(client, entries)
    return ServerEngine(client, _limit(client, entry), preamble)


def _models(client: ChatClient) -> list[dict[str, Any]] | None:
    """What the server says of its models; None where it has no such list."""
    answer = client.look_up(f"{client.url.rstrip('/')}/models")
    values = answer.values
    if answer.status in (401, 403):
        raise UserError(client.without_key(f"{client.url}: {_problem(answer)}"))
    if answer.status in (404, 405, 501) and urlsplit(client.url).path.strip("/"):
        return None
    if answer.status in RETRIED or answer.status >= 500:
        raise UserError(f"{client.url}: {_problem(answer)}; try again in a moment")
    if answer.status != 200 or not isinstance(values, dict) or not isinstance(values.get("data"), list):
        raise UserError(f"{client.url}: no list of models ({_problem(answer)}); does the address end in /v1?")
    return [entry for entry in values["data"] if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def _problem(answer: LookedUp) -> str:
    message = error_message(answer.body)
    return f"it answers {answer.status}" + (f": {message}" if message else "")


def _chosen(client: ChatClient, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The entry of the client's model, or of the only one, which then is the client's."""
    names = [printable(entry["id"])[:100] for entry in entries]
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    listed = ", ".join(names[:MOST_LISTED]) + more
    if client.model:
        entry = next((entry for entry in entries if client.model in _names_of(entry)), None)
        if entry is None:
            has = f"it has {listed}" if names else "it has none; load or pull one there first"
            raise UserError(f"{client.url}: no model {printable(client.model)[:100]!r}; {has}")
        return entry
    if len(entries) != 1:
        raise UserError(f"{client.url}: name one of its models (--model): {listed or 'it has none'}")
    client.model = entries[0]["id"]
    say(f"{client.url}: {names[0]}, the only model there")
    return entries[0]


def _names_of(entry: dict[str, Any]) -> set[str]:
    """The names that a model can be asked for by."""
    name, aliases = entry["id"], entry.get("aliases")
    others = {alias for alias in aliases if isinstance(alias, str)} if isinstance(aliases, list) else set()
    return {name, name.removesuffix(":latest"), name.removeprefix("models/"), *others}


def _limit(client: ChatClient, entry: dict[str, Any]) -> int:
    """Tokens that a model takes, as far as the server tells."""
    for name in LIMITS:
        if _is_size(entry.get(name)):
            return entry[name]
    meta = entry.get("meta")
    if not isinstance(meta, dict) or not _is_size(meta.get("n_ctx_train")):
        return DEFAULT_LIMIT
    with contextlib.suppress(UserError, AttributeError):  # llama.cpp: what each of its slots takes
        size = client.look_up(f"{root_of(client.url)}/props").values.get("default_generation_settings").get("n_ctx")
        if _is_size(size):
            return size
    return min(DEFAULT_LIMIT, meta["n_ctx_train"])


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < 10**9
