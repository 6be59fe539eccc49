"""A PostgreSQL of the tests' own, on a loopback port: started when a test wants it, skipped where it is not installed.

Debian's package has its programs in a folder per version; `GISTCHAT_POSTGRES` names another.
"""

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete

from gistchat.store.conversation_store import ConversationStore
from gistchat.store.database import Database
from gistchat.store.tables import conversations

_NUMBERS = itertools.count(1)


def programs() -> Path | None:
    """The folder with `initdb` and `pg_ctl`; None where there is none."""
    folders = [Path(os.environ["GISTCHAT_POSTGRES"])] if "GISTCHAT_POSTGRES" in os.environ else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))
    folders += [Path(found).parent] if (found := shutil.which("initdb")) else []
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


class PostgresServer:
    """A cluster in a folder of its own. It refuses to run as root, so that it runs as Debian's user for it."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.data = programs, folder / "data"
        self._as = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        if self._as:
            shutil.chown(folder, "postgres")
        self._run("initdb", "-A", "trust", "-U", "gistchat", "-N", "-E", "UTF8", "--locale=C.UTF-8", "-D", self.data)
        self.port = _free_port()
        self.start()

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self._as, str(self.programs / program), *map(str, arguments)]
        result = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        assert result.returncode == 0, result.stdout + result.stderr

    def start(self) -> None:
        """Returns when it takes connections."""
        settings = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=200"
        settings += " -c fsync=off"  # it is killed here, but the machine is not
        self._run("pg_ctl", "start", "-w", "-D", self.data, "-l", self.data / "log", "-o", settings)

    def stop(self, mode: str = "fast") -> None:
        """`mode`: "immediate" is what happens when it is killed."""
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", self.data)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://gistchat@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of an empty one."""
        import psycopg

        name = f"gistchat{next(_NUMBERS)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server that tests share; one that stops it starts it again."""
    pytest.importorskip("psycopg")
    found = programs()
    if not found:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    if os.getuid() == 0 and not shutil.which("runuser"):
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    folder = Path(tempfile.mkdtemp(prefix="gistchat-postgres-"))
    server = None
    try:
        server = PostgresServer(found, folder)
        yield server
    finally:
        if server:
            with contextlib.suppress(AssertionError):
                server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres) -> str:
    """The URL of an empty database."""
    return postgres.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    """The URL of an empty database, once of each kind."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'conversations.db'}"


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def shared_database(request, tmp_path_factory) -> Iterator[Database]:
    """One of each kind for many tests: opening takes longer than most of them."""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    else:
        url = f"sqlite:///{tmp_path_factory.mktemp('shared') / 'conversations.db'}"
    database = Database.open(url)
    yield database
    database.close()


@pytest.fixture
def conversation_store(shared_database) -> ConversationStore:
    """Without a conversation, once with each kind of database."""
    with shared_database.writing() as connection:
        connection.execute(delete(conversations))
    return ConversationStore(shared_database)
