"""Opening the database of conversations, and what is said where that does not go well."""

import socket
import sqlite3
import stat
import subprocess
import sys

import pytest
from sqlalchemy import text

from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError
from gistchat.store import database as database_module
from gistchat.store.conversation_store import ConversationStore
from gistchat.store.database import SCHEMA, VERSION_TABLE, Database, StoreUnavailable
from gistchat.store.tables import metadata


@pytest.fixture
def path(tmp_path):
    return tmp_path / "conversations.db"


@pytest.fixture
def opened():
    """Opens a database, which is closed when the test ends."""
    databases = []

    def open_(url=None, **settings):
        databases.append(Database.open(str(url) if url else None, **settings))
        return databases[-1]

    yield open_
    for database in databases:
        database.close()


@pytest.fixture
def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def one_line(error):
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 300
    return message


def talk(database, text="Hello"):
    store = ConversationStore(database)
    id = store.create("chat").id
    store.append(id, "", [Turn("user", text)])
    return store, id


class TestWhere:
    def test_the_users_data_folder_unless_told_otherwise(self, tmp_path, monkeypatch, opened):
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        monkeypatch.delenv(database_module.VARIABLE, raising=False)
        folder = tmp_path / "data" / "gistchat"
        talk(opened())
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        files = sorted(folder.iterdir())
        assert [file.name for file in files] == ["conversations.db", "conversations.db-shm", "conversations.db-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}

    def test_the_environment_names_another(self, path, monkeypatch, opened):
        monkeypatch.setenv(database_module.VARIABLE, f"sqlite:///{path}")
        assert opened().path == path

    def test_a_path_is_enough(self, path, opened):
        assert opened(path).path == path
        assert path.stat().st_size

    def test_another_folder_may_become_the_current_one(self, tmp_path, monkeypatch, opened):
        monkeypatch.chdir(tmp_path)
        store, id = talk(opened("here.db"))
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        store.rename(id, "x")
        assert [file.name for file in tmp_path.glob("*.db")] == ["here.db"]

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("mysql://localhost/x", "not by mysql"),
            ("sqlite://", "need a file"),
            ("sqlite:///:memory:", "need a file"),
            ("sqlite:///file:x?mode=memory&uri=true", "need a file"),
            ("postgresql://127.0.0.1/x?nonsense=1", "nonsense"),
            ("postgresql://[::1/x", "cannot be read"),
            ("postgresql://host:port/x", "cannot be read"),
            ("://", "cannot be read"),
        ],
    )
    def test_a_bad_url_is_refused(self, url, said):
        with pytest.raises(UserError, match=said) as error:
            Database.open(url)
        one_line(error)

    def test_postgresql_without_its_driver_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "psycopg", None)
        with pytest.raises(UserError, match=r"gistchat\[postgres\]"):
            Database.open("postgresql://localhost/x")

    def test_passwords_are_not_shown(self, free_port):
        for secret in (":hunter2@127.0.0.1:{}/talk", "@127.0.0.1:{}/talk?password=hunter2&connect_timeout=1"):
            with pytest.raises(StoreUnavailable, match="refused") as error:
                Database.open("postgres://ada" + secret.format(free_port))
            assert "hunter2" not in one_line(error)
            assert f"127.0.0.1:{free_port}/talk" in str(error.value)


