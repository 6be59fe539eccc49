"""The chat session and its terminal, on the tiny GPT-2."""

import json

import pytest
from conftest import gistchat

from gistchat import chat as chat_module
from gistchat import session_file
from gistchat.chat import ChatSession
from gistchat.dialogue import Turn, load_dialogues
from gistchat.errors import UserError
from gistchat.prepare import DataConfig, prepare
from gistchat.terminal import describe_gist


@pytest.fixture
def session(run_folder):
    return ChatSession.open(run_folder, ["chat.max_reply_tokens=8"], seed=3)


def say(session, text):
    return "".join(session.reply(text))


def test_replies_repeat_with_the_seed_and_differ_by_turn(session, run_folder):
    first = [say(session, "Hello there") for _ in range(3)]
    again = ChatSession.open(run_folder, ["chat.max_reply_tokens=8"], seed=3)
    assert first == [say(again, "Hello there") for _ in range(3)]
    assert len(set(first)) > 1


def test_gist_covers_exactly_what_left_the_verbatim_window(session):
    for i in range(8):
        session.turns += [Turn("user", f"My house number {i} has a garden."), Turn("model", f"Mine has {i} cats.")]
    say(session, "What now?")
    context = session.context
    assert context.boundary == context.turns[0].first > 0
    assert context.lines
    assert all(line.turn < context.boundary for line in context.lines)
    assert context.tokens <= session.checkpoint.recipe.context.budget
    shown = describe_gist(session)
    assert f"gist of turns 1 to {context.boundary}, by textrank:" in shown
    assert f"verbatim, from turn {context.boundary + 1}:" in shown
    assert f"(turn {context.lines[0].turn + 1})" in shown
    assert "What now?" in shown


def test_an_edited_gist_reaches_the_prompt_and_stays_while_turns_leave(session, monkeypatch):
    for i in range(6):
        session.turns += [Turn("user", f"I saw {i} ships near the harbour."), Turn("model", f"Not {i + 1} boats?")]
    say(session, "Hm?")
    session.edit_gist("They\x1b keep a parrot named Olga.")
    prompts = []
    stream = chat_module.stream_reply

    def recorded(engine, prompt, sampling):
        prompts.append(engine.format.tokenizer.decode(prompt))
        return stream(engine, prompt, sampling)

    monkeypatch.setattr(chat_module, "stream_reply", recorded)
    for _ in range(4):
        say(session, "The lighthouse was painted yellow again by the neighbours.")
        assert "<sum>They keep a parrot named Olga." in prompts[-1]
    assert session.context.boundary > session.edited_up_to
    session.reset()
    assert (session.turns, session.memory.current().sentences, session.context) == ([], (), None)


def test_an_edited_gist_is_read_at_once_or_said_not_to_be(session, run_folder):
    say(session, "Hello")
    session.edit_gist("They sing.")
    say(session, "Hello")  # everything fits verbatim, and still the gist is shown
    assert [line.text for line in session.context.lines] == ["They sing."]
    assert session.notice == ""
    session.edit_gist("word " * 60)
    say(session, "Hello")
    assert "too long" in session.notice
    with pytest.raises(UserError, match="an empty gist"):
        session.edit_gist(" ")
    other = ChatSession.open(run_folder, ["chat.max_reply_tokens=8", "chat.strategy=recent"], seed=3)
    other.edit_gist("They sing.")
    say(other, "Hello")
    assert "'recent' has no gist" in other.notice


def test_a_turn_longer_than_the_model_is_cut_at_its_start_and_said(session):
    long = "word " * 3000 + "the very end"
    say(session, long)
    assert "only its end was read" in session.notice
    assert session.turns[0].text.endswith("the very end")
    say(session, "short")
    assert session.notice == ""


def test_a_reply_stopped_early_is_kept_as_far_as_it_came(session):
    pieces = session.reply("Tell me everything")
    said = next(pieces)
    while not said.strip():
        said += next(pieces)
    pieces.close()
    assert [turn.speaker for turn in session.turns] == ["user", "model"]
    assert session.turns[1].text == said.strip()


def test_a_saved_chat_is_a_dialogue_that_prepare_reads(session, tmp_path):
    with pytest.raises(UserError, match="nothing to save yet"):
        session_file.save(session, tmp_path / "c.jsonl")
    while not session.turns:
        say(session, "Hello 👋")
    session_file.save(session, tmp_path / "c.jsonl")
    session_file.save(session, tmp_path / "c.jsonl")  # its own file, again
    session.saved = None
    with pytest.raises(UserError, match="exists; give another name"):
        session_file.save(session, tmp_path / "c.jsonl")
    report, _ = prepare(DataConfig(corpus="jsonl", source=str(tmp_path / "c.jsonl")), tmp_path / "out")
    assert report["kept"] == 1
    [dialogue] = load_dialogues(tmp_path / "out" / "train.jsonl")
    assert dialogue.turns[0] == Turn("user", "Hello 👋")


def test_terminal_answers_line_by_line_and_obeys_commands(run_folder, tmp_path):
    lines = [
        "/gist",
        "hello <sp1> you",
        "",
        "/gist",
        "/gist edit She sings.",
        "/nonsense",
        "/help",
        "/save talk.jsonl",
        "/save .",
        "/reset",
        "/gist",
        "/save",
        "Enough!",
        "never read",
    ]
    done = gistchat(
        "chat", str(run_folder), "--seed", "1", "--max-reply-tokens", "6", "--end-command", "Enough!",
        cwd=tmp_path, stdin="\n".join(lines) + "\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = done.stdout.splitlines()
    assert out[0] == "nothing said yet"
    assert "  User: hello <sp1> you" in out
    assert "gist set: She sings." in out
    assert "unknown command /nonsense; /help lists them" in out
    assert "saved talk.jsonl" in out
    assert out[-1] == "nothing said yet"
    assert "error: . exists; give another name" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: nothing to save yet"
    assert json.loads((tmp_path / "talk.jsonl").read_text())["turns"][0]["text"] == "hello <sp1> you"
