"""How a server is run: the operator's settings, the same for every part of it."""

from dataclasses import dataclass

from gistchat.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PORT = 8760


@dataclass(frozen=True)
class ServeSettings:
    """What the operator chose.

    Attributes:
        api_keys: any of them opens the API, each onto conversations of its own; without one, everybody may ask.
        allowed_hosts: names that the server is reached by besides its address and the loopback's.
        allowed_origins: pages of other hosts that may ask, such as https://chat.example.
        backend: address of the model that the memory stands in front of; empty: the model answers here.
        backend_key: the operator's for it; empty: callers' own are sent on, unless they are keys of this server.
        backend_seconds: to wait for its answer, and between two pieces of it.
        observe: with a backend: only record.
        memory: `section.field=value` of a recipe, for the memory in front of a backend.
        memory_seconds: to wait for that memory; later, and a request goes on as it came.
        slots: replies that are written at once.
        queue: replies that may wait for that; more are refused (429).
        body_bytes: of a request.
        messages: of a request.
        reply_tokens: of a reply, at most.
        reply_seconds: a reply that takes longer ends where it is.
        wait_seconds: the longest wait for a slot.
        drain_seconds: time that replies have to end after a signal to stop.
        open_conversations: kept open between requests; others are opened from the store.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    api_keys: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    backend: str = ""
    backend_key: str = ""
    backend_seconds: float = 600.0
    observe: bool = False
    memory: tuple[str, ...] = ()
    memory_seconds: float = 10.0
    slots: int = 1
    queue: int = 32
    body_bytes: int = 16 * 2**20
    messages: int = 20_000
    reply_tokens: int = 4096
    reply_seconds: float = 300.0
    wait_seconds: float = 120.0
    drain_seconds: float = 30.0
    open_conversations: int = 64

    def require_safe(self) -> None:
        """Raises UserError where others could reach the server without a key, or a key cannot be sent."""
        for key in self.api_keys:
            if len(key) < 8 or not key.isascii() or not key.isprintable() or " " in key:
                raise UserError("--api-key: a key has at least 8 characters, all of them ASCII and none a space")
        if self.host not in LOOPBACK and not self.api_keys:
            raise UserError(
                f"--host {self.host}: others could reach this server, so it needs a key: --api-key KEY, or "
                "GISTCHAT_API_KEY"
            )
