"""Many write to the store at once, and writers are killed: nothing that was acknowledged is lost."""

import contextlib
import importlib.util
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gistchat.dialogue.turns import Turn
from gistchat.store.conversation_store import ConversationStore
from gistchat.store.database import Database, StoreUnavailable


@pytest.fixture
def store(conversation_store):
    return conversation_store


@pytest.fixture
def url(store):
    return store.database.engine.url.render_as_string(hide_password=False)


def grow(store, id, name, rounds, parent=""):
    """Append turn after turn, each with memory; returns what was acknowledged."""
    kept = []
    for number in range(rounds):
        turns = [Turn("user", f"{name} asks {number}"), Turn("model", f"{name} hears {number}")]
        messages = store.append(id, parent, turns, state={"by": name, "turns": number})
        kept += messages
        parent = messages[-1].key
    return kept


class TestThreads:
    def test_each_with_a_conversation_of_its_own(self, store):
        ids = [store.create("api").id for _ in range(12)]
        with ThreadPoolExecutor(12) as pool:
            kept = list(pool.map(lambda id: grow(store, id, id, 10), ids))
        for id, messages in zip(ids, kept, strict=True):
            assert store.path(id) == messages
            assert store.state(id, messages[-1].key) == {"by": id, "turns": 9}
        assert store.check() == []

    def test_all_in_one_conversation(self, store):
        id = store.create("api").id
        start = store.append(id, "", [Turn("user", "Begin")])[0]
        with ThreadPoolExecutor(12) as pool:
            kept = list(pool.map(lambda name: grow(store, id, name, 8, start.key), "abcdefghijkl"))
        for messages in kept:
            assert store.path(id, messages[-1].key) == [start, *messages]
        assert store.info(id).head in {messages[-1].key for messages in kept}
        assert store.check() == []

    def test_the_same_turns_are_kept_once(self, store):
        id = store.create("api").id
        with ThreadPoolExecutor(8) as pool:
            kept = list(pool.map(lambda _: grow(store, id, "same", 5), range(8)))
        assert all(messages == kept[0] for messages in kept)
        assert len(store.search("same")) == 10
        assert store.path(id)[: len(kept[0])] == kept[0][: len(store.path(id))]

    def test_readers_see_whole_changes_only(self, store):
        id, done = store.create("api").id, threading.Event()

        def read():
            seen = []
            while not done.is_set():
                path, info = store.path(id), store.info(id)
                seen.append(len(path) % 2 == 0 and info.messages % 2 == 0)
            return seen

        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(read) for _ in range(3)]
            kept = grow(store, id, "writer", 25)
            done.set()
            assert all(all(reader.result()) for reader in readers)
        assert store.path(id) == kept

    def test_searching_while_conversations_are_deleted(self, store):
        ids = [store.create("api").id for _ in range(30)]
        for id in ids:
            store.append(id, "", [Turn("user", "Needle")])
        with ThreadPoolExecutor(4) as pool:
            deleted = [pool.submit(store.delete, id) for id in ids]
            while not all(one.done() for one in deleted):
                assert {info.id for info, _ in store.search("needle")} <= set(ids)
            assert [one.result() for one in deleted] == [None] * 30
        assert store.search("needle") == []


WRITER = """
import sys
from gistchat.store.conversation_store import ConversationStore, Turn
from gistchat.store.database import Database
url, id, name, rounds = sys.argv[1:]
store, parent = ConversationStore(Database.open(url)), ""
for number in range(int(rounds)):
    turns = [Turn("user", f"{name} {number}"), Turn("model", "Yes")]
    parent = store.append(id, parent, turns, state={"n": number})[-1].key
print(parent)
"""


def test_several_processes_write_at_once(store, url):
    shared, own = store.create("api").id, [store.create("api").id for _ in range(2)]
    asked = [(shared, "a"), (shared, "b"), (own[0], "c"), (own[1], "d")]
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, id, name, "25"], stdout=subprocess.PIPE, text=True)
        for id, name in asked
    ]
    heads = [process.communicate(timeout=120)[0].strip() for process in started]
    for (id, name), head in zip(asked, heads, strict=True):
        assert [message.text for message in store.path(id, head)][::2] == [f"{name} {number}" for number in range(25)]
        assert store.state(id, head) == {"n": 24}
    assert store.info(shared).head in heads[:2]
    assert [store.info(id).head for id in own] == heads[2:]
    assert store.check() == []


def kill_store():
    """The benchmark that kills writers, as a module."""
    path = Path(__file__).parents[2] / "benchmarks" / "kill_store.py"
    spec = importlib.util.spec_from_file_location("kill_store", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_was_acknowledged_survives_a_kill(store, url):
    counts = kill_store().kill_writers(url, kills=5)
    assert len(counts) == 5
    assert sum(counts) > 0


class TestPostgresAway:
    @pytest.fixture
    def store(self, postgres):
        with contextlib.closing(Database.open(postgres.new_database(), busy_seconds=1)) as database:
            yield ConversationStore(database)

    @pytest.mark.parametrize("mode", ["fast", "immediate"])
    def test_it_is_said_and_works_again_without_opening_anew(self, postgres, store, mode):
        id = store.create("api").id
        kept = grow(store, id, "before", 3)
        postgres.stop(mode)
        try:
            for ask in (lambda: store.path(id), lambda: grow(store, id, "meanwhile", 1), lambda: store.check()):
                with pytest.raises(StoreUnavailable) as error:
                    ask()
                assert "\n" not in str(error.value)
                assert "127.0.0.1" in str(error.value)
        finally:
            postgres.start()
        assert store.path(id) == kept
        kept += grow(store, id, "after", 3, kept[-1].key)
        assert store.path(id) == kept

    def test_nobody_notices_a_restart_in_which_nothing_was_asked(self, postgres, store):
        ids = [store.create("api").id for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:  # so that several connections wait to be used again
            list(pool.map(lambda id: grow(store, id, "before", 5), ids))
            postgres.stop()
            postgres.start()
            kept = list(pool.map(lambda id: store.append(id, store.info(id).head, [Turn("user", "After")]), ids))
        assert [store.path(id)[-1:] for id in ids] == kept

    def test_writers_lose_nothing_that_was_acknowledged(self, postgres, store):
        ids = [store.create("api").id for _ in range(6)]
        kept, refused, stop = {id: [] for id in ids}, {id: 0 for id in ids}, threading.Event()
        halfway = threading.Barrier(len(ids) + 1)

        def write(id):
            while not stop.is_set():
                if len(kept[id]) == 10 and not refused[id]:
                    with contextlib.suppress(threading.BrokenBarrierError):
                        halfway.wait(30)
                parent = kept[id][-1].key if kept[id] else ""
                try:
                    kept[id] += store.append(id, parent, [Turn("user", str(len(kept[id])))])
                except StoreUnavailable:
                    refused[id] += 1
                    stop.wait(0.01)

        with ThreadPoolExecutor(len(ids)) as pool:
            writers = [pool.submit(write, id) for id in ids]
            halfway.wait(30)
            postgres.stop("immediate")
            away = dict(refused)
            while any(refused[id] == away[id] for id in ids):
                stop.wait(0.01)
            postgres.start()
            counts = {id: len(kept[id]) for id in ids}
            while any(len(kept[id]) < counts[id] + 5 for id in ids):
                stop.wait(0.01)
            stop.set()
            for writer in writers:
                writer.result()
        for id in ids:
            assert kept[id] == store.path(id)[: len(kept[id])]
        assert store.check() == []
