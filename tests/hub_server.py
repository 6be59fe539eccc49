"""A hub on loopback that speaks the Hugging Face hub's interface, as its clients use it.

Three servers: the hub itself; a second host that keeps large files; and a proxy in front of all other hosts, which
answers nothing and remembers who was asked for. Every request is recorded. `Hub.environment` points a program at it.

Not imitated: Xet (clients are told to do without), uploads in several parts, pull requests, the datasets server,
compressed answers, and what an access token may do.
"""

import base64
import contextlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

import yaml
from hub_commands import Commands
from hub_contents import GIT_ATTRIBUTES, Commit, File, Repository, is_large

TOKENS = {"hf_ada": "ada", "hf_ben": "ben"}  # of users who are logged in
KINDS = {"models": "model", "datasets": "dataset"}
ACTIONS = {"revision", "tree", "paths-info", "refs", "commits", "preupload", "commit", "discussions", "auth-check"}
FAULTS = {"busy", "down", "slow", "dribble", "cut"}
PIECE = 64  # bytes that a dribbling hub sends at once


class Fault(NamedTuple):
    """What goes wrong with requests.

    Attributes:
        kind: busy (429) | down (503) | slow (waits before it answers) | dribble (waits after each few bytes) | cut
            (closes the connection in the middle of a file).
        where: a pattern that is searched for in "METHOD PATH".
        seconds: of Retry-After, or that are waited.
    """

    kind: str
    where: str
    seconds: float


@dataclass
class Request:
    """One request and how it was answered.

    Attributes:
        host: hub | storage | viewer (the datasets server) | any other host's name.
        size: bytes of the body.
        file: REPOSITORY/PATH of the file that was sent as the answer, whole or in part.
    """

    host: str
    method: str
    path: str
    headers: dict[str, str]
    size: int
    status: int = 0
    file: str = ""


