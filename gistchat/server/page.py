"""The page: its files, served by the same process as the API that it talks to."""

import hashlib
import re
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from gistchat.server.errors import ApiError

router = APIRouter(include_in_schema=False)

KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# No script, style or request but of this server's files; and no text that a script takes for HTML: the browser itself
# refuses `innerHTML` and the like.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
FOREVER = "public, max-age=31536000, immutable"


@cache
def page_files() -> dict[str, bytes]:
    """The files that the page loads, by name."""
    folder = files("gistchat.server") / "page"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.endswith(tuple(KINDS))}


@cache
def edition() -> str:
    """Names the files' contents: it is a part of their addresses, so that a browser may keep them for good."""
    contents = sorted(page_files().items())
    return hashlib.sha256(repr(contents).encode()).hexdigest()[:16]


@cache
def page_html() -> bytes:
    """The page with the addresses of its files. All modules are asked for at once, not one after the other."""
    html = (files("gistchat.server") / "page" / "index.html").read_text("utf-8")
    modules = (name for name in sorted(page_files()) if name.endswith(".js") and name not in ("app.js", "theme.js"))
    preload = "\n".join(f'<link rel="modulepreload" href="page/ASSETS/{name}">' for name in modules)
    return re.sub("page/ASSETS/", f"page/{edition()}/", html.replace("<!-- PRELOAD -->", preload)).encode()


@router.get("/")
def page(request: Request) -> Response:
    return _file(request, page_html(), "text/html; charset=utf-8", "no-cache", {"Content-Security-Policy": POLICY})


@router.get("/favicon.ico")
def favicon(request: Request) -> Response:
    return _file(request, page_files()["icon.svg"], KINDS[".svg"], "max-age=86400", {})


@router.get("/page/{of_edition}/{name}")
def page_file(request: Request, of_edition: str, name: str) -> Response:
    """A file of the page. One of another edition is not there: its page is older than this server."""
    content = page_files().get(name) if of_edition == edition() else None
    if content is None:
        raise ApiError(404, "no such file of the page; reload the page", code="not_found")
    return _file(request, content, KINDS["." + name.rpartition(".")[2]], FOREVER, {})


def _file(request: Request, content: bytes, kind: str, keep: str, headers: dict[str, str]) -> Response:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": keep, "X-Content-Type-Options": "nosniff", **headers}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)
