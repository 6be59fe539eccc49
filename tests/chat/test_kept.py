"""Conversations that nobody saved: kept as they go, in the store, for this user alone."""

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys

import pytest
from conftest import gistchat, say, talk, texts

from gistchat.chat import session_file
from gistchat.chat.kept import KeptConversation, newest_first
from gistchat.chat.model import ChatModel
from gistchat.chat.session import ChatSession
from gistchat.cli.chat_terminal import Terminal, _resumed
from gistchat.context.types import Sentence
from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError
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
    database = Database.open(busy_seconds=0.2)
    yield ConversationStore(database)
    database.close()


@pytest.fixture
def kept(store):
    kept = KeptConversation(store, exclusive=True)
    yield kept
    kept.close()


def resumed(kept, model):
    """The latest conversation, as another process would find it, and what goes on with it."""
    kept.close()
    again = KeptConversation.latest(kept.store)
    session = _resumed(model, again, None)
    again.close()
    return session, again


def same(one, other):
    assert one.turns == other.turns
    for name in ("gist", "pinned", "versions", "window", "_total"):
        assert getattr(one.memory, name) == getattr(other.memory, name), name
    assert (one.draws, one.edited_up_to, one.recipe.chat) == (other.draws, other.edited_up_to, other.recipe.chat)


def said(store, id):
    return [message.text for message in store.path(id)]


def test_every_kind_of_change_is_there_again(session, kept, model):
    changes = {
        "a pin": lambda: session.pin("My dog is called Biscuit."),
        "turns, and gists of them": lambda: talk(session, 20),
        "a reply": lambda: session.say("Hello 👋 there"),
        "an edited gist": lambda: session.edit_gist("They sing."),
        "an edited turn": lambda: session.edit_turn(7, "Something else, in the middle."),
        "two turns taken back": lambda: (session.take_back(), session.take_back()),
        "an earlier gist": lambda: (session.back_to(1), session.remember()),
        "another strategy": lambda: session.switch_strategy("recent"),
        "another answer": lambda: (list(session.regenerate()), session.remember()),
        "a forgotten turn": lambda: session.forget(9),
        "nothing": lambda: None,
    }
    for change in changes.values():
        change()
        kept.record(session)
        other, _ = resumed(kept, model)
        same(session, other)
    assert len(kept.store.list()) == 1
    assert kept.store.check() == []
    other = ChatSession(model, seed=3)
    other = _resumed(model, KeptConversation.latest(kept.store), 3)
    assert [say(other, "And then?") for _ in range(2)] == [say(session, "And then?") for _ in range(2)]


def test_where_nothing_changed_nothing_is_written(session, kept):
    talk(session, 2)
    kept.record(session)
    before = kept.store.info(kept.id)
    kept.record(session)
    assert kept.store.info(kept.id) == before


def test_what_was_edited_undone_or_answered_again_stays_in_the_store(session, kept):
    talk(session, 3)
    first, *_, last = (turn.text for turn in session.turns)
    kept.record(session)
    session.edit_turn(1, "Another beginning.")
    kept.record(session)
    session.take_back()
    kept.record(session)
    texts_now = [turn.text for turn in session.turns]
    assert said(kept.store, kept.id) == texts_now
    assert texts_now[0] == "Another beginning."
    root, *_ = kept.store.path(kept.id)
    versions = kept.store.siblings(kept.id, [root.key])[root.key]
    assert len(versions) == 2
    before = kept.store.path(kept.id, kept.store.leaf_below(kept.id, versions[0]))
    assert (before[0].text, before[-1].text, len(before)) == (first, last, 6)


def test_only_this_user_may_read_what_is_kept(session, database_file, state):
    before = os.umask(0)
    try:
        kept = KeptConversation(ConversationStore(Database.open()))
        talk(session, 1)
        kept.record(session)
    finally:
        os.umask(before)
    assert stat.S_IMODE(database_file.parent.stat().st_mode) == 0o700
    names = [database_file.with_name(database_file.name + end) for end in ("", "-wal", "-shm")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in names} == {0o600}
    kept.store.database.close()


def test_a_conversation_in_which_nothing_was_said_is_not_made(session, kept, model):
    kept.record(session)
    assert kept.store.list() == []
    with pytest.raises(UserError, match=r"no conversation to go on with$"):
        KeptConversation.latest(kept.store)
    talk(session, 1)
    kept.record(session)
    session.take_back()
    kept.record(session)
    kept.close()
    with pytest.raises(UserError, match=r"no conversation to go on with$"):  # all of it was taken back
        KeptConversation.latest(kept.store)
    talk(session, 2)
    kept.record(session)
    same(session, resumed(kept, model)[0])
    assert len(kept.store.list()) == 1


