"""Conversations that nobody saved: kept as they go, in the state folder, for this user alone."""

import json
import os
import shutil
import stat

import pytest
from conftest import gistchat, say, talk, texts

from gistchat.chat import conversations, session_file
from gistchat.chat.conversations import Journal, read_conversation, remove_old
from gistchat.chat.model import ChatModel
from gistchat.chat.session import ChatSession
from gistchat.cli.chat_terminal import Terminal, _resumed
from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError


@pytest.fixture(scope="module")
def model(run_folder):
    return ChatModel.open(run_folder, ["chat.max_reply_tokens=8"])


@pytest.fixture
def session(model):
    return ChatSession(model, seed=3)


def kept_files(state):
    return sorted((state / "conversations").glob("*.jsonl"))


def resumed(session):
    """The latest conversation, as another process would find it, and the journal that goes on with it."""
    journal = Journal.latest()
    return _resumed(session.model, journal, session.seed), journal


def same(one, other):
    assert one.turns == other.turns
    for name in ("gist", "pinned", "versions", "window", "_total"):
        assert getattr(one.memory, name) == getattr(other.memory, name), name
    assert (one.draws, one.edited_up_to, one.recipe.chat) == (other.draws, other.edited_up_to, other.recipe.chat)


def test_every_kind_of_change_is_there_again(session, state):
    journal = Journal.new()
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
        "nothing": lambda: None,
    }
    for name, change in changes.items():
        change()
        journal.record(session)
        journal.close()
        other, reopened = resumed(session)
        same(session, other)
        reopened.close()
        assert len(kept_files(state)) == 1, name
    [path] = kept_files(state)
    lines = path.read_text().splitlines()
    assert len(lines) == len(changes) - 1  # where nothing changed, no line
    assert len(lines[2]) < len(lines[1])  # a line holds what is new
    other, _ = resumed(session)
    assert [say(other, "And then?") for _ in range(2)] == [say(session, "And then?") for _ in range(2)]


