"""The chat session and its terminal, on the tiny GPT-2."""

import itertools
import json
import re
from functools import partial
from math import nan

import pytest
from conftest import LONG, gistchat, make_dialogue, say, talk, texts

from gistchat.chat import session as chat_module
from gistchat.chat.describe import describe_gist
from gistchat.chat.session import ChatSession
from gistchat.cli.chat_terminal import Terminal
from gistchat.dialogue.jsonl import load_dialogues
from gistchat.dialogue.turns import Turn
from gistchat.engines.stopping import PartialReply
from gistchat.errors import UserError
from gistchat.examples.build import ExampleBuilder
from gistchat.examples.targets import Target
from gistchat.memory.summary_store import SummaryStore
from gistchat.models.base import model_limit
from gistchat.printable import printable


def test_replies_repeat_with_the_seed_and_differ_by_turn(session, run_folder):
    first = [say(session, "Hello there") for _ in range(3)]
    again = ChatSession.open(run_folder, ["chat.max_reply_tokens=8"], seed=3)
    assert first == [say(again, "Hello there") for _ in range(3)]
    assert len(set(first)) > 1


@pytest.mark.parametrize("strategy", ["last", "recent", "full", "summary", "hybrid", "rolling"])
def test_a_session_reads_the_prompts_that_evaluation_scores(run_folder, checkpoint, tmp_path, strategy):
    """The session's are made with llama.cpp's tokenizer."""
    session = ChatSession.open(run_folder, [f"chat.strategy={strategy}"])
    assert session.engine.name == "llamacpp"
    context = checkpoint.recipe.context
    store = SummaryStore(tmp_path, checkpoint.recipe.summary, context, checkpoint.format, "t")
    dialogues = [make_dialogue(i, turns=24) for i in range(3)]
    store.add(dialogues)
    builder = ExampleBuilder(checkpoint.format, context, store, model_limit(checkpoint.model.config))
    with_gist = 0
    for dialogue in dialogues:
        for turn in range(2, 24):
            example = builder.build(Target(dialogue, turn), strategy)
            with_gist += bool(example.context.lines)
            assert session.engine.format.encode(session.context_of(dialogue.turns[:turn])) == example.prompt
    assert (with_gist > 20) == (strategy in ("summary", "hybrid", "rolling"))


def test_gist_covers_exactly_what_left_the_verbatim_window(session):
    for i in range(8):
        session.turns += [Turn("user", f"My house number {i} has a garden."), Turn("model", f"Mine has {i} cats.")]
    say(session, "What now?")
    context = session.context
    assert context.boundary == context.turns[0].first > 0
    assert context.lines
    assert all(line.turn < context.boundary for line in context.lines)
    assert context.tokens <= session.recipe.context.budget
    shown = describe_gist(session)
    assert f"gist of turns 1 to {context.boundary}, by textrank:" in shown
    assert f"verbatim, from turn {context.boundary + 1}:" in shown
    assert f"(turn {context.lines[0].turn + 1})" in shown
    assert "What now?" in shown


def test_an_edited_gist_reaches_the_prompt_and_stays_while_turns_leave(session, prompts):
    for i in range(6):
        session.turns += [Turn("user", f"I saw {i} ships near the harbour."), Turn("model", f"Not {i + 1} boats?")]
    say(session, "Hm?")
    session.edit_gist("They\x1b keep a parrot named Olga.")
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
    with pytest.raises(UserError, match="lines by hand may have 35 tokens in all, these have 61: shorten them"):
        session.edit_gist("word " * 60)
    assert [line.text for line in session.next_gist_lines()] == ["They sing."]
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
    session.edit_turn(len(session.turns) - 1, long)
    assert list(session.regenerate())
    assert "only its end was read" in session.notice


def test_all_that_was_not_read_is_said(session):
    session.switch_strategy("rolling")
    session.pin("My dog is called Biscuit.")
    talk(session, 2)
    say(session, "word " * 3000 + "the very end")
    for part in ("only its end was read", "lines by hand that were not read: 1"):
        assert part in session.notice


def test_a_model_that_computes_no_numbers_is_said_and_the_chat_goes_on(run_folder):
    session = ChatSession.open(run_folder, ["chat.engine=torch", "chat.max_reply_tokens=8"], seed=3)
    say(session, "Hello")
    turns = list(session.turns)
    broken = session.engine.model.get_output_embeddings().register_forward_hook(lambda layer, inputs, out: out * nan)
    with pytest.raises(UserError, match="not a number"):
        say(session, "And now?")
    broken.remove()
    assert session.turns == turns
    say(session, "And now?")
    assert len(session.turns) == len(turns) + 2


