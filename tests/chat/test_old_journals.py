"""Conversations that earlier versions kept as files: taken over into the store, once, whatever is in the way."""

import contextlib
import json
import os

import pytest
from conftest import gistchat, talk

from gistchat.chat import old_journals
from gistchat.chat.kept import KeptConversation, newest_first
from gistchat.chat.model import ChatModel
from gistchat.chat.old_journals import take_over
from gistchat.chat.session import ChatSession
from gistchat.locks import locked
from gistchat.store.conversation_store import ConversationStore
from gistchat.store.database import Database


@pytest.fixture(scope="module")
def model(run_folder):
    return ChatModel.open(run_folder, ["chat.max_reply_tokens=8"])


@pytest.fixture
def session(model):
    return ChatSession(model, seed=3)


@pytest.fixture
def store(database_file, state):
    database = Database.open()
    yield ConversationStore(database)
    database.close()


@pytest.fixture
def journal(state, run_folder):
    """Writes a conversation as earlier versions did: a line for each of the sessions that are given."""
    (state / "conversations").mkdir(parents=True)
    chat = {"run": str(run_folder), "settings": ["chat.max_reply_tokens=8"], "seed": 3, "saved": None}

    def write(name, *changes, when=None):
        path = state / "conversations" / f"{name}.jsonl"
        path.write_text("".join(f"{json.dumps(change)}\n" for change in ({**chat, **changes[0]}, *changes[1:])))
        if when:
            os.utime(path, (when, when))
        return path

    return write


def change(session, keep=0):
    values = session.to_dict()
    return {"keep": keep, "turns": values.pop("turns")[keep:], **values}


def test_conversations_go_over_with_their_memory_and_their_dates(session, journal, store, model):
    talk(session, 20)
    first = change(session)
    session.pin("My dog is called Biscuit.")
    session.edit_turn(39, "Something else.")
    path = journal("20260101-120000-aa", first, change(session, keep=38), when=1_700_000_000)
    other = ChatSession(model, seed=3)
    other.pin("I am Ann.")
    journal("20260101-110000-bb", change(other), when=1_600_000_000)
    take_over(store)
    newest, oldest = newest_first(store)
    assert (newest.messages, newest.updated, newest.created) == (40, 1_700_000_000, 1_700_000_000)
    assert (oldest.messages, oldest.updated) == (0, 1_600_000_000)
    assert list(path.parent.iterdir()) == []
    kept = KeptConversation.latest(store)
    again, _ = kept.open_session(model, kept.opened.seed)
    assert again.to_dict() == session.to_dict()
    assert again.notice == ""
    assert kept.opened.overrides == ["chat.max_reply_tokens=8"]
    pinned, _ = KeptConversation.open(store, oldest.id).open_session(model)
    assert [line.text for line in pinned.memory.pinned] == ["I am Ann."]
    take_over(store)
    assert len(list(newest_first(store))) == 2


def test_the_command_line_takes_them_over_and_says_so(session, journal, database_file, tmp_path):
    talk(session, 2)
    path = journal("20260101-120000-aa", change(session))
    done = gistchat("chat", "--continue", cwd=tmp_path, stdin="/turns\n")
    assert done.returncode == 0, done.stderr
    assert f"1 conversations of {path.parent} are in {database_file} now" in " ".join(done.stderr.split())
    assert "4. bot>" in done.stdout
    again = gistchat("conversations", cwd=tmp_path)
    assert (len(again.stdout.splitlines()), again.stderr) == (1, "")


def test_a_database_that_is_named_for_once_does_not_get_them(session, journal, store, tmp_path):
    talk(session, 1)
    path = journal("a", change(session))
    done = gistchat("conversations", "--database", "other.db", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("no conversation is kept yet\n", "")
    assert path.exists()


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[]",
        "nothing",
        '{"keep": 1e30, "turns": []}',
        '{"keep": -1, "turns": []}',
        '{"keep": 99, "turns": []}',
        '{"keep": true, "turns": []}',
        '{"keep": 0, "turns": [{"speaker": 1, "text": "x"}]}',
        '{"keep": 0, "turns": [], "settings": "abc"}',
        '{"keep": 0, "turns": [], "settings": [1]}',
        '{"keep": 0, "turns": [], "saved": ["x"]}',
        '{"keep": 0, "turns": [], "run": null}',
        '{"keep": 0, "turns": [], "seed": "x"}',
        '{"keep": ' + "9" * 6000 + "}",
        "[" * 100_000,
    ],
)
def test_a_damaged_line_is_named_and_what_stands_before_it_is_taken_over(session, journal, store, capsys, line):
    talk(session, 2)
    path = journal("a", change(session))
    content = path.read_text() + line + "\n"
    path.write_text(content)
    take_over(store)
    said = " ".join(capsys.readouterr().err.split())
    assert f"{path}:2: cannot be read; what stands before it was taken over; kept as a.jsonl.damaged" in said
    assert path.with_name("a.jsonl.damaged").read_text() == content
    assert [info.messages for info in store.list()] == [4]
    take_over(store)
    assert len(store.list()) == 1


def test_a_line_that_was_cut_off_does_not_count(session, journal, store, capsys):
    talk(session, 2)
    path = journal("a", change(session))
    with path.open("a") as file:
        file.write('{"keep": 4, "turns": [{"sp')
    take_over(store)
    assert [info.messages for info in store.list()] == [4]
    assert "cannot be read" not in capsys.readouterr().err
    assert not path.exists()


def test_a_file_of_which_nothing_can_be_read_stays(journal, state, store, capsys):
    for name, content in (("a", "{}\n"), ("b", ""), ("c", '{"keep": 0'), ("d", "\0\0\n")):
        (state / "conversations" / f"{name}.jsonl").write_text(content)
    take_over(store)
    assert store.list() == []
    assert sorted(path.name for path in (state / "conversations").iterdir()) == [
        f"{name}.jsonl.damaged" for name in "acd"
    ]
    said = " ".join(capsys.readouterr().err.split())
    assert all(f"{name}.jsonl:1: cannot be read; passed over; kept as {name}.jsonl.damaged" in said for name in "acd")


def test_one_that_a_chat_is_having_waits(session, journal, store):
    talk(session, 1)
    path = journal("a", change(session))
    with locked(path):
        take_over(store)
        assert path.exists()
        assert store.list() == []
    take_over(store)
    assert [info.messages for info in store.list()] == [2]


@pytest.mark.parametrize("died", ["create", "append", "date", "unlink"])
def test_where_the_process_died_on_the_way_nothing_is_there_twice_or_lost(session, journal, store, monkeypatch, died):
    class Killed(BaseException):
        pass

    def kill(*_, **__):
        raise Killed

    talk(session, 2)
    path = journal("a", change(session))
    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        patched.setattr(old_journals.Path if died == "unlink" else ConversationStore, died, kill)
        take_over(store)
    assert path.exists()
    take_over(store)
    assert [info.messages for info in store.list()] == [4]
    assert not path.exists()