class Refused(Exception):
    """An error answer."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Message": message, **headers}
        if code:
            self.headers["X-Error-Code"] = code


class Moved(Exception):
    """A redirect."""

    def __init__(self, status: int, location: str, **headers: str) -> None:
        super().__init__(location)
        self.status = status
        self.headers = {"Location": location, **{name.replace("_", "-"): value for name, value in headers.items()}}


@dataclass
class Hub:
    """The hub, while it is used as a context manager.

    Attributes:
        home: the folder of HF_HOME: caches and token.
        moved: old names of repositories, with their new ones.
        page: entries of a listing that are sent at once.
        organisations: namespaces that everybody who is logged in may write to.
        commands: runs the command line.
    """

    home: Path
    repositories: list[Repository] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    page: int = 1000
    organisations: tuple[str, ...] = ("our-lab",)
    commands: Commands | None = None

    def __post_init__(self) -> None:
        self.stored: dict[str, bytes] = {}  # large files that were uploaded, by hash
        self.stopped = threading.Event()
        self.lock = threading.RLock()
        self._faults: list[tuple[Fault, int | None]] = []
        self._servers: dict[str, _Server] = {}

    def __enter__(self) -> "Hub":
        for name, handler in (("hub", HubHandler), ("storage", StorageHandler), ("outside", OutsideHandler)):
            self._servers[name] = _Server(self, name, handler)
        return self

    def __exit__(self, *_: Any) -> None:
        self.stopped.set()
        for server in self._servers.values():
            server.stop()

    @property
    def endpoint(self) -> str:
        return self._servers["hub"].address

    @property
    def storage(self) -> str:
        return self._servers["storage"].address

    @property
    def environment(self) -> dict[str, str]:
        """For programs that shall use this hub, and whose requests to any other host shall be recorded."""
        proxies = {f"{scheme}_PROXY": self._servers["outside"].address for scheme in ("HTTP", "HTTPS", "ALL")}
        environment = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(self.home), "HF_HUB_OFFLINE": "0"}
        environment |= {"HF_HUB_CACHE": str(self.home / "hub"), "HF_TOKEN": "", "HF_TOKEN_PATH": str(self.token_path)}
        environment |= {"HF_DATASETS_CACHE": str(self.home / "datasets"), "HF_HUB_DISABLE_XET": "1"}
        environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1,localhost", **proxies}
        return environment | {name.lower(): value for name, value in environment.items() if name.endswith("_PROXY")}

    @property
    def token_path(self) -> Path:
        return self.home / "token"

    def reset(self, repositories: list[Repository], moved: Mapping[str, str]) -> None:
        """Begin anew with these repositories: no faults, uploads or requests."""
        self.repositories, self.moved, self.requests, self.stored = repositories, dict(moved), [], {}
        self.page = Hub.page
        self.mend()

    def gistchat(self, *words: Any, cwd: Path, stdin: str = "", **env: str) -> CompletedProcess:
        """Run a command that uses this hub."""
        assert self.commands
        return self.commands.run(words, cwd, stdin, XDG_CACHE_HOME=str(self.home / "cache"), **env)

    def log_in(self, user: str = "ada") -> None:
        """As `hf auth login` does."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.token_path.write_text(next(token for token, name in TOKENS.items() if name == user))

    def find(self, name: str, kind: str = "model") -> Repository | None:
        """A repository, however its id is capitalised."""
        known = {repository.id.lower(): repository for repository in self.repositories if repository.kind == kind}
        return known.get(name.lower())

    def __getitem__(self, name: str) -> Repository:
        """A model, or a dataset by datasets/ID."""
        place, _, rest = name.partition("/")
        found = self.find(rest, "dataset") if place == "datasets" else self.find(name)
        if found is None:
            raise KeyError(name)
        return found

    def add(self, repository: Repository) -> Repository:
        """Publish a repository, in place of one of the same name."""
        self.remove(repository.id, repository.kind)
        self.repositories.append(repository)
        return repository

    def remove(self, name: str, kind: str = "model") -> None:
        self.repositories = [other for other in self.repositories if (other.id, other.kind) != (name, kind)]

    def fault(self, kind: str, where: str = "", times: int | None = None, seconds: float = 1) -> None:
        """Let something go wrong with the next `times` requests, or with all, that match `where`."""
        assert kind in FAULTS, kind
        self._faults.append((Fault(kind, where, seconds), times))

    def mend(self) -> None:
        """Take all faults back."""
        self._faults.clear()

    @contextlib.contextmanager
    def offline(self) -> Iterator[None]:
        """Refuse connections for a while, as if there were no network."""
        for server in self._servers.values():
            server.stop()
        try:
            yield
        finally:
            for name, server in self._servers.items():
                self._servers[name] = _Server(self, name, server.handler, server.port)

    def downloads(self, name: str = "") -> list[str]:
        """REPOSITORY/PATH of each file that was sent, of one repository or of all, once for each time."""
        sent = [request.file for request in self.requests if request.file and request.method == "GET"]
        return [file for file in sent if file.startswith(name)]

    def asked_outside(self) -> list[str]:
        """Other hosts that were asked for something."""
        return [request.host for request in self.requests if request.host not in ("hub", "storage", "viewer")]

    def fault_of(self, request: Request, *kinds: str) -> Fault | None:
        """The fault of these kinds that this request meets, which is then used up."""
        with self.lock:
            for i, (fault, times) in enumerate(self._faults):
                if fault.kind in kinds and times != 0 and re.search(fault.where, f"{request.method} {request.path}"):
                    self._faults[i] = (fault, times and times - 1)
                    return fault
        return None


class _Server:
    """A server in a thread of its own."""

    def __init__(self, hub: Hub, name: str, handler: type[BaseHTTPRequestHandler], port: int = 0) -> None:
        self.handler = handler
        kind = type(handler.__name__, (handler,), {"hub": hub, "name": name})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), kind)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._open = kind.connections = set()
        self.port = self._server.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening, and close connections that are kept open."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(2)


