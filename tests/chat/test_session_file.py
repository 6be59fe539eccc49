"""Conversations on disk: saved, loaded back, taken from others, and rescued."""

import json
import threading
from pathlib import Path
from unittest import mock

import pytest
from conftest import gistchat, say, talk, texts

from gistchat.chat import session as chat_module
from gistchat.chat import session_file
from gistchat.chat.session import ChatSession
from gistchat.cli.chat_terminal import Terminal
from gistchat.dialogue.jsonl import load_dialogues
from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError
from gistchat.locks import locked
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


ABSURD = [0.5, -2, 10**30, True, "1", None, [], {}]  # where a whole number should be


def in_all_places(state):
    """Names of the numbers of a session, and what puts another one there."""
    yield "draws", lambda value: state | {"draws": value}
    yield "edited_up_to", lambda value: state | {"edited_up_to": value}
    yield "end", lambda value: state | {"gist": state["gist"] | {"end": value}}
    for place in ("turn", "sources"):
        for name in ("gist", "pinned", "versions"):
            yield place, lambda value, place=place, name=name: state | absurd_line(state, name, place, value)


def absurd_line(state, name, place, value):
    line = {"turn": 0, "speaker": "", "text": "x", "sources": [0]} | {place: [value] if place == "sources" else value}
    gist = state["gist"] | {"sentences": [line]}
    return {
        "gist": {"gist": gist},
        "pinned": {"pinned": [line]},
        "versions": {"versions": [{"gist": gist, "pinned": []}]},
    }[name]


def test_absurd_numbers_in_a_session_file_are_named_and_the_turns_go_on(session, tmp_path):
    talk(session, 20)
    path = tmp_path / "c.jsonl"
    session_file.save(session, path)
    saved = json.loads(path.read_text())
    tried = 0
    for name, changed in in_all_places(saved["meta"]["session"]):
        for value in ABSURD:
            path.write_text(json.dumps(saved | {"meta": {"session": changed(value)}}) + "\n")
            loaded = session_file.load(session.model, path)
            assert loaded.turns == session.turns
            assert f"{path}: its memory cannot be read ({name!r} must be a whole number from " in loaded.notice
            assert loaded.memory.turns == len(session.turns)
            tried += 1
    assert tried == 9 * len(ABSURD)
    for number in ("1e999", "NaN", "9" * 6000):
        text = json.dumps(saved).replace('"draws": 0', f'"draws": {number}')
        path.write_text(text + "\n")
        with pytest.raises(UserError, match=r"c\.jsonl:1: "):
            session_file.load(session.model, path)


def test_a_gist_of_other_turns_than_there_are_goes(session, tmp_path):
    talk(session, 20)
    path = tmp_path / "c.jsonl"
    session_file.save(session, path)
    saved = json.loads(path.read_text())
    for end in (39, 1000, 10**9):
        state = saved["meta"]["session"]
        versions = [*state["versions"][:2], {"gist": state["gist"] | {"end": end}, "pinned": []}]
        for changed in ({"gist": state["gist"] | {"end": end}}, {"versions": versions}):
            path.write_text(json.dumps(saved | {"meta": {"session": state | changed}}) + "\n")
            loaded = session_file.load(session.model, path)
            assert ("the gist covered turns that were changed since" in loaded.notice) == ("gist" in changed)
            assert loaded.memory.turns == 40
            assert all(gist.end <= 40 for gist in loaded.versions())
            for number in range(len(loaded.versions()), 0, -1):
                loaded.back_to(1)
                assert loaded.memory.turns == 40, number


@pytest.mark.parametrize("broken", ["to_dict", "next_gist_lines", "the memory"])
def test_a_rescue_writes_at_least_the_turns(session, tmp_path, monkeypatch, broken):
    talk(session, 2)
    if broken == "the memory":
        session.edited_up_to = 10**30  # which the writer of files does not take
    else:
        monkeypatch.setattr(session, broken, lambda: 1 / 0)
    session_file.rescue(session, tmp_path / "r.jsonl")
    assert list(load_dialogues(tmp_path / "r.jsonl")[0].turns) == session.turns


