"""gistchat conversations: what is kept is listed, searched, shown, taken elsewhere, deleted and checked."""

import contextlib
import json
import re
import sqlite3

import pytest
from conftest import gistchat, talk

from gistchat.chat.kept import KeptConversation
from gistchat.chat.model import ChatModel
from gistchat.chat.session import ChatSession
from gistchat.cli import conversations
from gistchat.dialogue.turns import Turn
from gistchat.store.conversation_store import ConversationStore
from gistchat.store.database import Database


@pytest.fixture(scope="module")
def model(run_folder):
    return ChatModel.open(run_folder, ["chat.max_reply_tokens=8"])


@pytest.fixture
def store(database_file, state):
    database = Database.open()
    yield ConversationStore(database)
    database.close()


@pytest.fixture
def chat(store, model):
    """A conversation with 42 turns and a pinned line, and an earlier one with a word of its own."""
    other = ChatSession(model, seed=3)
    other.hear([Turn("user", "Where do zebras live?"), Turn("model", "In Africa.")])
    KeptConversation(store).record(other)
    session = ChatSession(model, seed=3)
    session.hear([Turn("user", "My name is Ann."), Turn("model", "Hello, Ann.")])
    talk(session, 20)
    session.pin("My dog is called Biscuit.")
    kept = KeptConversation(store, exclusive=True)
    kept.record(session)
    kept.close()
    return session, kept


