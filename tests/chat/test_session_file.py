"""Conversations on disk: saved, loaded back, taken from others, and rescued."""

import json

import pytest
from conftest import gistchat, say, talk, texts

from gistchat.chat import session as chat_module
from gistchat.chat import session_file
from gistchat.cli.chat_terminal import Terminal
from gistchat.dialogue.jsonl import load_dialogues
from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError
from gistchat.prepare.prepare import prepare
from gistchat.recipe.schema import DataConfig


def test_a_saved_chat_is_a_dialogue_that_prepare_reads(session, tmp_path):
    with pytest.raises(UserError, match="nothing to save yet"):
        session_file.save(session, tmp_path / "c.jsonl")
    while not session.turns:
        say(session, "Hello 👋")
    session_file.save(session, tmp_path / "c.jsonl")
    session_file.save(session, tmp_path / "c.jsonl")  # its own file, again
    with pytest.raises(UserError, match="exists; give another name"):
        session_file.export_text(session, tmp_path / "c.jsonl")
    session.saved = None
    with pytest.raises(UserError, match="exists; give another name"):
        session_file.save(session, tmp_path / "c.jsonl")
    report, _ = prepare(DataConfig(corpus="jsonl", source=str(tmp_path / "c.jsonl")), tmp_path / "out")
    assert report["kept"] == 1
    [dialogue] = load_dialogues(tmp_path / "out" / "train.jsonl")
    assert dialogue.turns[0] == Turn("user", "Hello 👋")


def test_a_loaded_session_goes_on_as_if_it_had_never_stopped(session, tmp_path):
    session.pin("My dog is called Biscuit.")
    talk(session, 20)
    session.edit_gist("They sing.")
    session.say("Hello 👋")
    session_file.save(session, tmp_path / "c.jsonl")
    other = session_file.load(session.model, tmp_path / "c.jsonl", seed=3)
    assert other.notice == ""
    assert other.turns == session.turns
    for name in ("gist", "pinned", "versions", "window", "_total"):
        assert getattr(other.memory, name) == getattr(session.memory, name), name
    assert [say(other, "And then?") for _ in range(3)] == [say(session, "And then?") for _ in range(3)]
    assert other.context == session.context


def test_session_files_of_others_are_taken_as_far_as_they_go(session, tmp_path):
    session.pin("My dog is called Biscuit.")
    talk(session, 20)
    session_file.save(session, tmp_path / "c.jsonl")
    turns = list(session.turns)
    saved = json.loads((tmp_path / "c.jsonl").read_text())

    def changed(**meta):
        (tmp_path / "d.jsonl").write_text(json.dumps({**saved, **meta}) + "\n")
        return session_file.load(session.model, tmp_path / "d.jsonl")

    state = saved["meta"]["session"]
    loaded = changed(meta={"session": {**state, "version": 99}})
    assert "of version 99" in loaded.notice
    assert texts(loaded)[0] == "My dog is called Biscuit."
    assert loaded.turns == turns
    assert loaded.memory.turns == len(turns)
    assert "cannot be read" in changed(meta={"session": {**state, "gist": None}}).notice
    loaded = changed(turns=[{**saved["turns"][0], "text": "Other."}, *saved["turns"][1:]])
    assert "cannot be" not in loaded.notice
    assert texts(loaded)[0] == "My dog is called Biscuit."  # the gist was made anew, what was pinned stays
    assert loaded.memory.turns == len(turns)
    loaded = changed(meta={"session": {**state, "strategy": "shuffled"}})
    assert "'shuffled' is not one of" in loaded.notice
    assert loaded.turns == turns
    assert loaded.saved is None  # the file holds more than what was taken from it
    assert changed(meta={}).notice == ""
    others = [{"speaker": "ab"[i % 2], "text": f"Turn {i}"} for i in range(5)]
    loaded = changed(turns=others, meta={})
    assert loaded.notice == ""
    assert [turn.speaker for turn in loaded.turns] == ["model", "user", "model", "user", "model"]
    assert [loaded.take_back().text for _ in range(2)] == ["Turn 3", "Turn 1"]
    for nothing in (loaded.take_back, lambda: next(loaded.regenerate())):
        with pytest.raises(UserError, match="nothing said yet"):
            nothing()
    assert [turn.text for turn in loaded.turns] == ["Turn 0"]

    for content, message in (
        ((tmp_path / "c.jsonl").read_text()[:200], "half.jsonl:1: "),
        ("", "holds 0 conversations"),
        (json.dumps({**saved, "turns": saved["turns"][:1]}) + "\n", "nobody answered"),
        (json.dumps(saved) + "\n" + json.dumps({**saved, "id": "x"}) + "\n", "holds 2 conversations"),
    ):
        (tmp_path / "half.jsonl").write_text(content)
        with pytest.raises(UserError, match=message):
            session_file.load(session.model, tmp_path / "half.jsonl")
    with pytest.raises(UserError, match="no such file"):
        session_file.load(session.model, tmp_path / "none.jsonl")


def test_a_defect_saves_the_conversation_before_it_shows(session, tmp_path, monkeypatch):
    talk(session, 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(chat_module, "stream_reply", lambda *_: 1 / 0)
    lines = iter(["Hello"])
    with pytest.raises(ZeroDivisionError):
        Terminal(session, lambda _: next(lines), False).run("x", None)
    [rescued] = tmp_path.glob("chat-rescued-*.jsonl")
    assert len(load_dialogues(rescued)[0].turns) == 4


def test_a_chat_that_cannot_load_its_conversation_does_not_begin(run_folder, tmp_path):
    done = gistchat("chat", str(run_folder), "--load", "none.jsonl", cwd=tmp_path, stdin="Hello\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "none.jsonl: no such file" in done.stderr