class TestOpening:
    def test_what_was_kept_is_there_when_it_is_opened_again(self, database_url, opened):
        store, id = talk(opened(database_url))
        again = ConversationStore(opened(database_url))
        assert again.path(id) == store.path(id)
        assert again.keys([Turn("user", "Hello")]) == store.keys([Turn("user", "Hello")])

    def test_keys_differ_between_databases(self, tmp_path, opened):
        keys = {ConversationStore(opened(tmp_path / name)).keys([Turn("user", "Hi")])[0] for name in ("a", "b")}
        assert len(keys) == 2

    def test_the_migrations_make_what_the_tables_say(self, database_url, opened):
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        with opened(database_url).reading() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
            assert compare_metadata(context, metadata) == []
            assert context.get_current_revision() == SCHEMA

    def test_the_newest_migration_is_the_one_that_is_asked_for(self):
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", "gistchat.store:migrations")
        assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA

    def test_opening_again_does_not_take_half_a_second_of_imports(self, path, opened):
        opened(path)
        code = f"import sys; from gistchat.store.database import Database; Database.open({str(path)!r}); "
        result = subprocess.run([sys.executable, "-c", code + "print('alembic' in sys.modules)"], capture_output=True)
        assert result.stdout.split() == [b"False"], result.stderr

    def test_several_processes_may_make_it_at_once(self, database_url):
        code = f"from gistchat.store.database import Database; print(Database.open({database_url!r}).secret.hex())"
        started = [
            subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        results = [process.communicate(timeout=60) for process in started]
        assert len({out for out, _ in results}) == 1, results
        assert len(results[0][0].strip()) == 64, results

    def test_a_newer_version_is_refused(self, database_url, opened):
        with opened(database_url).writing() as connection:
            connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0999'"))
        with pytest.raises(UserError, match="update gistchat") as error:
            Database.open(database_url)
        one_line(error)

    def test_another_programs_database_is_left_alone(self, path):
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE moz_places (url TEXT)")
        connection.close()
        with pytest.raises(UserError, match="another program") as error:
            Database.open(str(path))
        one_line(error)
        with sqlite3.connect(path) as connection:
            assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("moz_places",)]
        connection.close()

    def test_another_programs_tables_are_left_alone(self, postgres_url):
        import psycopg

        with psycopg.connect(postgres_url) as connection:
            connection.execute("CREATE TABLE messages (number INT)")
        with pytest.raises(UserError, match="another program"):
            Database.open(postgres_url)

    def test_a_migration_that_fails_leaves_nothing(self, database_url, monkeypatch, opened):
        from alembic import op

        def fail(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(op, "bulk_insert", fail)
            with pytest.raises(KeyboardInterrupt):
                Database.open(database_url)
        talk(opened(database_url))


class TestUnavailable:
    """Each case says in one line what is wrong, and works again when it is mended."""

    def test_a_missing_folder(self, tmp_path):
        with pytest.raises(StoreUnavailable, match="no such folder") as error:
            Database.open(str(tmp_path / "missing" / "c.db"))
        one_line(error)

    def test_a_folder_in_the_place_of_the_file(self, tmp_path):
        with pytest.raises(StoreUnavailable) as error:
            Database.open(str(tmp_path))
        assert str(tmp_path) in one_line(error)

    def test_a_file_that_is_no_database(self, path):
        path.write_text("Dear diary, " * 500)
        with pytest.raises(StoreUnavailable, match="is not a database") as error:
            Database.open(str(path))
        one_line(error)
        assert path.read_text().startswith("Dear diary")

    def test_a_damaged_file(self, path, opened):
        database = opened(path)
        _, id = talk(database, "word " * 20_000)
        database.checkpoint()
        database.close()
        whole = path.read_bytes()
        path.write_bytes(whole[:4096] + b"\x5a" * (len(whole) - 4096))
        with pytest.raises(StoreUnavailable, match="is damaged") as error:
            ConversationStore(opened(path)).path(id)
        one_line(error)

    def test_damage_is_found_by_the_check(self, path, opened):
        database = opened(path)
        store, id = talk(database)
        store.append(id, "", [Turn("user", f"Number {number} " * 20) for number in range(500)])
        assert store.check() == []
        with database.writing() as connection:
            connection.execute(text("PRAGMA defer_foreign_keys = ON"))
            connection.execute(text("UPDATE messages SET parent = 'nothing' WHERE position = 7"))
            connection.execute(text("UPDATE messages SET position = 600 WHERE position = 9"))
        assert [line.partition(": ")[2].partition(" (")[0] for line in store.check()] == [
            "what was before a message is missing",
            "a message is not in its place",
            "a message is not in its place",
        ]

    def test_a_file_that_is_locked(self, path, opened):
        store, id = talk(opened(path, busy_seconds=0.1))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="is locked by another process") as error:
            store.rename(id, "x")
        one_line(error)
        assert store.info(id).title == "Hello"  # it can still be read
        other.execute("ROLLBACK")
        store.rename(id, "x")
        other.close()

    def test_a_file_that_is_locked_while_it_is_opened(self, path, opened):
        sqlite3.connect(path).execute("VACUUM")  # a file without tables
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable, match="is locked by another process") as error:
            Database.open(str(path), busy_seconds=0.1)
        one_line(error)
        other.close()

    def test_a_full_disk(self, path, opened):
        """As full as a limit of the file's size makes it, as a disk cannot be filled here."""
        database = opened(path)
        store, id = talk(database)
        kept = store.path(id)
        with database.reading() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 3}")
        with pytest.raises(StoreUnavailable, match="the disk is full") as error:
            store.append(id, kept[-1].key, [Turn("model", "word " * 10_000)])
        one_line(error)
        assert store.path(id) == kept
        with database.reading() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 100000")
        store.append(id, kept[-1].key, [Turn("model", "word " * 10_000)])
        assert store.check() == []

    def test_files_that_may_grow_no_more(self, path):
        """What a process sees of a quota, or of a file system that ends."""
        code = f"""
import resource, signal
from gistchat.store.conversation_store import ConversationStore, Turn
from gistchat.store.database import Database, StoreUnavailable
store = ConversationStore(Database.open({str(path)!r}))
id = store.create("chat").id
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
head, kept = "", 0
try:
    for number in range(1000):
        head = store.append(id, head, [Turn("user", f"{{number}} " + "word " * 2000)])[-1].key
        kept += 1
except StoreUnavailable as error:
    print(error)
print(kept, len(store.path(id)), store.check())
"""
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        said, counts = result.stdout.splitlines()
        assert said.startswith(f"{path}: ")
        kept, held, problems = counts.split(" ", 2)
        assert 0 < int(kept) == int(held)
        assert problems == "[]"
        assert not result.stderr

    def test_a_folder_that_may_only_be_read(self):
        """By a process without root's rights, which may write everywhere."""
        code = """
import os, sys, tempfile, stat
from gistchat.store.conversation_store import ConversationStore, Turn
from gistchat.store.database import Database, StoreUnavailable
with tempfile.TemporaryDirectory() as folder:
    old = folder + "/old.db"
    database = Database.open(old)
    id = ConversationStore(database).create("chat").id
    database.close()
    os.chmod(old, 0o444)
    os.chmod(folder, 0o555)
    if os.getuid() == 0:
        os.seteuid(65534)
    for path in (folder + "/new.db", old):
        try:
            ConversationStore(Database.open(path)).append(id, "", [Turn("user", "Hi")])
        except StoreUnavailable as error:
            print(str(error).removeprefix(folder))
    os.seteuid(os.getuid())
    print(sorted(os.listdir(folder)))
"""
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert not result.stderr
        new, old, files = result.stdout.splitlines()
        assert new.startswith("/new.db: ")
        assert old.startswith("/old.db: cannot be ")
        assert files == "['old.db']"

    @pytest.mark.parametrize("removed", [True, False])
    def test_a_file_that_is_removed_or_replaced_while_it_is_used(self, path, opened, removed):
        store, id = talk(opened(path))
        path.rename(path.with_name("moved.db"))
        if not removed:
            path.write_bytes(b"")
        with pytest.raises(StoreUnavailable, match="moved or removed") as error:
            store.rename(id, "x")
        one_line(error)
        path.with_name("moved.db").rename(path)
        store.rename(id, "x")
