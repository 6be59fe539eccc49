"""The database of conversations: a file of SQLite, or PostgreSQL by URL; opened, brought to this version, and asked."""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import platformdirs
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from gistchat.errors import UserError, first_line, require
from gistchat.locks import locked
from gistchat.store.tables import metadata, secrets

VARIABLE = "GISTCHAT_DATABASE"
SCHEMA = "0001"  # the newest file in migrations/versions
VERSION_TABLE = "gistchat_version"  # not Alembic's usual name: a database may be shared with other programs
BUSY_SECONDS = 10.0  # how long a lock of another process is waited for
OPENING_SECONDS = 60.0  # how long another process may take to bring the tables up to date
CONNECT_SECONDS = 5  # how long PostgreSQL may take to answer
MOST_CONNECTIONS = 20  # of one process; more threads than that wait for one another
MIGRATION_LOCK = 0x67697374  # any number that other programs of the same PostgreSQL do not use

# What SQLite's own messages leave open.
_SQLITE_REASONS = {
    "SQLITE_BUSY": "is locked by another process",
    "SQLITE_LOCKED": "is locked by another process",
    "SQLITE_FULL": "cannot be written: the disk is full",
    "SQLITE_READONLY": "cannot be written: the file or its folder is read-only",
    "SQLITE_CANTOPEN": "cannot be opened: the folder is missing, or may not be written",
    "SQLITE_CORRUPT": "is damaged; restore it from a backup, or put it aside to begin anew",
    "SQLITE_NOTADB": "is not a database of gistchat",
}


class StoreUnavailable(UserError):
    """The database cannot be read or written now. What was acknowledged before stays; nothing else was kept."""


class StoreMoved(StoreUnavailable):
    """The file was moved or removed while it was in use. `Database.open` makes a new one."""