@pytest.fixture
def command(tmp_path):
    """What the command prints; it must end well, and say nothing besides."""

    def run(*words):
        done = gistchat("conversations", *words, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


@pytest.fixture
def fails(tmp_path):
    """The one line that the command ends with where it cannot do it."""

    def run(*words):
        done = gistchat("conversations", *words, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        return done.stderr

    return run


def test_the_latest_conversation_is_listed_first(chat, command):
    lines = command().splitlines()
    assert lines == command("list").splitlines()
    assert [re.sub(r"\S+ +\S+ \S+ +", "", line, count=1) for line in lines] == [
        "42 turns  chat   My name is Ann.",
        "2 turns  chat   Where do zebras live?",
    ]
    assert command("list", "--limit", "1").splitlines() == lines[:1]


def test_where_nothing_is_kept_that_is_said(store, command):
    assert command() == "no conversation is kept yet\n"


def test_a_text_is_found_in_whatever_conversation_it_is(chat, command):
    [line] = command("search", "ZEBRAS", "live").splitlines()
    assert line.endswith("1. you> Where do zebras live?")
    assert command("search", "giraffe") == "no turn holds these words\n"


def test_copies_of_a_turn_in_other_branches_are_found_once(chat, command):
    session, kept = chat
    session.edit_turn(1, "My name is Anna.")
    kept.record(session)
    assert len(command("search", "Hello, Ann.").splitlines()) == 1
    assert len(command("search", "My name is").splitlines()) == 2


def test_a_conversation_is_shown_with_its_memory_and_its_versions(chat, command):
    session, kept = chat
    session.edit_turn(42, "Another answer.")
    kept.record(session)
    shown = command("show", kept.id[:6])
    assert kept.id in shown
    assert f"model: {session.model.source}" in shown
    assert "\n1. you> My name is Ann.\n" in shown
    assert "\n42. bot> Another answer.  (1 other version)\n" in shown
    assert "\n- My dog is called Biscuit.\n" in shown
    assert "41. you>" not in command("show", kept.id, "--turns", "1")


def test_what_is_exported_can_be_prepared_and_loaded(chat, command, run_folder, tmp_path):
    _, kept = chat
    assert command("export", "--out", "one.jsonl", kept.id[:6]) == "1 conversation -> one.jsonl\n"
    done = gistchat(
        "chat", str(run_folder), "--load", "one.jsonl", "--no-journal", cwd=tmp_path, stdin="/turns 42\n/gist"
    )
    assert done.returncode == 0, done.stderr
    assert "loaded one.jsonl: 42 turns" in done.stdout
    assert "1. you> My name is Ann." in done.stdout
    assert "My dog is called Biscuit.  (by hand)  (pinned)" in done.stdout
    assert command("export", "--out", "all.jsonl", "--all") == "2 conversations -> all.jsonl\n"
    done = gistchat("prepare", "jsonl", "--from", "all.jsonl", "--out", "p", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "p" / "report.json").read_text())["turns_read"] == 44
    command("export", "--out", "all.txt", "--all", "--text")
    text = (tmp_path / "all.txt").read_text()
    assert "1. You: My name is Ann.\n2. Model: Hello, Ann.\n" in text
    assert "- My dog is called Biscuit.\n" in text
    assert "1. You: Where do zebras live?\n" in text


def test_messages_of_an_api_are_exported_as_turns(store, tmp_path):
    turns = [
        Turn("system", "Be brief."),
        Turn("user", "What time is it?"),
        Turn("assistant", ""),  # calls a tool
        Turn("tool", "12:00"),
        Turn("assistant", "Noon."),
    ]
    info = store.create("proxy", "a namespace")
    store.append(info.id, "", turns)
    empty = store.create("page")
    done = gistchat("conversations", "export", "--out", "a.jsonl", "--all", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1 conversation -> a.jsonl\n")
    assert done.stderr == f"conversation {empty.id}: nothing was said in it; left out\n"
    dialogue = json.loads((tmp_path / "a.jsonl").read_text())
    assert [(turn["speaker"], turn["text"]) for turn in dialogue["turns"]] == [
        ("user", "What time is it?"),
        ("tool", "12:00"),
        ("assistant", "Noon."),
    ]
    assert dialogue["meta"] == {"system": "Be brief."}
    assert info.id not in (tmp_path / "a.jsonl").read_text()  # who knows it may read the conversation
    done = gistchat("conversations", "export", "--out", "b.jsonl", empty.id, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, f"error: conversation {empty.id}: nothing was said in it\n")
    assert not (tmp_path / "b.jsonl").exists()


def test_what_is_deleted_is_gone(chat, command, database_file):
    _, kept = chat
    assert "1 deleted" in command("delete", kept.id[:6], "--yes")
    assert len(command().splitlines()) == 1
    assert not any(b"Biscuit" in path.read_bytes() for path in database_file.parent.iterdir())
    command("delete", "--all", "--yes")
    assert command() == "no conversation is kept yet\n"


def test_old_conversations_are_deleted_by_their_date(chat, store, command):
    _, kept = chat
    store.date(kept.id, 0, 1_600_000_000)
    command("delete", "--before", "2020-09-15", "--yes")
    assert [info.title for info in store.list()] == ["Where do zebras live?"]


@pytest.mark.parametrize(("answer", "left"), [("n", 2), ("y", 1), (None, 2)])
def test_a_person_is_asked_before_anything_is_deleted(chat, store, tmp_path, monkeypatch, answer, left):
    if answer:
        monkeypatch.setattr(conversations, "_somebody_is_there", lambda: True)
    done = gistchat("conversations", "delete", chat[1].id, cwd=tmp_path, stdin=f"{answer}\n")
    assert len(store.list()) == left
    assert ("nothing was deleted" in done.stderr) == (left == 2)
    assert done.returncode == (left == 2)


def test_what_a_chat_is_having_is_not_deleted(chat, store, tmp_path):
    _, kept = chat
    kept.hold()
    done = gistchat("conversations", "delete", kept.id, "--yes", cwd=tmp_path)
    kept.close()
    assert done.returncode == 1
    assert done.stderr == f"error: another chat is having conversation {kept.id}\n"
    assert len(store.list()) == 2


def test_a_conversation_has_to_be_named_unmistakably(chat, store, fails, tmp_path):
    assert "no conversation has an id that begins with 'nothing'" in fails("show", "nothing")
    ids = [info.id for info in store.list()]
    assert "is the beginning of 2 ids" in fails("show", "")
    for words in (["delete"], ["delete", ids[0], "--all"], ["export", "--out", "a.jsonl"]):
        assert "which conversations?" in fails(*words)
    (tmp_path / "there.jsonl").write_text("mine")
    assert "is there already" in fails("export", "--out", "there.jsonl", "--all")
    assert "a date such as 2026-01-31" in fails("delete", "--before", "yesterday", "--yes")
    assert (tmp_path / "there.jsonl").read_text() == "mine"


def test_another_database_is_named(chat, command, fails, tmp_path):
    place = f"sqlite:///{tmp_path}/other.db"
    assert command("--database", place) == "no conversation is kept yet\n"
    assert command("list", "--database", place) == "no conversation is kept yet\n"
    (tmp_path / "text.db").write_text("no database " * 100)
    assert "is not a database of gistchat" in fails("--database", str(tmp_path / "text.db"))


def test_damage_is_found(chat, store, command, tmp_path, database_file):
    assert command("check").endswith(": 2 conversations, nothing wrong\n")
    with contextlib.closing(sqlite3.connect(database_file, isolation_level=None)) as database:
        database.execute("DELETE FROM messages WHERE position = 3")
    done = gistchat("conversations", "check", cwd=tmp_path)
    assert done.returncode == 1
    assert "what was before a message is missing" in done.stderr


def test_nothing_that_was_said_drives_the_terminal(store, command):
    store.append(store.create("chat").id, "", [Turn("user", "a\x1b[2Jb\nc"), Turn("model", "d\x07")])
    for words in ([], ["show", store.list()[0].id], ["search", "b"]):
        assert not set(command(*words)) & {"\x1b", "\x07"}
