"""Serve until a signal: bind, open model and store, answer; then take no new work, end what is begun, and leave."""

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

import uvicorn

from gistchat.chat.model import ChatModel
from gistchat.errors import UserError, first_line
from gistchat.progress import say
from gistchat.server.app import create_app
from gistchat.server.models import model_id
from gistchat.server.security import ANY_ADDRESS, origins_fault
from gistchat.server.settings import ServeSettings
from gistchat.server.shared import Shared
from gistchat.store.conversation_store import ConversationStore
from gistchat.store.database import Database

BACKLOG = 2048  # connections that wait to be accepted
KEEP_ALIVE = 30  # seconds that an idle connection is kept
LAST_SECONDS = 2  # for what is still running when the time to end is over
STRATEGY = "chat.strategy="


def serve(
    settings: ServeSettings, source: Path | None = None, overrides: Sequence[str] = (), database: str | None = None
) -> None:
    """Serve a model until SIGTERM or Ctrl-C.

    Args:
        source: a run's folder or a GGUF file; None for the packaged adapter.
        overrides: `field=value` of the model's recipe; with a backend, of the memory's.
        database: URL of the conversations; None: the user's own.

    Raises:
        UserError: a setting that is unsafe, a port that is in use, no model, no database.
    """
    settings.require_safe()
    if settings.backend:
        settings = replace(settings, memory=tuple(overrides))
    if fault := origins_fault(settings.allowed_origins):
        raise UserError(fault)
    with bound(settings.host, settings.port) as listening:
        store = ConversationStore(Database.open(database))
        model = None if settings.backend else open_model(source, overrides, settings.slots)
        app = create_app(settings, model, store)
        _log_to_terminal()
        server = Server(uvicorn_config(app), app.state.shared, address_of(settings.host, listening))
        try:
            server.run([listening])
        except OSError as error:
            raise _unbound(settings.host, settings.port, error) from None
        finally:
            app.state.shared.close()
            store.database.close()


def open_model(source: Path | None, overrides: Sequence[str], slots: int) -> ChatModel:
    """A model for many conversations. Each may have a strategy of its own; the overrides' is that of new ones.

    Raises UserError: there is no such model.
    """
    model = ChatModel.open(source, overrides, slots)
    return replace(model, overrides=tuple(text for text in overrides if not text.startswith(STRATEGY)))


def uvicorn_config(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,  # addresses hold what was searched for
        server_header=False,
        proxy_headers=False,
        ws="none",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=LAST_SECONDS,
    )


class Server(uvicorn.Server):
    """Ends in order: after a signal new requests are refused (503), and the others have time to end."""

    def __init__(self, config: uvicorn.Config, shared: Shared, address: str) -> None:
        super().__init__(config)
        self.shared, self.address = shared, address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        model, settings = self.shared.model, self.shared.settings
        who = f"model {model_id(model)!r}" if model else f"memory in front of {settings.backend}"
        say(f"serving: {self.address} (page), {self.address}/v1 (API, {who}); Ctrl-C ends")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """After a second signal nothing is waited for."""
        if self.shared.stopping:
            self.should_exit = self.force_exit = True
            return
        self.shared.stopping = True
        asyncio.run_coroutine_threadsafe(self._drain(), self._loop)

    async def _drain(self) -> None:
        seconds = self.shared.settings.drain_seconds
        if not self.shared.idle:
            say(f"stopping: replies have {seconds:g} seconds to end; a second signal ends them now")
        deadline = time.monotonic() + seconds
        while not self.shared.idle and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        self.should_exit = True


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address, which nobody can connect to yet. Raises UserError where it cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = sorted(found, key=lambda info: info[0] != socket.AF_INET)[0]
        # Of a socket whose protocol is not named asyncio does not know that it may send at once; each answer would
        # wait for 40 ms.
        listening = socket.socket(family, kind, socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host {host}: no such address ({first_line(error)})") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise _unbound(host, port, error) from None
    return listening


def _unbound(host: str, port: int, error: OSError) -> UserError:
    if error.errno == errno.EADDRINUSE:
        return UserError(f"port {port} is in use; end the program that has it, or give another: --port {port + 1}")
    return UserError(f"{host}, port {port}: {error.strerror or first_line(error)}")


def address_of(host: str, listening: socket.socket) -> str:
    """The address of the page, as somebody at this machine opens it."""
    name = "127.0.0.1" if host in ANY_ADDRESS else host
    return f"http://{f'[{name}]' if ':' in name else name}:{listening.getsockname()[1]}"


class _ToTerminal(logging.Handler):
    """Without the messages of exceptions, which may quote what people said."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = f" ({record.exc_info[0].__name__})" if record.exc_info and record.exc_info[0] else ""
        say(f"{record.levelname.lower()}: {record.getMessage()}{kind}")


def _log_to_terminal() -> None:
    for name in ("uvicorn.error", "gistchat.server"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_ToTerminal(logging.WARNING)], False