def test_a_turn_without_its_answer_is_not_lost(session, kept, model):
    talk(session, 2)
    kept.record(session, Turn("user", "Where is the harbour?"))
    other, again = resumed(kept, model)
    same(session, other)
    assert "no answer yet, say it again: Where is the harbour?" in other.notice
    other.say("Where is it?")
    again.record(other)
    same(other, resumed(again, model)[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [("draws", -1), ("edited_up_to", 10**30), ("gist", None), ("pinned", [{"turn": 1.5}]), ("versions", 3)],
)
def test_a_memory_that_cannot_be_read_leaves_the_turns(session, kept, model, name, value):
    talk(session, 20)
    kept.record(session)
    kept.store.keep_state(kept.id, kept.store.info(kept.id).head, {**session.state(), name: value})
    other, _ = resumed(kept, model)
    assert other.turns == session.turns
    assert f"conversation {kept.id}: its memory cannot be read" in other.notice
    assert other.memory.turns == 40


@pytest.mark.parametrize(
    "change",
    [{"run": None}, {"overrides": "abc"}, {"overrides": [1]}, {"seed": "x"}, {"saved": ["x"]}, {"saved": 3}, None],
)
def test_settings_that_cannot_be_read_are_said_in_one_line(session, kept, change):
    talk(session, 1)
    kept.record(session)
    settings = kept.store.info(kept.id).settings
    kept.store.settings(kept.id, {} if change is None else settings | change)
    kept.close()
    with pytest.raises(UserError, match=f"conversation {kept.id}: what it was opened with cannot be read"):
        _ = KeptConversation.latest(kept.store).opened


def test_a_chat_goes_on_only_with_what_no_other_chat_is_having(session, store):
    older, newer = (KeptConversation(store, exclusive=True) for _ in range(2))
    for kept in (older, newer):
        talk(session, 1)
        kept.record(session)
    older.close()
    one = KeptConversation.latest(store)
    assert one.id == older.id  # the newer one is open
    with pytest.raises(UserError, match=f"; another chat is having conversation {newer.id}; another chat is"):
        KeptConversation.latest(store)
    with pytest.raises(UserError, match=f"another chat is having conversation {older.id}"):
        KeptConversation.open(store, older.id, exclusive=True)
    newer.close()
    assert KeptConversation.latest(store).id == newer.id


def test_conversations_of_others_are_not_gone_on_with(session, store):
    talk(session, 1)
    for origin, namespace in (("page", ""), ("proxy", ""), ("chat", "somebody's")):
        KeptConversation(store, origin, namespace).record(session)
    with pytest.raises(UserError, match=r"no conversation to go on with$"):
        KeptConversation.latest(store)


def fill(database):
    """Let the database find no room, as on a full disk."""
    with database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


def test_a_full_disk_is_said_once_and_nothing_is_lost_when_there_is_room_again(session, store, model, capsys):
    terminal = Terminal(session, input, False)
    terminal.keep_in(lambda: store)
    talk(session, 1)
    terminal.keep()
    fill(store.database)
    for _ in range(3):
        talk(session, 300)
        terminal.keep()
    assert len(store.path(terminal.kept.id)) == 2
    assert capsys.readouterr().err.count("this conversation is not kept") == 1
    store.database.engine.dispose()  # the limit is a connection's own
    talk(session, 1)
    terminal.keep()
    same(session, resumed(terminal.kept, model)[0])


def test_a_database_that_another_holds_is_said_once_and_nothing_is_lost_later(session, store, model, capsys):
    terminal = Terminal(session, input, False)
    terminal.keep_in(lambda: store)
    other = sqlite3.connect(store.database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(3):
        talk(session, 1)
        terminal.keep()
    assert capsys.readouterr().err.count("is locked by another process") == 1
    other.execute("ROLLBACK")
    terminal.keep()
    same(session, resumed(terminal.kept, model)[0])


NEWER = "CREATE TABLE gistchat_version (version_num); INSERT INTO gistchat_version VALUES ('9999')"


@pytest.mark.parametrize("fault", ["a folder", "no folder", "damaged", "newer", "another program's"])
def test_a_database_that_cannot_be_used_does_not_end_the_chat(run_folder, tmp_path, database_file, fault):
    place = database_file.parent if fault == "no folder" else database_file
    place.parent.mkdir(parents=True)
    if fault == "a folder":
        place.mkdir()
    elif fault in ("newer", "another program's"):
        with sqlite3.connect(place) as made:
            made.executescript(NEWER if fault == "newer" else "CREATE TABLE birds (name)")
        made.close()
    else:
        place.write_text("no database, " * 1000)
    before = place.read_bytes() if place.is_file() else None
    done = gistchat("chat", str(run_folder), "--max-reply-tokens", "4", cwd=tmp_path, stdin="Hello\nHow\nWhy\n")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr.count("this conversation is not kept") == 1
    assert done.stderr.count("\n") == 1
    assert before is None or place.read_bytes() == before
    again = gistchat("chat", "--continue", cwd=tmp_path, stdin="Hello\n")
    assert (again.returncode, again.stdout, again.stderr.count("\n")) == (1, "", 1)


def user_turns(store):
    return [[m.text for m in store.path(info.id) if m.speaker == "user"] for info in newest_first(store)]


def test_a_chat_through_a_pipe_goes_on_with_its_run_and_its_settings(run_folder, tmp_path, store):
    options = ("--max-reply-tokens", "4", "--budget", "40", "--seed", "5")
    first = gistchat("chat", str(run_folder), *options, cwd=tmp_path, stdin="Hello\n/pin I am Ann.\n/strategy recent\n")
    assert first.returncode == 0, first.stderr
    second = gistchat("chat", "--continue", cwd=tmp_path, stdin="And then?\n/turns\n/gist\n")
    assert second.returncode == 0, second.stderr
    assert "going on with the conversation of" in second.stderr
    assert "1. you> Hello" in second.stdout
    assert "I am Ann." in second.stdout
    [info] = store.list()
    assert info.messages == 4
    kept = KeptConversation.open(store, info.id)
    assert (kept.opened.run, kept.opened.seed) == (run_folder, 5)
    assert {"chat.max_reply_tokens=4", "context.budget=40"} <= set(kept.opened.overrides)
    assert info.settings["strategy"] == store.state(info.id, info.head)["strategy"] == "recent"
    third = gistchat("chat", "--continue", "--budget", "60", "--no-journal", cwd=tmp_path, stdin="More\n/turns\n")
    assert "5. you> More" in third.stdout
    again = gistchat("chat", str(run_folder), "--no-journal", cwd=tmp_path, stdin="Hello\n")
    assert again.returncode == 0
    assert store.list() == [info]  # nothing of these chats was kept


def test_a_chosen_conversation_goes_on(run_folder, tmp_path, store):
    for text in ("Good morning", "Good evening"):
        gistchat("chat", str(run_folder), "--max-reply-tokens", "4", cwd=tmp_path, stdin=f"{text}\n")
    _, first = newest_first(store)
    beginning = first.id[:8]
    done = gistchat("chat", "--conversation", beginning, cwd=tmp_path, stdin="And now?\n")
    assert done.returncode == 0, done.stderr
    assert user_turns(store) == [["Good morning", "And now?"], ["Good evening"]]
    unknown = gistchat("chat", "--conversation", "nothing", cwd=tmp_path, stdin="Hello\n")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == "error: no conversation has an id that begins with 'nothing'\n"


def test_a_chat_is_kept_in_postgresql(run_folder, tmp_path, state, postgres_url):
    options = ("--max-reply-tokens", "4", "--database", postgres_url)
    first = gistchat("chat", str(run_folder), *options, cwd=tmp_path, stdin="Hello\n/pin I am Ann.\n")
    assert (first.returncode, first.stderr) == (0, "")
    second = gistchat("chat", "--continue", *options, cwd=tmp_path, stdin="And then?\n/forget 1\n/gist\n")
    assert second.returncode == 0, second.stderr
    assert "I am Ann." in second.stdout
    store = ConversationStore(Database.open(postgres_url))
    [info] = store.list()
    assert [message.text for message in store.path(info.id)][::2] == ["…", "And then?"]
    holder = KeptConversation.latest(store)
    third = gistchat("chat", "--continue", *options, cwd=tmp_path, stdin="More\n")
    assert f"another chat is having conversation {info.id}" in third.stderr
    assert store.info(info.id) == info
    holder.close()
    store.database.close()


def test_what_cannot_go_on_is_said_in_one_line(run_folder, tmp_path, store, session):
    def fails(*options):
        done = gistchat("chat", *options, cwd=tmp_path, stdin="Hello\n")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        return done.stderr

    assert "no conversation to go on with" in fails("--continue")
    assert "give one of them" in fails("--continue", "--load", "x.jsonl")
    assert "give one of them" in fails("--continue", "--conversation", "x")
    kept = KeptConversation(store)
    talk(session, 1)
    kept.record(session)
    kept.store.settings(kept.id, {**store.info(kept.id).settings, "run": "/nowhere/run"})
    assert "/nowhere/run" in fails("--continue")
    done = gistchat("chat", str(run_folder), "--continue", cwd=tmp_path, stdin="/turns\n")
    assert "1. you>" in done.stdout


def test_started_over_or_loaded_the_conversation_before_stays_as_it_was(run_folder, tmp_path, store):
    lines = "Hello\n/save one.jsonl\n/reset\nGood evening\n/load one.jsonl\n/undo\n"
    done = gistchat("chat", str(run_folder), "--max-reply-tokens", "4", cwd=tmp_path, stdin=lines)
    assert done.returncode == 0, done.stderr
    assert user_turns(store) == [[], ["Good evening"], ["Hello"]]  # the loaded one was taken back


def test_the_file_that_it_was_saved_to_is_still_its_own(session, kept, model, tmp_path):
    talk(session, 1)
    session_file.save(session, tmp_path / "c.jsonl")
    kept.record(session)
    for change in ("", "\n"):
        with (tmp_path / "c.jsonl").open("a") as file:
            file.write(change)
        other, _ = resumed(kept, model)
        if change:
            with pytest.raises(UserError, match="was changed since"):
                session_file.save(other, tmp_path / "c.jsonl")
        else:
            session_file.save(other, tmp_path / "c.jsonl")


@pytest.mark.parametrize("lost", ["the conversation", "the file", "the folder"])
def test_what_goes_while_the_chat_goes_on_begins_anew(session, store, model, lost):
    terminal = Terminal(session, input, False)
    terminal.keep_in(lambda: ConversationStore(Database.open()))
    talk(session, 2)
    terminal.keep()
    folder = terminal.kept.store.database.path.parent
    if lost == "the conversation":
        store.delete(terminal.kept.id)
    elif lost == "the file":
        for path in folder.glob("conversations.db*"):
            path.unlink()
    else:
        shutil.rmtree(folder)
        folder.mkdir()
    talk(session, 1)
    terminal.keep()
    with contextlib.closing(Database.open()) as database:
        assert [info.messages for info in ConversationStore(database).list()] == [6]
    same(session, resumed(terminal.kept, model)[0])


def test_a_turn_that_is_forgotten_is_nowhere_in_the_files(session, kept, database_file):
    told = "My sister Olga works as a nurse in Oslo."
    session.hear([Turn("user", "Hello."), Turn("model", "Hi."), Turn("user", "Olga's a nurse."), Turn("model", "Oh.")])
    kept.record(session)
    for number, text in ((3, "My Olga is a nurse."), (1, "Good day."), (3, told), (2, "Good day.")):
        session.edit_turn(number, text)  # what follows a changed turn is copied
        kept.record(session)
    session.memory.pin(Sentence(2, "user", told))  # as a line of the gist is
    talk(session, 20)
    kept.record(session)

    def files():
        return b"".join(path.read_bytes() for path in database_file.parent.iterdir())

    assert b"Olga" in files()
    session.forget(3)
    kept.record(session)
    assert b"Olga" not in files()
    talk(session, 1)
    kept.record(session)
    same(session, resumed(kept, session.model)[0])


def test_pins_reach_the_next_prompt_after_going_on(session, kept, model):
    talk(session, 20)
    session.pin("My dog is called Biscuit.")
    kept.record(session)
    other, _ = resumed(kept, model)
    assert texts(other)[0] == "My dog is called Biscuit."
    other.say("Who?")
    assert "My dog is called Biscuit." in [line.text for line in other.gist_lines()]


def test_a_chat_begins_without_what_only_the_database_needs(store):
    program = """
import sys
import gistchat.cli.chat_terminal
assert not {"sqlalchemy", "alembic"} & set(sys.modules)
from gistchat.cli.conversations import open_store
open_store(None)
assert "sqlalchemy" in sys.modules
assert "alembic" not in sys.modules  # the tables are as they should be
"""
    subprocess.run([sys.executable, "-c", program], check=True)
