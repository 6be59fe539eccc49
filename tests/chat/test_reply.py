"""`gistchat reply`: a file of dialogues in, a file of replies out."""

import dataclasses
import json

import orjson
import pytest
from conftest import gistchat, make_dialogue, torchrun

from gistchat.chat import batch_replies as reply_module
from gistchat.chat import session_file
from gistchat.chat.batch_replies import reply_to_file
from gistchat.chat.session import ChatSession
from gistchat.dialogue.turns import Dialogue, Turn
from gistchat.errors import UserError


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    dialogues = [make_dialogue(i, turns=4 + i % 5) for i in range(9)]
    path.write_bytes(b"".join(dialogue.to_line() for dialogue in dialogues))
    return path


def open_session(run_folder, *settings):
    return ChatSession.open(run_folder, ["chat.max_reply_tokens=6", *settings], seed=2)


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_line_answers_its_dialogue_as_the_chat_would(run_folder, source, tmp_path):
    session = open_session(run_folder, "chat.temperature=0", "context.budget=40")
    assert reply_to_file(session, source, tmp_path / "out.jsonl") == 9
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == [make_dialogue(i).id for i in range(9)]
    for i in (3, 8):
        chat = open_session(run_folder, "chat.temperature=0", "context.budget=40")
        turns = make_dialogue(i, turns=4 + i % 5).turns
        person = turns[-1].speaker
        chat.hear([turn._replace(speaker="user" if turn.speaker == person else "model") for turn in turns[:-1]])
        assert rows[i]["reply"] == chat.say(turns[-1].text)
        assert rows[i]["prompt_tokens"] > 0
    assert not list(tmp_path.glob("*part*"))


@pytest.mark.parametrize("unseen", ["\u200b", "\u3164", "\ufeff\u00ad", "\u00e2\u0080\u008b", "\u00ef\u00b8\u008f"])
def test_a_turn_that_shows_nothing_is_named(run_folder, tmp_path, unseen):
    dialogue = make_dialogue(0, turns=4)
    turns = [*dialogue.turns[:3], dialogue.turns[3]._replace(text=unseen)]
    (tmp_path / "in.jsonl").write_bytes(dataclasses.replace(dialogue, turns=tuple(turns)).to_line())
    with pytest.raises(UserError, match=r"in\.jsonl: turn 4 of dialogue 'd0' has no text"):
        reply_to_file(open_session(run_folder), tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    with pytest.raises(UserError, match=r"in\.jsonl: turn 4 has no text"):
        session_file.load(open_session(run_folder).model, tmp_path / "in.jsonl")


@pytest.mark.parametrize("typed", ["Ren\u00c3\u00a9e", " Rene\u0301e\x1b", "Ren\u00e9e\u2028"])
def test_names_are_repaired_as_in_training(run_folder, tmp_path, typed):
    session = open_session(run_folder)
    said = [
        Turn(typed, "hi"),
        Turn("Ben", "hello"),
        Turn("Ann\nLee", "hey"),
        Turn("Ren\u00e9e", "yes?"),
        Turn("Ben", "no"),
    ]
    session.context_of([*said, Turn("Ann\nLee", "git add .")])
    names = [turn.speaker for turn in session.turns]
    assert names == ["Ren\u00e9e", "Ben", "Ann Lee", "Ren\u00e9e", "Ben", "Ann Lee"]
    assert session.answerer == "Ben"
    (tmp_path / "in.jsonl").write_bytes(Dialogue("d", tuple(said)).to_line())
    loaded = session_file.load(session.model, tmp_path / "in.jsonl")
    assert [turn.speaker for turn in loaded.turns] == ["Ren\u00e9e", "model", "Ann Lee", "Ren\u00e9e", "model"]


def test_a_stopped_run_goes_on_to_the_same_replies(run_folder, source, tmp_path, monkeypatch):
    monkeypatch.setattr(reply_module, "AT_ONCE", 2)
    reply_to_file(open_session(run_folder), source, tmp_path / "whole.jsonl")

    answered = []

    def stopping(session, dialogues):
        for rows in answer(session, dialogues):
            answered.append(len(rows))
            yield rows
            if len(answered) == 2:
                raise KeyboardInterrupt

    answer = reply_module._answer
    monkeypatch.setattr(reply_module, "_answer", stopping)
    with pytest.raises(KeyboardInterrupt):
        reply_to_file(open_session(run_folder), source, tmp_path / "out.jsonl")
    [part] = tmp_path.glob("out.jsonl.part-*")
    with part.open("ab") as file:
        file.write(b'{"number": 4, "id"')  # killed in the middle of a line
    reply_to_file(open_session(run_folder), source, tmp_path / "out.jsonl")
    assert answered == [2, 2, 2, 2, 1]
    assert rows_of(tmp_path / "out.jsonl") == rows_of(tmp_path / "whole.jsonl")
    assert not list(tmp_path.glob("*part*"))


def test_two_processes_share_the_work(run_folder, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"".join(make_dialogue(i, turns=4 + i % 3).to_line() for i in range(20)))
    arguments = [run_folder, "--max-reply-tokens", "6", "--seed", "2"]
    done = torchrun(tmp_path, "reply", source, tmp_path / "two[1].jsonl", *arguments)
    assert done.returncode == 0, done.stderr
    reply_to_file(open_session(run_folder), source, tmp_path / "one.jsonl")
    assert rows_of(tmp_path / "two[1].jsonl") == rows_of(tmp_path / "one.jsonl")


def test_bad_input_is_one_clear_line(run_folder, source, tmp_path):
    (tmp_path / "bad.jsonl").write_bytes(source.read_bytes() + b"{half\n")
    done = gistchat("reply", str(tmp_path / "bad.jsonl"), str(tmp_path / "o.jsonl"), str(run_folder), cwd=tmp_path)
    assert done.returncode == 1
    assert "bad.jsonl:10: " in done.stderr
    assert not list(tmp_path.glob("o.jsonl*"))
    (tmp_path / "twice.jsonl").write_bytes(source.read_bytes() + source.read_bytes().splitlines(keepends=True)[0])
    session = open_session(run_folder)
    for name, message in (("twice.jsonl", "is there twice"), ("none.jsonl", "no such file")):
        with pytest.raises(UserError, match=message):
            reply_to_file(session, tmp_path / name, tmp_path / "o.jsonl")
    (tmp_path / "o.jsonl").write_text("mine")
    with pytest.raises(UserError, match="exists"):
        reply_to_file(session, source, tmp_path / "o.jsonl")
    assert (tmp_path / "o.jsonl").read_text() == "mine"
    reply_to_file(session, source, tmp_path / "o.jsonl", force=True)
    assert len(orjson.loads((tmp_path / "o.jsonl").read_bytes().splitlines()[0])["id"]) > 0