class Database:
    """Connections to where conversations are kept, for any number of threads.

    Attributes:
        url: for people to read: without the password.
        path: of the file; None for PostgreSQL.
        secret: goes into the keys of messages.
    """

    def __init__(self, engine: Engine) -> None:
        """For `open`."""
        self.engine = engine
        url = engine.url.set(drivername=engine.dialect.name, query={})  # a password may stand in the query, too
        self.url = url.render_as_string(hide_password=True)
        self.path = Path(engine.url.database or "") if engine.dialect.name == "sqlite" else None
        self.secret = b""
        self._reading = engine if self.path else engine.execution_options(isolation_level="REPEATABLE READ")
        self._writing = engine.execution_options(writes=True)
        self._file: tuple[int, int] | None = None
        self._writer = threading.Lock()

    @classmethod
    def open(cls, url: str | None = None, busy_seconds: float = BUSY_SECONDS) -> "Database":
        """Open the database, make it where there is none, and bring its tables to this version.

        Args:
            url: `sqlite:///path`, a path alone, or `postgresql://...`; None takes the environment's GISTCHAT_DATABASE,
                or a file in the user's data folder.
            busy_seconds: how long a lock of another process is waited for.

        Raises:
            StoreUnavailable: it cannot be reached, read or written.
            UserError: a bad URL, a database of a newer version or of another program, or psycopg is missing.
        """
        url = (url or os.environ.get(VARIABLE, "")).strip()
        parsed = _parse(url) if url else _default_url()
        if parsed.get_backend_name() == "postgresql":
            require("psycopg", "postgres")
            database = cls(_postgresql(parsed, busy_seconds))
        else:
            database = cls(_sqlite(parsed, busy_seconds))
        try:
            database._prepare()
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        self.engine.dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads, and sees all as it was at one moment. Raises StoreUnavailable."""
        with self._explained(), self._reading.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes: when the block has ended without an error, all of it is on disk.

        Raises StoreUnavailable: then none of it is, but for a connection lost while the end was being written.
        """
        # One writer of this process at a time where SQLite would let them all wait for its one lock, without a queue.
        turn = self._writer if self.path else contextlib.nullcontext()
        with self._explained(), turn, self._writing.begin() as connection:
            self._require_file()
            yield connection

    def checkpoint(self) -> None:
        """Leave nothing of earlier contents in the files, as far as that is ours to do.

        SQLite's log of changes is emptied, which waits for those who read just now. PostgreSQL's files are its own:
        what was deleted there goes with its next vacuum.

        Raises:
            StoreUnavailable: another process reads without end.
        """
        if not self.path:
            return
        with self._writer, self._outside_transactions() as connection:
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreUnavailable(f"{self.path}: another process reads it; what was forgotten is still in its log")

    def problems(self) -> list[str]:
        """What is wrong with the file itself, as SQLite's own check finds it. Raises StoreUnavailable."""
        if not self.path:
            return []
        with self.reading() as connection:
            found = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check")]
            lost = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        problems = [f"{self.path}: {first_line(text)}" for text in found if text != "ok"]
        return problems + [f"{self.path}: a row of {row[0]} belongs to no conversation" for row in lost]

    @contextlib.contextmanager
    def _outside_transactions(self) -> Iterator[sqlite3.Connection]:
        with self._explained(), contextlib.closing(self.engine.raw_connection()) as connection:
            yield connection.driver_connection

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (IntegrityError, DataError):
            raise  # a mistake of ours
        except DBAPIError as error:
            raise StoreUnavailable(self._reason(error.orig)) from None
        except sqlite3.Error as error:
            raise StoreUnavailable(self._reason(error)) from None
        except NoConnectionFree:
            raise StoreUnavailable(f"{self.path or self.url}: too many ask at once") from None

    def _reason(self, error: BaseException | None) -> str:
        if not self.path:
            return f"{self.url}: {first_line(error or 'no connection')}"
        name = getattr(error, "sqlite_errorname", "")  # "SQLITE_BUSY_SNAPSHOT" is a kind of SQLITE_BUSY
        known = next((why for kind, why in _SQLITE_REASONS.items() if name.startswith(kind)), "")
        return f"{self.path}: {known or first_line(error or 'no answer')}"

    def _require_file(self) -> None:
        """SQLite itself would go on writing to a file that was removed, and all would be lost at the end."""
        if self._file and _identity(self.path) != self._file:
            raise StoreMoved(f"{self.path}: was moved or removed while it was in use; start again")

    # ---- tables

    def _prepare(self) -> None:
        if not self._is_current():
            with self._alone(), self.writing() as connection:
                self._migrate(connection)
        self._file = _identity(self.path)
        with self.reading() as connection:
            self.secret = bytes.fromhex(connection.scalar(select(secrets.c.value)) or "")

    def _is_current(self) -> bool:
        if self.path and not (self.path.is_file() and self.path.stat().st_size):
            return False
        with self.reading() as connection:
            wal = not self.path or connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            return self._own_version(connection) == SCHEMA and wal

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While the file is made: SQLite does not wait for others when it changes to its write-ahead log."""
        if not self.path:
            yield
            return
        if not self.path.absolute().parent.is_dir():
            raise StoreUnavailable(f"{self.path}: no such folder")
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked(self.path, OPENING_SECONDS))
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            except UserError as error:
                raise StoreUnavailable(str(error)) from None
            except OSError as error:
                raise StoreUnavailable(f"{self.path}: {error.strerror or first_line(error)}") from None
            with self._outside_transactions() as connection:
                connection.execute("PRAGMA journal_mode = WAL")
            yield

    def _migrate(self, connection: Connection) -> None:
        if not self.path:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        if self._own_version(connection) != SCHEMA:  # else another process was faster
            _run_migrations(connection)

    def _own_version(self, connection: Connection) -> str:
        """Of the tables; empty where there are none. Raises UserError: of a newer version, or of another program."""
        version = _version(connection)
        if version > SCHEMA:
            raise UserError(f"{self.path or self.url}: written by a newer version of gistchat; update gistchat")
        names = set() if version else set(inspect(connection).get_table_names())
        if names if self.path else names & set(metadata.tables):
            raise UserError(f"{self.path or self.url}: holds tables of another program; give gistchat one of its own")
        return version


def _run_migrations(connection: Connection) -> None:
    # Here, as they take half a second to import, and are needed once.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "gistchat.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _version(connection: Connection) -> str:
    """Of the tables; empty where there are none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return ""
    return connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")) or ""


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Of the file of that name; None where there is none."""
    try:
        stat = os.stat(path or "")
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


# ---- where it is


def _parse(url: str) -> URL:
    if "://" not in url:
        return URL.create("sqlite", database=os.path.abspath(os.path.expanduser(url)))
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise UserError("the database's URL cannot be read; give sqlite:///PATH or postgresql://...") from None
    backend = parsed.drivername.partition("+")[0]
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise UserError(f"conversations are kept by sqlite or postgresql, not by {backend}")
    if not parsed.database or parsed.database == ":memory:" or parsed.query:
        raise UserError("conversations need a file, without options: sqlite:///PATH")
    return parsed.set(drivername="sqlite", database=os.path.abspath(parsed.database))


def _default_url() -> URL:
    try:
        folder = platformdirs.user_data_path("gistchat", ensure_exists=True)
        folder.chmod(0o700)
    except OSError as error:
        raise StoreUnavailable(f"{error.filename}: {error.strerror}") from None
    return URL.create("sqlite", database=str(folder / "conversations.db"))


def _sqlite(url: URL, busy_seconds: float) -> Engine:
    engine = create_engine(
        url, connect_args={"timeout": busy_seconds}, pool_size=MOST_CONNECTIONS, max_overflow=0, pool_timeout=60
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin as `_begin` says, not as Python's sqlite3 would
        for setting in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {setting}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock at once: one that has read before cannot get it once another has written.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL, busy_seconds: float) -> Engine:
    engine = create_engine(
        url,
        connect_args={"connect_timeout": CONNECT_SECONDS, "application_name": "gistchat", **url.query},
        pool_size=MOST_CONNECTIONS,
        max_overflow=0,
        pool_timeout=60,
        pool_pre_ping=True,
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: object, _: object) -> None:
        with connection.cursor() as cursor:  # type: ignore[attr-defined]
            cursor.execute(f"SET lock_timeout = {int(busy_seconds * 1000)}")
        connection.commit()  # type: ignore[attr-defined]

    return engine