def test_only_this_user_may_read_what_is_kept(session, state):
    before = os.umask(0)
    try:
        journal = Journal.new()
        talk(session, 1)
        journal.record(session)
    finally:
        os.umask(before)
    for path in (state, state / "conversations"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600


def test_a_conversation_that_is_empty_leaves_no_file(session, state):
    journal = Journal.new()
    journal.record(session)
    assert list(journal.path.parent.iterdir()) == []
    talk(session, 1)
    journal.record(session)
    session.take_back()
    journal.record(session)
    assert list(journal.path.parent.iterdir()) == []
    talk(session, 2)
    journal.record(session)
    journal.close()
    same(session, resumed(session)[0])


def test_a_turn_without_its_answer_is_not_lost(session, state):
    talk(session, 2)
    journal = Journal.new()
    journal.record(session, Turn("user", "Where is the harbour?"))
    journal.close()
    other, journal = resumed(session)
    same(session, other)
    assert "no answer yet, say it again: Where is the harbour?" in other.notice
    other.say("Where is it?")
    journal.record(other)
    journal.close()
    same(other, resumed(other)[0])


@pytest.mark.parametrize("cut", [1, 20, 1000])
def test_a_line_that_was_cut_off_is_written_over(session, state, cut):
    journal = Journal.new()
    talk(session, 2)
    journal.record(session)
    whole = journal.path.stat().st_size
    before = list(session.turns)
    talk(session, 30)
    journal.record(session)
    journal.close()
    os.truncate(journal.path, min(whole + cut, journal.path.stat().st_size - 1))
    other, journal = resumed(session)
    assert other.turns == before
    assert "cannot be read" not in other.notice
    talk(other, 1)
    journal.record(other)
    journal.close()
    same(other, resumed(other)[0])


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
def test_a_damaged_line_is_named_and_what_stands_before_it_goes_on(session, state, line):
    journal = Journal.new()
    talk(session, 2)
    journal.record(session)
    journal.close()
    content = journal.path.read_text() + line + "\n"
    journal.path.write_text(content)
    other, damaged = resumed(session)
    assert f"{journal.path}:2: cannot be read" in other.notice
    same(session, other)
    terminal = Terminal(other, input, False)
    terminal.keep_in(damaged)
    talk(other, 1)
    terminal.keep()
    terminal.close()
    damaged.close()
    assert journal.path.read_text() == content
    same(other, resumed(other)[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [("draws", -1), ("edited_up_to", 10**30), ("gist", None), ("pinned", [{"turn": 1.5}]), ("versions", 3)],
)
def test_a_memory_that_cannot_be_read_leaves_the_turns(session, state, name, value):
    journal = Journal.new()
    talk(session, 20)
    journal.record(session)
    journal.close()
    journal.path.write_text(journal.path.read_text() + json.dumps({"keep": 40, "turns": [], name: value}) + "\n")
    other, _ = resumed(session)
    assert other.turns == session.turns
    assert f"{journal.path}: its memory cannot be read" in other.notice
    assert other.memory.turns == 40


def test_a_chat_goes_on_only_with_what_no_other_chat_is_having(session, state):
    with pytest.raises(UserError, match=r"no conversation to go on with$"):
        Journal.latest()
    older, newer = Journal.new(), Journal.new()
    talk(session, 1)
    older.record(session)
    talk(session, 1)
    newer.record(session)
    os.utime(older.path, (1, 1))
    older.close()
    one = Journal.latest()
    assert one.path == older.path  # the newer one is open
    with pytest.raises(UserError, match="another process is writing"):
        Journal.latest()
    newer.close()
    assert Journal.latest().path == newer.path


def test_the_oldest_conversations_go_and_no_open_one(session, state):
    journals = []
    for age in range(6):
        journals.append(Journal.new())
        talk(session, 1)
        journals[-1].record(session)
        os.utime(journals[-1].path, (1000 - age, 1000 - age))
    *closed, oldest = journals
    for journal in closed:
        journal.close()
    remove_old(most_files=3)
    assert kept_files(state) == sorted(journal.path for journal in [*journals[:3], oldest])
    remove_old(most_bytes=1)
    assert kept_files(state) == sorted([journals[0].path, oldest.path])
    oldest.close()
    remove_old(most_bytes=1)
    assert kept_files(state) == [journals[0].path]


def test_a_full_disk_is_said_once_and_nothing_is_lost_when_there_is_room_again(session, state, monkeypatch, capsys):
    terminal = Terminal(session, input, False)
    terminal.keep_in()
    sync, full = os.fsync, [True]

    def fsync(descriptor):
        if full[0]:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(conversations.os, "fsync", fsync)
    for _ in range(3):
        talk(session, 1)
        terminal.keep()
    assert capsys.readouterr().err.count("not kept: [Errno 28] No space left on device") == 1
    full[0] = False
    talk(session, 1)
    terminal.keep()
    terminal.close()
    same(session, resumed(session)[0])


@pytest.mark.parametrize("obstacle", ["gistchat", "gistchat/conversations", "."])
def test_a_state_folder_that_cannot_be_had_does_not_end_the_chat(run_folder, tmp_path, state, obstacle):
    place = (tmp_path / "state" / obstacle).resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("a file, where a folder should be")
    done = gistchat("chat", str(run_folder), "--max-reply-tokens", "4", cwd=tmp_path, stdin="Hello\nHow\nWhy\n")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr.count("this conversation is not kept") == 1
    assert place.read_text() == "a file, where a folder should be"


def test_a_chat_through_a_pipe_goes_on_with_its_run_and_its_settings(run_folder, tmp_path, state):
    options = ("--max-reply-tokens", "4", "--budget", "40", "--seed", "5")
    first = gistchat("chat", str(run_folder), *options, cwd=tmp_path, stdin="Hello\n/pin I am Ann.\n/strategy recent\n")
    assert first.returncode == 0, first.stderr
    second = gistchat("chat", "--continue", cwd=tmp_path, stdin="And then?\n/turns\n/gist\n")
    assert second.returncode == 0, second.stderr
    assert "going on with the conversation of" in second.stderr
    assert "1. user> Hello" in second.stdout.replace("you>", "user>")
    [path] = kept_files(state)
    kept = read_conversation(path)
    assert len(kept.turns) == 4
    assert kept.run == run_folder
    assert kept.state["seed"] == 5
    assert {"chat.max_reply_tokens=4", "context.budget=40"} <= set(kept.settings)
    assert kept.state["strategy"] == "recent"
    third = gistchat("chat", "--continue", "--budget", "60", "--no-journal", cwd=tmp_path, stdin="More\n/turns\n")
    assert "5. you> More" in third.stdout
    assert len(read_conversation(path).turns) == 4  # nothing of this chat was kept
    again = gistchat("chat", str(run_folder), "--no-journal", cwd=tmp_path, stdin="Hello\n")
    assert again.returncode == 0
    assert kept_files(state) == [path]


def test_what_cannot_go_on_is_said_in_one_line(run_folder, tmp_path, state):
    def fails(*options):
        done = gistchat("chat", *options, cwd=tmp_path, stdin="Hello\n")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        return done.stderr

    assert "no conversation to go on with" in fails("--continue")
    assert "give one of them" in fails("--continue", "--load", "x.jsonl")
    session = ChatSession.open(run_folder)
    talk(session, 1)
    journal = Journal.new()
    journal.record(session)
    journal.close()
    content = journal.path.read_text()
    journal.path.write_text(content.replace(str(run_folder), "/nowhere/run"))
    assert "/nowhere/run" in fails("--continue")
    assert json.loads(journal.path.read_text())["run"] == "/nowhere/run"
    done = gistchat("chat", str(run_folder), "--continue", cwd=tmp_path, stdin="/turns\n")
    assert "1. you>" in done.stdout


def test_started_over_or_loaded_the_conversation_before_stays_as_it_was(run_folder, tmp_path, state):
    lines = "Hello\n/save one.jsonl\n/reset\nGood evening\n/load one.jsonl\n/undo\n"
    done = gistchat("chat", str(run_folder), "--max-reply-tokens", "4", cwd=tmp_path, stdin=lines)
    assert done.returncode == 0, done.stderr
    first = [
        [turn.text for turn in read_conversation(path).turns if turn.speaker == "user"] for path in kept_files(state)
    ]
    assert sorted(first) == [["Good evening"], ["Hello"]]  # the loaded one was taken back, and is empty


def test_a_file_of_which_nothing_can_be_read_is_named_and_passed_over(session, state, capsys):
    older = Journal.new()
    talk(session, 1)
    older.record(session)
    older.close()
    os.utime(older.path, (1, 1))
    for name, content in (("a", "{}\n"), ("b", ""), ("c", '{"keep": 0'), ("d", "\0\0\n")):
        older.path.with_name(f"{name}.jsonl").write_text(content)
    journal = Journal.latest()
    assert journal.path == older.path
    said = capsys.readouterr().err
    assert sorted(name for name in "abcd" if f"{name}.jsonl:1: cannot be read; passed over" in said) == ["a", "d"]


def test_the_file_that_it_was_saved_to_is_still_its_own(session, state, tmp_path):
    talk(session, 1)
    session_file.save(session, tmp_path / "c.jsonl")
    journal = Journal.new()
    journal.record(session)
    journal.close()
    for change in ("", "\n"):
        with (tmp_path / "c.jsonl").open("a") as file:
            file.write(change)
        other, journal = resumed(session)
        journal.close()
        if change:
            with pytest.raises(UserError, match="was changed since"):
                session_file.save(other, tmp_path / "c.jsonl")
        else:
            session_file.save(other, tmp_path / "c.jsonl")


def test_where_no_new_conversation_can_be_kept_the_one_before_stays(session, state, capsys):
    terminal = Terminal(session, input, False)
    terminal.keep_in()
    talk(session, 1)
    terminal.keep()
    [path] = kept_files(state)
    before = path.read_bytes()
    away = state.rename(state.with_name("away"))
    state.write_text("a file, where the folder was")
    session.reset()
    terminal.go_on_with(session)
    for _ in range(2):
        talk(session, 1)
        terminal.keep()
    assert (away / "conversations" / path.name).read_bytes() == before
    assert capsys.readouterr().err.count("this conversation is not kept") == 1


@pytest.mark.parametrize("lost", ["the file", "its end", "the folder"])
def test_a_file_that_goes_while_the_chat_goes_on_begins_anew(session, state, lost):
    terminal = Terminal(session, input, False)
    terminal.keep_in()
    talk(session, 2)
    terminal.keep()
    [path] = kept_files(state)
    if lost == "the file":
        path.unlink()
    elif lost == "its end":
        os.truncate(path, 10)
    else:
        shutil.rmtree(state)
        (state / "conversations").mkdir(parents=True)
    talk(session, 1)
    terminal.keep()
    terminal.close()
    same(session, resumed(session)[0])


def test_pins_reach_the_next_prompt_after_going_on(session, state):
    talk(session, 20)
    session.pin("My dog is called Biscuit.")
    journal = Journal.new()
    journal.record(session)
    journal.close()
    other, _ = resumed(session)
    assert texts(other)[0] == "My dog is called Biscuit."
    other.say("Who?")
    assert "My dog is called Biscuit." in [line.text for line in other.gist_lines()]
