"""Which server may get what: the turns of a conversation, and the key.

An address may stand in a stranger's recipe or run. So turns go only to a server that the user named (on the command
line, in a call from Python, in GISTCHAT_TRUSTED_HOSTS) or confirmed once, or that is on this machine; the key goes only
to one that was named or confirmed. What is sent to a server on this machine does not leave it, and recipes for local
servers are common: asking would train people to say yes. But anybody who is logged in here may listen on a port, so
such a server gets no key unasked.

Servers are told apart by scheme, host and port: a key that is good for https does not go over http.
"""

import contextlib
import ipaddress
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import platformdirs
from rich.text import Text

from gistchat.errors import UserError
from gistchat.printable import printable
from gistchat.progress import console, say

VARIABLE = "GISTCHAT_TRUSTED_HOSTS"
KEY_VARIABLE = "OPENAI_API_KEY"
PORTS = {"http": 80, "https": 443}
HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
ADDRESS_SETTINGS = {"summaries": "summary.url", "replies": "chat.url"}  # by what a server is to write

_trusted: set[str] = set()  # servers that the user named or confirmed, for as long as the process lives


class Server(NamedTuple):
    """A server's address, with the host written in the one way in which it is compared, shown and called."""

    url: str
    origin: str  # scheme://host, and the port where it is not the scheme's own
    is_local: bool
    gets_key: bool = False


def parse(url: str) -> Server:
    """Raises UserError where the text is no address of a server, or is written to be taken for another one."""
    problem = f"{printable(url)[:200]!r} is no server address"
    if any(char.isspace() or not char.isprintable() or char == "\\" for char in url):
        raise UserError(f"{problem}: no spaces, backslashes or invisible characters can be in one")
    try:
        parts = urlsplit(url)
        name, port = parts.hostname or "", parts.port
        host = _plain_host(name)
    except ValueError:  # also of Unicode that cannot be in a host's name
        host = ""
    if not host or parts.scheme not in PORTS:
        raise UserError(f"{problem}; give one such as http://localhost:8000/v1")
    if "@" in parts.netloc:
        raise UserError(f"{problem} that can be used: leave out what stands before the @, the key is {KEY_VARIABLE}")
    shown = f"[{host}]" if ":" in host else host
    if port not in (None, PORTS[parts.scheme]):
        shown = f"{shown}:{port}"
    return Server(
        urlunsplit((parts.scheme, shown, parts.path, parts.query, "")), f"{parts.scheme}://{shown}", _is_local(host)
    )


def _plain_host(name: str) -> str:
    """A host's name in ASCII letters (so that look-alikes of other scripts show), or empty where it is none."""
    if ":" in name:
        return "" if "%" in name else str(ipaddress.IPv6Address(name))
    plain = name.encode("idna").decode().lower().removesuffix(".")
    return plain if HOST.fullmatch(plain) and ".." not in plain else ""


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def trust(url: str) -> None:
    """Take note of an address that the user gave. Raises UserError where it is none."""
    _trusted.add(parse(url).origin)


def trust_those_in(settings: Sequence[str]) -> None:
    """The same for the addresses in `section.field=value` settings of the command line, or of a call from Python."""
    for setting in settings:
        field, _, value = setting.partition("=")
        if field.strip() in ADDRESS_SETTINGS.values() and value.strip():
            trust(value.strip())


def trusted() -> frozenset[str]:
    """The servers that were named or confirmed, for a worker elsewhere to `trust`."""
    return frozenset(_trusted)


def allow(url: str, what: str) -> Server:
    """The server of an address, once it may be sent the turns; at a terminal the user is asked, once for each server.

    Args:
        what: the server is to write, such as "summaries".

    Raises:
        UserError: not an address, or neither named nor confirmed.
    """
    server = parse(url)
    if server.origin not in _trusted and server.origin in _remembered():
        _trusted.add(server.origin)
    if server.origin in _trusted:
        return server._replace(gets_key=True)
    if server.is_local:
        return server
    if not _can_ask():
        setting = f", or --set {ADDRESS_SETTINGS[what]}=ADDRESS" if what in ADDRESS_SETTINGS else ""
        raise UserError(
            f"{what} by {server.origin}: this address comes from a recipe or a run, and what is said would be sent "
            f"there. If you trust it, give it yourself (--url ADDRESS{setting}) or set {VARIABLE}={server.origin}"
        )
    if not _confirmed(server, what):
        raise UserError(f"{what} by {server.origin}: not allowed; nothing was sent there")
    _trusted.add(server.origin)
    _remember(server.origin)
    return server._replace(gets_key=True)


def _can_ask() -> bool:
    """Whether a person sits at this process; of several that torchrun started, none can ask."""
    here = bool(sys.stdin) and not sys.stdin.closed and sys.stdin.isatty()
    return here and console.is_terminal and "RANK" not in os.environ


def _confirmed(server: Server, what: str) -> bool:
    key = f" and your {KEY_VARIABLE}" if os.environ.get(KEY_VARIABLE) else ""
    clear = ", unencrypted" if server.url.startswith("http:") else ""
    say(f"This recipe or run has its {what} written by {server.origin}, which gets what is said{key}{clear}.")
    try:
        answer = console.input(Text("Send it there, now and in future? [y/N] "))
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")


def memory_file() -> Path:
    """Where confirmed servers are remembered, one a line."""
    return platformdirs.user_config_path("gistchat") / "trusted-hosts"


def _remembered() -> Iterator[str]:
    """The servers of the environment variable and of the user's file; a name alone stands for https."""
    for entry in re.split(r"[\s,]+", os.environ.get(VARIABLE, "")):
        if entry:
            yield _origin_of(entry, VARIABLE)
    path = memory_file()
    with contextlib.suppress(OSError):  # there is none yet
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if line.strip():
                yield _origin_of(line.strip(), f"{path}:{number}")


def _origin_of(entry: str, where: str) -> str:
    try:
        return parse(entry if "://" in entry else f"https://{entry}").origin
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _remember(origin: str) -> None:
    path = memory_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(f"{origin}\n")
    except OSError as error:
        say(f"{path}: cannot be written ({error.strerror}), so you will be asked again")