def test_a_save_never_replaces_what_another_chat_saved(session, tmp_path):
    talk(session, 1)
    path = tmp_path / "c.jsonl"
    session_file.save(session, path)
    one, two = (session_file.load(session.model, path) for _ in range(2))
    talk(one, 1)
    talk(two, 2)
    session_file.save(one, path)
    session_file.save(one, path)  # its own
    content = path.read_bytes()
    for other in (two, session):
        with pytest.raises(UserError, match=r"c\.jsonl was changed since .*; give another name"):
            session_file.save(other, path)
        assert path.read_bytes() == content
    session_file.save(two, tmp_path / "d.jsonl")
    with pytest.raises(UserError, match=r"c\.jsonl exists; give another name"):
        session_file.save(two, path)
    path.write_bytes(content + b"\n")  # by hand
    with pytest.raises(UserError, match="was changed"):
        session_file.save(one, path)
    path.unlink()
    session_file.save(one, path)  # nothing is lost
    assert len(load_dialogues(path)[0].turns) == 4


def test_the_same_file_by_another_name_is_the_conversations_own(session, tmp_path, monkeypatch):
    talk(session, 1)
    monkeypatch.chdir(tmp_path)
    session_file.save(session, Path("c.jsonl"))
    for name in ("./c.jsonl", tmp_path / "c.jsonl", "../" + tmp_path.name + "/c.jsonl"):
        session_file.save(session, Path(name))


def test_two_chats_that_save_at_once_leave_one_file_and_one_refusal(session, tmp_path):
    talk(session, 1)
    other = ChatSession(session.model)
    talk(other, 2)
    path = tmp_path / "c.jsonl"
    with (
        locked(path),
        pytest.raises(UserError, match="another process is writing"),
        mock.patch.object(session_file, "SECONDS", 0),
    ):
        session_file.save(other, path)
    start, outcomes, refusals = threading.Barrier(2), [], []

    def save(one):
        start.wait()
        try:
            session_file.save(one, path)
            outcomes.append(one)
        except UserError as error:
            refusals.append(str(error))

    threads = [threading.Thread(target=save, args=[one]) for one in (session, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner], [refusal] = outcomes, refusals
    assert "exists; give another name" in refusal
    assert list(load_dialogues(path)[0].turns) == winner.turns


@pytest.mark.parametrize("name", [".", "", "none/c.jsonl"])
def test_what_cannot_be_saved_leaves_nothing_behind(session, tmp_path, monkeypatch, name):
    talk(session, 1)
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    for write in (session_file.save, session_file.export_text):
        with pytest.raises(UserError, match=r"exists; give another name|no such folder"):
            write(session, Path(name))
    assert list(tmp_path.rglob("*")) == [tmp_path / "inside"]


@pytest.mark.parametrize("before", ["", "--load="])
def test_a_path_may_begin_with_the_home_folder(run_folder, tmp_path, monkeypatch, before):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(home))

    def chat(*options, stdin):
        return gistchat("chat", str(run_folder), "--max-reply-tokens", "4", *options, cwd=elsewhere, stdin=stdin)

    commands = "/save ~/c.jsonl\n/export ~/c.txt\n/load ~/c.jsonl\n/save ~nobody-of-this-name/c.jsonl\n/model ~/none\n"
    done = chat(stdin="Hello\n" + commands)
    assert "Traceback" not in done.stderr
    assert "~nobody-of-this-name: no such home folder" in done.stderr
    assert str(home / "none") in done.stderr
    assert "loaded" in done.stdout
    assert {path.name for path in home.iterdir() if path.name[0] != "."} == {"c.jsonl", "c.txt"}
    options = [f"{before}~/c.jsonl"] if before else ["--load", "~/c.jsonl"]
    assert "loaded" in chat(*options, stdin="/turns\n").stdout
    assert list(elsewhere.iterdir()) == []


def test_a_chat_that_cannot_load_its_conversation_does_not_begin(run_folder, tmp_path):
    done = gistchat("chat", str(run_folder), "--load", "none.jsonl", cwd=tmp_path, stdin="Hello\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "none.jsonl: no such file" in done.stderr
