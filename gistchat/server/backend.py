"""The model behind the memory: any OpenAI-compatible server. Only the operator says where it is.

What it answers comes back as it is, its errors, too. What is only between a client and this server stays here: cookies,
keys of this server, and what names the connection.
"""

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable
from urllib.parse import unquote

import httpx2
from starlette.datastructures import Headers

from gistchat import trusted_hosts
from gistchat.errors import UserError, first_line
from gistchat.server.errors import ApiError

CONNECT_SECONDS = 10.0
SECONDS = 600.0  # until something comes, and between two pieces: a large model may have to be loaded first
CONNECTIONS = 1000

# Of one connection only (RFC 9110, 7.6.1), and `host` and the length, which are made anew.
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
_HOP_BY_HOP |= {"proxy-authenticate", "proxy-authorization"}
# What a browser says of itself and its page was checked here; Ollama refuses pages that it does not know.
_NOT_SENT_ON = _HOP_BY_HOP | {"host", "content-length", "cookie", "origin", "referer", "accept-encoding", "expect"}
# Of answers: pages of other hosts may not ask this server, whatever the backend thinks of them asking it.
_NOT_PASSED_BACK = _HOP_BY_HOP | {"date", "server", "set-cookie", "alt-svc", "strict-transport-security"}


class Backend:
    """Where requests go on to.

    Attributes:
        url: without a slash at its end; what stands behind /v1 in a request is put behind it.
    """

    def __init__(self, url: str, key: str = "", own_keys: Iterable[str] = (), seconds: float = SECONDS) -> None:
        """
        Args:
            key: the operator's, sent in place of a caller's own; without one, callers' own are sent on.
            own_keys: of this server, which no other server may see.
            seconds: to wait for an answer, and between two pieces of it.

        Raises:
            UserError: no address of a server.
        """
        server = trusted_hosts.parse(url)
        if "?" in url or "#" in url:
            raise UserError(f"--backend {url}: an address with neither ? nor #, such as http://localhost:11434/v1")
        self.url = server.url.rstrip("/")
        if self.url == server.origin:
            self.url += "/v1"
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise UserError("--backend-key: a key is ASCII, without spaces")
        self._key, self._own_keys, self._seconds = key, tuple(own_keys), seconds
        self.http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds)),
            limits=httpx2.Limits(max_connections=CONNECTIONS),
            follow_redirects=False,  # they may lead to another server
            trust_env=not server.is_local,
        )

    async def close(self) -> None:
        await self.http.aclose()

    @contextlib.asynccontextmanager
    async def ask(
        self, method: str, path: str, query: str, headers: Headers, body: bytes
    ) -> AsyncIterator[httpx2.Response]:
        """The backend's answer, whose body is to be read yet; leaving the block ends it.

        Args:
            path: behind /v1, with a slash at its beginning.

        Raises:
            ApiError: nothing answers there (502), or not in time (504); also while the body is read.
        """
        url = httpx2.URL(self.url + _quoted(path), query=query.encode() or None)
        request = self.http.build_request(method, url, headers=self._sent_on(headers), content=body)
        try:
            answer = await self.http.send(request, stream=True)
            try:
                yield answer
            finally:
                await answer.aclose()
        except httpx2.TimeoutException as error:
            what = "be reached" if isinstance(error, httpx2.ConnectTimeout) else "answer"
            raise ApiError(504, f"the backend did not {what} in time", code="backend_timeout") from None
        except httpx2.ConnectError as error:
            reason = "its certificate is not trusted" if _is_certificate(error) else "is it running?"
            raise ApiError(502, f"the backend cannot be reached: {reason}", code="backend_unreachable") from None
        except httpx2.HTTPError as error:
            problem = type(error).__name__
            raise ApiError(502, f"the backend broke off ({problem})", code="backend_broke_off") from None

    def _sent_on(self, headers: Headers) -> list[tuple[str, str]]:
        named = {name.strip().lower() for name in headers.get("connection", "").split(",")}
        sent = [
            (name, value)
            for name, value in headers.items()
            if not (name in _NOT_SENT_ON or name in named or name.startswith(("x-gistchat-", "sec-fetch-")))
            and not any(key in value for key in self._own_keys)
        ]
        if self._key:
            sent = [(name, value) for name, value in sent if name != "authorization"]
            sent.append(("authorization", f"Bearer {self._key}"))
        return [*sent, ("accept-encoding", "identity")]  # what is said is read on the way


def passed_back(answer: httpx2.Response) -> list[tuple[str, str]]:
    """The headers of an answer that are for the client."""
    named = {name.strip().lower() for name in answer.headers.get("connection", "").split(",")}
    return [
        (name, value)
        for name, value in answer.headers.multi_items()
        if not (name in _NOT_PASSED_BACK or name in named or name.startswith(("access-control-", "x-gistchat-")))
    ]


def _quoted(path: str) -> str:
    """A path below the backend's address. Raises ApiError where it would lead out of it."""
    parts = unquote(path).replace("\\", "/").split("/")
    if "." in parts or ".." in parts or not path.isprintable():
        raise ApiError(404, "no such address", code="unknown_url")
    return path.replace("?", "%3F").replace("#", "%23")


def _is_certificate(error: BaseException) -> bool:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return isinstance(error, ssl.SSLError) or "CERTIFICATE" in first_line(error)
