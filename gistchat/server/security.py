"""Who may ask: key, Host and Origin are checked before anything else, and every answer says what a page may do.

A page of another host that somebody has open must neither read nor change conversations: it cannot name this server as
its own (Host, against DNS rebinding) nor ask in its own name (Origin). Text is never HTML, and no page here runs a
script that is not a file of this server.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import re
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gistchat.server.errors import ApiError, as_api_error
from gistchat.server.settings import LOOPBACK
from gistchat.server.shared import Shared

WITHOUT_KEY = ("/", "/health", "/api/info", "/favicon.ico")
WHILE_STOPPING = ("/health", "/metrics")
FILES_WITHOUT_KEY = "/page/"
ANY_ADDRESS = ("0.0.0.0", "::", "")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
BODY_SECONDS = 60
NOT_KEPT = ("/v1/", "/api/")  # what is answered there, no cache may keep


def namespace_of(key: str) -> str:
    """Which conversations a key opens: names them in the store without giving the key away."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


class Guard:
    """Around the whole app. Sets `request.state.namespace`, and counts requests."""

    def __init__(self, app: ASGIApp, shared: Shared) -> None:
        self.app, self.shared, settings = app, shared, shared.settings
        self.keys = [key.encode() for key in settings.api_keys]
        bound = () if settings.host in ANY_ADDRESS else (settings.host,)
        self.hosts = {name.lower() for name in (*LOOPBACK, *bound, *settings.allowed_hosts)}
        self.any_address = settings.host in ANY_ADDRESS
        self.origins = {origin.lower().rstrip("/") for origin in settings.allowed_origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # no websockets; the lifespan is the app's own
            await (self.app(scope, receive, send) if scope["type"] == "lifespan" else send({"type": "websocket.close"}))
            return
        begun, answer, scope = time.perf_counter(), _Answer(scope, send), dict(scope)
        working = False
        try:
            self._check(scope)
            working = scope["path"] not in WHILE_STOPPING
            self.shared.active += working
            body = _Body(scope, receive, self.shared.settings.body_bytes)
            await self.app(scope, body.receive, answer.send)
        except Exception as error:
            refusal = as_api_error(error)
            if not answer.status:  # else it cannot be said any more, and the connection ends
                await refusal.response()(scope, receive, answer.send)
        except asyncio.CancelledError:
            if not self.shared.stopping:
                raise
            if not answer.status:
                await _stopping().response()(scope, receive, answer.send)
        finally:
            self.shared.active -= working
            self.shared.metrics.note_request(scope, answer.status, begun)

    def _check(self, scope: Scope) -> None:
        """Make the request one that the app gets. Raises ApiError."""
        headers = Headers(scope=scope)
        self._require_host(headers)
        self._require_origin(headers)
        path = re.sub("/{2,}", "/", scope["path"])
        if path.startswith(NOT_KEPT):
            path = path.rstrip("/")  # as some clients put their addresses together
        state = {**scope.get("state", {}), "namespace": self._namespace(headers, path)}
        scope |= {"path": path, "raw_path": path.encode(), "state": state}
        if scope["method"] == "HEAD":
            scope["method"] = "GET"
        if self.shared.stopping and path not in WHILE_STOPPING:
            raise _stopping()

    def _require_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        name = host_name(hosts[0]) if len(hosts) == 1 else ""
        if name in self.hosts or (self.any_address and _is_address(name)):
            return
        raise ApiError(403, "not a name of this server; --allow-host NAME makes it one", code="host_not_allowed")

    def _require_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or origin.lower() in self.origins:
            return
        if urlsplit(origin).netloc.lower() != headers["host"].lower():  # also where it is "null"
            raise ApiError(403, "pages of other hosts may not ask this server", code="origin_not_allowed")

    def _namespace(self, headers: Headers, path: str) -> str:
        kind, _, given = headers.get("authorization", "").partition(" ")
        offered = given.strip().encode() if kind.lower() == "bearer" else b""
        matching = [key for key in self.keys if hmac.compare_digest(key, offered)]
        if matching:
            return namespace_of(matching[0].decode())
        if self.keys and not _is_open(path):
            message = "wrong API key" if offered else "no API key; send it as Authorization: Bearer KEY"
            raise ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        return ""


def _stopping() -> ApiError:
    return ApiError(503, "the server is stopping", code="stopping", headers={"Retry-After": "10"})


def _is_open(path: str) -> bool:
    return path in WITHOUT_KEY or path.startswith(FILES_WITHOUT_KEY)


def host_name(host: str) -> str:
    """The name in a Host header or an address, without its port; empty where it is none."""
    match = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+))(?::\d{1,5})?", host.lower())
    return (match[1] or match[2].rstrip(".")) if match else ""


def _is_address(name: str) -> bool:
    """Whether it is a number: only names can be made to lead elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Body:
    """What is sent to the app, up to a limit, and in a time that lets nobody hold a place by sending slowly."""

    def __init__(self, scope: Scope, receive: Receive, most: int) -> None:
        self._receive, self._most = receive, most
        self._announced = int(length) if (length := Headers(scope=scope).get("content-length", "")).isdecimal() else 0
        self._deadline = time.monotonic() + BODY_SECONDS
        self._bytes, self._whole = 0, False

    async def receive(self) -> Message:
        """Raises ApiError: it is too long, or takes too long."""
        if self._whole:
            return await self._receive()  # until the client goes away
        if self._announced > self._most:
            raise self._too_large()
        try:
            message = await asyncio.wait_for(self._receive(), self._deadline - time.monotonic())
        except TimeoutError:
            raise ApiError(408, f"the body did not come within {BODY_SECONDS} seconds", code="timeout") from None
        self._bytes += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._bytes > self._most:
            raise self._too_large()
        return message

    def _too_large(self) -> ApiError:
        close = {"Connection": "close"}  # what follows is not read
        return ApiError(413, f"a body may have {self._most:,} bytes", code="request_too_large", headers=close)


class _Answer:
    """Adds the headers of every answer, and drops the body where only the head was asked for.

    Attributes:
        status: that was sent; 0 before.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send, self.status = send, 0
        self._head_only = scope["method"] == "HEAD"
        self._kept = not scope["path"].startswith(NOT_KEPT)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if not self._kept:
                headers.setdefault("Cache-Control", "no-store")
        elif self._head_only:
            message = {**message, "body": b""}
        await self._send(message)


def origins_fault(origins: Sequence[str]) -> str:
    """What is wrong with an origin that the operator allows; empty where nothing is."""
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            return f"--allow-origin {origin}: an origin is such as https://chat.example"
    return ""