class Handler(BaseHTTPRequestHandler):
    """What the servers share: recording, faults, and sending answers and files."""

    hub: Hub
    name: str
    connections: set
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    record: Request
    body: bytes
    user: str

    def setup(self) -> None:
        super().setup()
        self.connections.add(self.connection)

    def finish(self) -> None:
        self.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: Any) -> None:
        pass

    def answer_request(self) -> None:
        self.body = self._read_body()
        self.record = Request(self.name, self.command, self.path, dict(self.headers), len(self.body))
        self.hub.requests.append(self.record)
        try:
            self._meet_faults()
            self.user = self._user()
            self.respond()
        except (Refused, Moved) as error:
            body = b"" if isinstance(error, Moved) else json.dumps({"error": str(error)}).encode()
            self.send(error.status, body, error.headers)
        except ConnectionError:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer_request

    def respond(self) -> None:
        raise NotImplementedError  # the hub and its second host answer in ways of their own

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _meet_faults(self) -> None:
        if slow := self.hub.fault_of(self.record, "slow"):
            self.hub.stopped.wait(slow.seconds)
        fault = self.hub.fault_of(self.record, "busy", "down")
        if fault and fault.kind == "busy":
            message = "We had to rate limit your IP. To continue using our service, log in and pass a HF_TOKEN."
            seconds = round(fault.seconds)
            raise Refused(429, "", message, **{"Retry-After": str(seconds), "RateLimit": f'"api";r=0;t={seconds}'})
        if fault:
            raise Refused(503, "", "Service Temporarily Unavailable")

    def _user(self) -> str:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in TOKENS:
            raise Refused(401, "", "Invalid credentials in Authorization header")
        return TOKENS.get(token, "")

    def send(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.record.status = status
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self._write(body)

    def send_json(self, value: Any, status: int = 200, **headers: str) -> None:
        self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8", **headers})

    def send_file(self, repository: Repository, file: File, headers: Mapping[str, str]) -> None:
        """A file, or the part of it that is asked for."""
        self.record.file = f"{repository.id}/{file.path}"
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", "ETag": file.etag, **headers}
        if self.command == "HEAD":
            self.send(200, b"", {**headers, "Content-Length": str(len(file.data))})
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            self.send(200, file.data, headers)
            return
        size = len(file.data)
        start, end = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
        if start >= size:
            raise Refused(416, "", "Range Not Satisfiable", **{"Content-Range": f"bytes */{size}"})
        self.send(206, file.data[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{size}"})

    def _write(self, body: bytes) -> None:
        cut = self.record.file and self.hub.fault_of(self.record, "cut")
        if cut:
            body = body[: len(body) // 2]
        if dribble := self.record.file and self.hub.fault_of(self.record, "dribble"):
            for start in range(0, len(body), PIECE):
                self.wfile.write(body[start : start + PIECE])
                self.hub.stopped.wait(dribble.seconds)
        else:
            self.wfile.write(body)
        if cut:
            self.wfile.flush()
            raise ConnectionAbortedError


class StorageHandler(Handler):
    """The second host: /KINDS/ID/HASH/PATH of large files, /uploads/HASH of those to come."""

    def _user(self) -> str:
        return ""  # it takes signed addresses, no tokens

    def respond(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.command == "PUT":
            self.hub.stored[path.rpartition("/")[2]] = self.body
            self.send(200)
            return
        kind, owner, name, sha256, rest = path[1:].split("/", 4)
        repository = self.hub.find(f"{owner}/{name}", KINDS[kind])
        versions = [commit.files.get(rest) for commit in repository.commits.values()] if repository else []
        file = next((file for file in versions if file and file.sha256 == sha256), None)
        if not repository or not file:
            raise Refused(403, "", "Forbidden")
        self.send_file(repository, file, {})


class OutsideHandler(Handler):
    """All other hosts, none of which answers; the datasets server knows nothing."""

    def answer_request(self) -> None:
        address = urlsplit(self.path if "://" in self.path else f"//{self.path}")
        self.name = "viewer" if (address.hostname or "").startswith("datasets-server.") else str(address.hostname)
        super().answer_request()

    do_GET = do_HEAD = do_POST = do_PUT = do_CONNECT = answer_request

    def _meet_faults(self) -> None:
        pass

    def _user(self) -> str:
        return ""

    def respond(self) -> None:
        self.close_connection = True
        self.send(404 if self.name == "viewer" else 502)


class HubHandler(Handler):
    """The hub itself."""

    def respond(self) -> None:
        parts = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        words = parts.path.strip("/").split("/")
        if words == ["api", "whoami-v2"]:
            self._whoami()
        elif words == ["api", "repos", "create"]:
            self._create()
        elif words == ["api", "validate-yaml"]:
            self._validate_card()
        elif words[:2] == ["api", "resolve-cache"]:
            self._resolve_cache(words[2:])
        elif words[0] == "api" and words[1] in KINDS and len(words) > 2:
            self._api(KINDS[words[1]], words[2:])
        elif "resolve" in words:
            self._resolve(words)
        elif "/info/lfs/objects/" in parts.path:
            self._large_files(parts.path)
        else:
            raise Refused(404, "", "Sorry, we can't find the page you are looking for.")

    # Who may see what

    def _repository(self, kind: str, name: str, files: bool) -> Repository:
        """The repository of that name, where whoever asks may see it, and its files."""
        new = self.hub.moved.get(name, name)
        found = self.hub.find(new, kind)
        if not found or (found.private and not self._may_write(found.owner)):
            # Who is not logged in cannot tell what is missing from what is private.
            code, message = (404, "Repository not found") if self.user else (401, "Invalid username or password.")
            raise Refused(code, "RepoNotFound", message)
        if found.id != name:
            raise Moved(307, self.path.replace(f"/{name}", f"/{found.id}", 1))
        if files and found.gated and self.user not in {found.owner, *found.allowed}:
            self._refuse_gated(found)
        return found

    def _refuse_gated(self, repository: Repository) -> None:
        start = f"Access to {repository.kind} {repository.id} is restricted"
        if not self.user:
            rest = "You must have access to it and be authenticated to access it. Please log in."
            raise Refused(401, "GatedRepo", f"{start}. {rest}")
        place = f"{'datasets/' if repository.kind == 'dataset' else ''}{repository.id}"
        ask = f"Visit https://huggingface.co/{place} to ask for access."
        raise Refused(403, "GatedRepo", f"{start} and you are not in the authorized list. {ask}")

    def _may_write(self, owner: str) -> bool:
        return bool(self.user) and owner in (self.user, *self.hub.organisations)

    def _commit_of(self, repository: Repository, revision: str) -> Commit:
        if commit := repository.at(unquote(revision)):
            return commit
        raise Refused(404, "RevisionNotFound", f"Invalid rev id: {unquote(revision)}")

    # Files

    def _resolve(self, words: list[str]) -> None:
        """/[datasets/]ID/resolve/REVISION/PATH"""
        kind = "dataset" if words[0] == "datasets" else "model"
        place = words.index("resolve")
        name = "/".join(words[1 if kind == "dataset" else 0 : place])
        repository = self._repository(kind, name, files=True)
        commit = self._commit_of(repository, words[place + 1])
        path = unquote("/".join(words[place + 2 :]))
        file = self._file_of(commit, path)
        headers = {"X_Repo_Commit": commit.oid, "ETag": file.etag, "X_Linked_Size": str(len(file.data))}
        headers |= {"X_Linked_ETag": file.etag, "Accept_Ranges": "bytes"}
        if file.large:
            where = f"{self.hub.storage}/{kind}s/{repository.id}/{file.sha256}/{quote(path)}"
            raise Moved(302, f"{where}?Expires=1735689600&Signature=none", **headers)
        raise Moved(307, f"/api/resolve-cache/{kind}s/{repository.id}/{commit.oid}/{quote(path)}", **headers)

    def _file_of(self, commit: Commit, path: str) -> File:
        if path not in commit.files:
            raise Refused(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": commit.oid})
        return commit.files[path]

    def _resolve_cache(self, words: list[str]) -> None:
        kinds, owner, name, oid, *rest = words
        repository = self._repository(KINDS[kinds], f"{owner}/{name}", files=True)
        file = self._file_of(self._commit_of(repository, oid), unquote("/".join(rest)))
        disposition = f'inline; filename="{file.path.rpartition("/")[2]}";'
        self.send_file(repository, file, {"X-Repo-Commit": oid, "Content-Disposition": disposition})

    # Questions about a repository

    def _api(self, kind: str, words: list[str]) -> None:
        """/api/KINDS/ID[/ACTION[/REVISION[/PATH]]]"""
        length = 1 if len(words) == 1 or words[1] in ACTIONS else 2
        name, (action, *rest) = "/".join(words[:length]), (*words[length:], "")
        actions = {"": self._info, "revision": self._info, "tree": self._tree, "paths-info": self._paths_info}
        actions |= {"refs": self._refs, "commits": self._commits, "discussions": self._discussions}
        actions |= {"preupload": self._preupload, "commit": self._write_commit, "auth-check": self._auth_check}
        if action not in actions:
            raise Refused(404, "", f"Cannot {self.command} {self.path}")
        repository = self._repository(kind, name, files=action == "auth-check")
        actions[action](repository, [word for word in rest if word])

    def _info(self, repository: Repository, rest: list[str]) -> None:
        commit = self._commit_of(repository, rest[0] if rest else "main")
        files = commit.files.values()
        siblings = [_sibling(file) if "blobs" in self.query else {"rfilename": file.path} for file in files]
        first = repository.history(commit)[-1]
        info = {"_id": first.oid[:24], "id": repository.id, "author": repository.owner, "sha": commit.oid}
        info |= {"lastModified": commit.date, "createdAt": first.date, "private": repository.private}
        info |= {"gated": "manual" if repository.gated else False, "disabled": False, "downloads": 0, "likes": 0}
        info |= {"cardData": (card := repository.card(commit)), "tags": _tags(card), "siblings": siblings}
        if repository.kind == "model":
            config = json.loads(commit.files["config.json"].data) if "config.json" in commit.files else {}
            shown = {name: config[name] for name in ("architectures", "model_type") if name in config}
            info |= {"modelId": repository.id, "config": shown, "library_name": "transformers"}
        self.send_json(info)

    def _tree(self, repository: Repository, rest: list[str]) -> None:
        commit = self._commit_of(repository, rest[0])
        folder = unquote("/".join(rest[1:]))
        start = f"{folder}/" if folder else ""
        folders = commit.folders()
        if folder and folder not in folders:
            raise Refused(404, "EntryNotFound", f"{folder} does not exist on {unquote(rest[0])!r}")
        entries = [_folder_entry(name, oid) for name, oid in folders.items()]
        entries += [file.entry() for file in commit.files.values()]
        recursive = self.query.get("recursive", "").lower() in ("true", "1")
        inside = [entry for entry in entries if entry["path"].startswith(start) and entry["path"] != folder]
        shown = [entry for entry in inside if recursive or "/" not in entry["path"][len(start) :]]
        self._send_page(self._expanded(sorted(shown, key=lambda entry: entry["path"]), commit))

    def _expanded(self, entries: list[dict[str, Any]], commit: Commit) -> list[dict[str, Any]]:
        if self.query.get("expand", "").lower() not in ("true", "1"):
            return entries
        safe = {"status": "safe", "avScan": {}, "pickleImportScan": {}}
        last = {"id": commit.oid, "title": commit.title, "date": commit.date}
        files = {"file": {"securityFileStatus": safe}, "directory": {}}
        return [{**entry, "lastCommit": last, **files[entry["type"]]} for entry in entries]

    def _send_page(self, entries: list[Any]) -> None:
        """Entries of a listing, from the place that `cursor` says; a header has the address of the next ones."""
        start = int(self.query.pop("cursor", 0))
        end = start + min(self.hub.page, int(self.query.get("limit", self.hub.page)))
        headers = {}
        if end < len(entries):
            query = "&".join(f"{name}={quote(value)}" for name, value in self.query.items())
            address = f"{self.hub.endpoint}{urlsplit(self.path).path}?{query}&cursor={end}"
            headers["Link"] = f'<{address}>; rel="next"'
        self.send_json(entries[start:end], **headers)

    def _paths_info(self, repository: Repository, rest: list[str]) -> None:
        commit = self._commit_of(repository, rest[0])
        form = parse_qs(self.body.decode())
        self.query["expand"] = form.get("expand", [""])[0]
        folders = commit.folders()
        entries = [commit.files[path].entry() for path in form["paths"] if path in commit.files]
        entries += [_folder_entry(path, folders[path]) for path in form["paths"] if path in folders]
        self.send_json(self._expanded(entries, commit))

    def _refs(self, repository: Repository, rest: list[str]) -> None:
        shown: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
        places = {"heads": "branches", "convert": "converts", "tags": "tags", "pr": "pullRequests"}
        for ref, oid in repository.refs.items():
            _, place, name = ref.split("/", 2)
            shown[places[place]].append({"name": name, "ref": ref, "targetCommit": oid})
        self.send_json(shown)

    def _commits(self, repository: Repository, rest: list[str]) -> None:
        history = repository.history(self._commit_of(repository, rest[0]))
        authors = [{"user": repository.owner}]
        shown = [{"id": one.oid, "title": one.title, "message": "", "date": one.date} for one in history]
        self._send_page([{**entry, "authors": authors} for entry in shown])

    def _discussions(self, repository: Repository, rest: list[str]) -> None:
        if self.command != "GET":
            raise Refused(403, "", "Discussions are disabled for this repo")
        self.send_json({"discussions": [], "count": 0, "start": 0})

    def _auth_check(self, repository: Repository, rest: list[str]) -> None:
        self.send_json({})

    # Logins and uploads

    def _whoami(self) -> None:
        if not self.user:
            raise Refused(401, "", "Invalid username or password.")
        organisations = [{"type": "org", "name": name, "roleInOrg": "write"} for name in self.hub.organisations]
        access = {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}
        self.send_json({"type": "user", "name": self.user, "orgs": organisations, "auth": access})

    def _require_writer(self, kind: str, owner: str) -> None:
        if not self.user:
            raise Refused(401, "", "Invalid username or password.")
        if not self._may_write(owner):
            message = f'You don\'t have the rights to create a {kind} under the namespace "{owner}"'
            raise Refused(403, "", message)

    def _create(self) -> None:
        asked = json.loads(self.body)
        kind, owner = asked.get("type") or "model", asked.get("organization") or self.user
        self._require_writer(kind, owner)
        name = f"{owner}/{asked['name']}"
        place = f"{self.hub.endpoint}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if self.hub.find(name, kind):
            self.send_json({"error": f"You already created this {kind} repo: {name}", "url": place}, 409)
            return
        repository = self.hub.add(Repository(kind, name))
        repository.private = asked.get("visibility") == "private" or bool(asked.get("private"))
        repository.commit({".gitattributes": GIT_ATTRIBUTES}, "initial commit")
        self.send_json({"url": place, "name": name, "id": name, "private": repository.private})

    def _validate_card(self) -> None:
        """What stands on top of a README must be YAML, and a licence one that the hub knows by its short name."""
        _, front, _ = (json.loads(self.body)["content"] + "---\n---\n").split("---\n", 2)
        try:
            values = yaml.safe_load(front) or {}
            problem = "" if re.fullmatch(r"[a-z0-9.-]+", values.get("license", "other")) else '"license" must be one of'
        except yaml.YAMLError as error:
            problem = str(error)
        self.send_json({"errors": [{"message": problem}] if problem else [], "warnings": []}, 400 if problem else 200)

    def _preupload(self, repository: Repository, rest: list[str]) -> None:
        self._require_writer(repository.kind, repository.owner)
        files = repository.commits[repository.refs["refs/heads/main"]].files
        modes = [
            {
                "path": (path := asked["path"]),
                "uploadMode": "lfs" if is_large(path, asked["size"]) else "regular",
                "shouldIgnore": False,
                "oid": (files[path].sha256 if files[path].large else files[path].oid) if path in files else None,
            }
            for asked in json.loads(self.body)["files"]
        ]
        self.send_json({"files": modes, "commitOid": repository.refs["refs/heads/main"]})

    def _large_files(self, path: str) -> None:
        """/[datasets/]ID.git/info/lfs/objects/batch | verify"""
        name, _, action = path.strip("/").partition(".git/info/lfs/objects/")
        kind = "dataset" if name.startswith("datasets/") else "model"
        repository = self._repository(kind, name.removeprefix("datasets/"), files=False)
        self._require_writer(kind, repository.owner)
        asked = json.loads(self.body)
        if action == "verify":
            whole = len(self.hub.stored.get(asked["oid"], b"")) == asked["size"]
            self.send_json({}, 200 if whole else 404)
            return
        verify = {"href": f"{self.hub.endpoint}/{name}.git/info/lfs/objects/verify", "header": {}}
        objects = []
        for wanted in asked["objects"]:
            upload = {"href": f"{self.hub.storage}/uploads/{wanted['oid']}", "header": {}}
            is_there = wanted["oid"] in self.hub.stored
            objects.append({**wanted, **({} if is_there else {"actions": {"upload": upload, "verify": verify}})})
        self.send_json({"transfer": "basic", "objects": objects})

    def _write_commit(self, repository: Repository, rest: list[str]) -> None:
        self._require_writer(repository.kind, repository.owner)
        if "create_pr" in self.query:
            raise Refused(403, "", "Discussions are disabled for this repo")
        entries = [json.loads(line) for line in self.body.splitlines()]
        header = next(entry["value"] for entry in entries if entry["key"] == "header")
        branch = unquote(rest[0])
        before = self._commit_of(repository, branch)
        if header.get("parentCommit", before.oid) != before.oid:
            raise Refused(412, "", "A commit has happened since. Please refresh and try again.")
        changes = {}
        for entry in entries:
            changes |= self._changes(entry["key"], entry["value"], before)
        with self.hub.lock:
            oid = repository.commit(changes, header["summary"], branch)
        address = f"{self.hub.endpoint}/{repository.id}/commit/{oid}"
        self.send_json({"success": True, "commitOid": oid, "commitUrl": address, "hookOutput": ""})

    def _changes(self, key: str, value: dict[str, Any], before: Commit) -> dict[str, bytes | None]:
        """What a line of a commit does to the files."""
        path = value.get("path", "")
        if key == "file":
            return {path: base64.b64decode(value["content"])}
        if key == "lfsFile":
            if value["oid"] not in self.hub.stored:
                raise Refused(400, "", f"LFS pointer pointed to a file that does not exist: {path}")
            return {path: self.hub.stored[value["oid"]]}
        if key == "deletedFile":
            return {path: None}
        return {name: None for name in before.files if key == "deletedFolder" and name.startswith(f"{path}/")}


def _folder_entry(name: str, oid: str) -> dict[str, Any]:
    return {"type": "directory", "oid": oid, "size": 0, "path": name}


def _sibling(file: File) -> dict[str, Any]:
    shown = {"rfilename": file.path, "size": len(file.data), "blobId": file.oid}
    large = {"sha256": file.sha256, "size": len(file.data), "pointerSize": len(file.pointer)}
    return {**shown, "lfs": large} if file.large else shown


def _tags(card: dict[str, Any]) -> list[str]:
    base = card.get("base_model") or []
    bases = [base] if isinstance(base, str) else base
    licence = [f"license:{card['license']}"] if "license" in card else []
    return [*card.get("tags", []), *licence, *(f"base_model:{name}" for name in bases)]