def test_a_reply_stopped_early_is_kept_as_far_as_it_came(session):
    pieces = session.reply("Tell me everything")
    said = next(pieces)
    while not said.strip():
        said += next(pieces)
    pieces.close()
    assert [turn.speaker for turn in session.turns] == ["user", "model"]
    assert session.turns[1].text == said.strip()


def test_terminal_answers_line_by_line_and_obeys_commands(run_folder, tmp_path):
    lines = [
        "/gist",
        "hello <sp1> you",
        "",
        "/gist",
        "/gist edit She\x1b[2J sings.",
        "/nonsense\x1b[2J",
        "/gist \x1b[2J",
        f"/turns {'9' * 5000}",
        "/save a\0b",
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
    assert "gist set: She [2J sings." in out
    unknown = "unknown command /nonsense [2J; /help lists them; to say a line that begins with a slash, type "
    assert unknown + "//nonsense [2J" in out
    assert "\x1b" not in done.stdout + done.stderr
    assert "error: no file has such a name" in done.stderr
    assert "'99999999999999999999' is not a number of a turn or a line" in done.stderr
    assert "saved talk.jsonl" in out
    assert out[-1] == "nothing said yet"
    assert "error: . exists; give another name" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: nothing to save yet"
    saved = json.loads((tmp_path / "talk.jsonl").read_text())["turns"]
    assert saved[0]["text"] == "hello <sp1> you"
    assert len(saved) == 2  # the empty line was no turn
    assert "nothing in that turn" not in done.stderr


@pytest.mark.parametrize(
    ("line", "said"), [("//home/me/x is full", "/home/me/x is full"), ("//help", "/help"), ("///", "//")]
)
def test_a_line_that_begins_with_a_slash_can_be_said(run_folder, tmp_path, line, said):
    lines = "\n".join(["/home", line, "/turns", "/help", "/edit 1 //x", "/turns"])
    done = gistchat("chat", str(run_folder), "--seed", "1", "--max-reply-tokens", "4", cwd=tmp_path, stdin=lines)
    out = done.stdout.splitlines()
    assert out[0] == "unknown command /home; /help lists them; to say a line that begins with a slash, type //home"
    assert f"1. you> {said}" in out
    assert "1. you> //x" in out  # in a text, slashes are slashes
    assert any(re.fullmatch(r"//TEXT +say a line that begins with a slash: .*", shown) for shown in out)


UNSEEN = ["\u200b", "\ufeff", "\u3164\u115f", "\u2800", "\u00ad\u200e\u2069", "\x07", "\ufe0f"]


@pytest.mark.parametrize("text", [*UNSEEN, "", "  "])
def test_text_that_shows_nothing_is_empty_wherever_it_is_said(session, text):
    talk(session, 1)
    before = session.to_dict()
    for use, message in {
        session.say: "nothing in that turn that can be read",
        session.pin: "nothing to pin",
        session.edit_gist: "an empty gist says nothing",
        partial(session.edit_turn, 1): "an empty turn says nothing",
    }.items():
        with pytest.raises(UserError, match=message):
            use(text)
    assert session.to_dict() == before


@pytest.mark.parametrize("reply", ["\u200b", "\u2060\u00ad", "\u3164"])
def test_a_reply_that_shows_nothing_is_no_answer(session, monkeypatch, reply):
    ids = session.engine.format.encode_text(reply)
    assert session.engine.format.decode_reply(ids) == ""
    grown = PartialReply(session.engine.format, session.sampling())
    assert "".join(map(grown.add, ids)) == grown.text == ""
    monkeypatch.setattr(chat_module, "stream_reply", lambda *values: iter([reply]))
    assert "".join(session.reply("Hello")) == reply
    assert session.turns == []
    assert session.notice.startswith("no answer came")


# ---- a memory that can be seen and corrected


def test_what_is_pinned_stays_in_the_prompt_for_ever(run_folder):
    session = ChatSession.open(run_folder, ["chat.max_reply_tokens=8", "context.budget=150"], seed=3)
    session.pin("My dog is called Biscuit.")
    talk(session, 60)
    first = say(session, "Hm?")
    assert first
    assert texts(session)[0] == "My dog is called Biscuit."
    assert session.context.lines[0].text == "My dog is called Biscuit."
    line = session.context.lines[1].text
    assert line in texts(session)
    assert f"  2. User: {line}" in describe_gist(session) or f"  2. You: {line}" in describe_gist(session)
    assert session.pin_line(2) == line
    talk(session, 60)
    assert texts(session)[:2] == ["My dog is called Biscuit.", line]
    assert session.unpin(1) == "My dog is called Biscuit."
    assert texts(session)[0] == line
    for wrong in (lambda: session.pin_line(99), lambda: session.unpin(5), lambda: session.pin(" ")):
        with pytest.raises(UserError):
            wrong()


def test_going_back_to_an_earlier_gist_undoes_an_edit(session):
    talk(session, 12)
    gist, window = session.memory.gist, list(session.memory.window)
    session.edit_gist("They sing.")
    assert texts(session) == ["They sing."]
    assert session.versions()[0].sentences == gist.sentences
    session.back_to(1)
    assert session.memory.gist == gist
    assert (session.memory.pinned, list(session.memory.window)) == ((), window)
    with pytest.raises(UserError, match="no earlier gist 99"):
        session.back_to(99)


def test_undo_takes_an_exchange_back_and_regenerate_draws_anew(session):
    with pytest.raises(UserError, match="nothing said yet"):
        session.take_back()
    with pytest.raises(UserError, match="nothing said yet"):
        next(session.regenerate())
    first = say(session, "Hello there")
    again = "".join(session.regenerate())
    assert again != first
    assert [turn.text for turn in session.turns] == ["Hello there", again.strip()]
    assert session.memory.turns <= 2
    assert session.take_back() == Turn("user", "Hello there")
    assert session.turns == []
    assert session.memory.turns == 0


def test_a_failed_regeneration_leaves_the_answer_of_before(session, monkeypatch):
    say(session, "Hello there")
    before = list(session.turns)
    monkeypatch.setattr(chat_module, "stream_reply", lambda *_: iter([" "]))
    "".join(session.regenerate())
    assert session.turns == before
    assert "no answer came" in session.notice

    def broken(*_):
        raise UserError("the model's output is not a number")
        yield

    monkeypatch.setattr(chat_module, "stream_reply", broken)
    for attempt in (session.regenerate, lambda: session.reply("And now?")):
        with pytest.raises(UserError, match="not a number"):
            "".join(attempt())
        assert session.turns == before


def test_a_changed_turn_takes_the_gist_that_covers_it_along(session):
    talk(session, 20)
    end = session.memory.gist.end
    assert end > 4
    session.edit_turn(len(session.turns), "I saw whales.")
    assert session.memory.gist.end == end  # the gist is of turns before it
    session.edit_turn(3, "My parrot speaks French.")
    assert session.memory.gist.end >= end - 4
    assert "the gist covered what changed" in session.notice
    assert session.memory.turns == len(session.turns)  # all were heard again, and summarised as they came
    assert session.memory._total <= session.memory.room.budget
    assert say(session, "Hm?")
    assert session.notice == ""
    with pytest.raises(UserError, match="no turn 0"):
        session.edit_turn(0, "x")
    with pytest.raises(UserError, match="empty turn"):
        session.edit_turn(1, "\x1b")


def test_strategy_and_model_can_change_in_the_middle(session, run_folder):
    session.pin("My dog is called Biscuit.")
    talk(session, 10)
    session.switch_strategy("last")
    say(session, "Hm?")
    assert session.context.strategy == "last"
    with pytest.raises(UserError, match="'nonsense' is not one of"):
        session.switch_strategy("nonsense")
    turns = list(session.turns)
    with pytest.raises(UserError, match="no such folder"):
        session.switch_model("nowhere")
    session.switch_model(run_folder)
    session.switch_strategy("rolling")
    assert session.turns == turns
    assert texts(session)[0] == "My dog is called Biscuit."
    assert session.memory.turns == len(turns)
    assert say(session, "Hm?")


def test_the_prompt_goes_on_from_the_last_one_between_summaries(run_folder):
    """The engine reads what is new: a reply of before, the new turn, and control tokens; all of it after a refresh."""
    session = ChatSession.open(run_folder, ["chat.max_reply_tokens=8", "context.budget=64"], seed=3)
    session.pin("My dog is called Biscuit.")
    read, ends, prompts = [], [], []
    for i in range(30):
        ends.append(session.memory.gist.end)
        session.say(f"I saw {i} ships.")
        prompts.append(session.engine.format.encode(session.context).ids)
        read.append(session.cache.prefilled)
    refreshed = [later != earlier for earlier, later in itertools.pairwise(ends)]
    assert 0 < sum(refreshed) < 15
    for before, prompt, new, fresh in zip(prompts, prompts[1:], read[1:], refreshed, strict=False):
        if not fresh:
            assert prompt[: len(before)] == before
            assert len(["I", "saw", "10", "ships", "."]) <= new <= len(prompt) - len(before) < len(prompt) / 2
    assert max(new for new, fresh in zip(read[1:], refreshed, strict=True) if fresh) > 19


def test_a_long_chat_keeps_its_prompt_and_its_work_flat(run_folder, tmp_path):
    """Eight hundred turns through the terminal, and what was pinned first is still read at the end."""
    lines = ["/pin My dog is called Biscuit."]
    lines += [f"{LONG} {i}" for i in range(400)]
    lines += ["/gist", "/turns 1", "/save end.jsonl"]
    done = gistchat(
        "chat", str(run_folder), "--seed", "1", "--max-reply-tokens", "2", cwd=tmp_path, stdin="\n".join(lines) + "\n"
    )
    assert done.returncode == 0, done.stderr
    assert "My dog is called Biscuit.  (by hand)  (pinned)" in done.stdout
    [dialogue] = load_dialogues(tmp_path / "end.jsonl")
    answered = 800 - 2 * done.stderr.count("no answer came")
    assert len(dialogue.turns) == answered
    assert answered > 500
    used = [line for line in done.stdout.splitlines() if "tokens used" in line]
    assert int(used[0].split()[0]) <= 48


def test_a_turn_of_control_characters_only_is_refused(session):
    for text in ("\x1b", "\x07\x00", ""):
        with pytest.raises(UserError, match="nothing in that turn"):
            say(session, text)
    assert session.turns == []


def test_a_gist_edited_and_taken_back_no_longer_hides_turns(session):
    session.switch_strategy("hybrid")
    talk(session, 8)
    say(session, "Hm?")
    lines = session._summary(session.turns, 10)
    session.edit_gist("They sing.")
    assert session._summary(session.turns, 10)[0].text == "They sing."
    session.back_to(1)
    assert session._summary(session.turns, 10) == lines


def test_what_the_terminal_shows_keeps_joiners_and_drops_what_drives_it():
    assert printable("👩\u200d🚀 می\u200cروم") == "👩\u200d🚀 می\u200cروم"
    assert printable("a\x1b[2Jb\u202ec\u2028d") == "a [2Jb c d"


@pytest.mark.parametrize(
    "text",
    [
        "git add .",
        "```python\ndef f(x):\n    return {'a': ''}\n\n\nprint( f(1) ) ;\n```",
        "    indented = ``so``\n\tls  -la ;",
        "你好，今天（有空）吗？",
        "Tu dis « ça » ? ‘maybe’ or 'no' ?",
    ],
)
def test_what_is_said_and_answered_is_kept_as_it_is(session, monkeypatch, text):
    monkeypatch.setattr(chat_module, "stream_reply", lambda *_: iter([text[:7], text[7:]]))
    lines = iter([text])
    Terminal(session, lambda _: next(lines, None), True).run("x", None)
    assert [turn.text for turn in session.turns] == [text, text]
    session.edit_turn(1, text + " ?")
    assert session.turns[0].text == text + " ?"


def test_a_reply_is_shown_with_its_lines_or_on_one_for_a_program(session, monkeypatch, capsys):
    monkeypatch.setattr(chat_module, "stream_reply", lambda *_: iter(["a:\n```\n", "\tx\x1b[2J\n```"]))
    for interactive, shown in ((True, "bot> a:\n```\n\tx [2J\n```\n"), (False, "a: ```  x [2J ```\n")):
        lines = iter(["hi"])
        Terminal(session, lambda _, lines=lines: next(lines, None), interactive).run("x", None)
        assert shown in capsys.readouterr().out


def test_lines_by_hand_stay_one_line_of_the_gist(session):
    session.edit_gist("He has\r\na dog.")
    session.pin("They sail\n  on Sundays.\x1b")
    assert texts(session) == ["He has a dog.", "They sail on Sundays."]
