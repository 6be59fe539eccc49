"""A receipt tells line by line what the model read, from where, and what it cost."""

import json

import pytest
from conftest import LONG, say, talk

from gistchat.chat.receipt import receipt
from gistchat.chat.session import ChatSession
from gistchat.dialogue.turns import Turn
from gistchat.prompts.wording import PREAMBLE

TOLD = ("I have a dog called Biscuit.", "I'm vegetarian.", "Olga sails to Norway every summer.")


def assert_holds(session, sent):
    """The prompt holds each line, in order, and what lies between them is what headings and labels say."""
    place = 0
    for line in sent["lines"]:
        found = sent["prompt"].find(line["text"], place)
        assert found >= 0, line
        assert len(sent["prompt"][place:found]) < 80, line
        place = found + len(line["text"])
    assert len(sent["prompt"][place:]) < 80
    assert sent["prompt"] == session.engine.prompt_text(session.context)


def assert_adds_up(session, sent):
    costs, context = session.engine.costs, session.context
    assert sent["usage"]["prompt"] == session.engine.count_tokens(context) == session.cache.prompt
    assert sum(line["tokens"] for line in sent["lines"]) + sent["around"] == sent["usage"]["prompt"]
    inner = [line["tokens"] for line in sent["lines"] if line["part"] not in ("system", "last")]
    headings = bool(context.lines) * costs.gist_cost() + bool(context.found) * costs.found_cost()
    assert sum(inner) + headings == sent["tokens"] <= sent["budget"]
    assert headings <= sent["around"] <= headings + 20  # the template's own: who speaks, where messages end


@pytest.mark.parametrize("strategy", ["last", "recent", "full", "summary", "hybrid", "rolling", "retrieval", "memory"])
def test_every_line_of_the_prompt_is_there_with_its_tokens(session, strategy):
    session.switch_strategy(strategy)
    session.hear([turn for text in TOLD for turn in (Turn("user", text), Turn("model", "I see, how nice."))])
    talk(session, 9)
    if session.strategy.has_gist:
        session.pin("They met in Oslo.")
    say(session, "What is my dog called?")
    sent = receipt(session)
    assert_holds(session, sent)
    assert_adds_up(session, sent)
    assert json.loads(json.dumps(sent)) == sent
    parts = [line["part"] for line in sent["lines"]]
    assert parts[-1] == "last"
    assert ("pinned" in parts) == session.strategy.has_gist
    assert ("found" in parts) == session.strategy.searches
    assert ("fact" in parts) == session.strategy.keeps_facts
    for line in sent["lines"]:
        assert line["why"]
        if line["part"] in ("found", "verbatim", "last", "fact"):
            texts = [session.turns[number - 1].text for number in line["turns"]]
            assert any(line["text"].removesuffix("…") in text for text in ["\n".join(texts), *texts])
    verbatim = {number for line in sent["lines"] if line["part"] == "verbatim" for number in line["turns"]}
    earlier = len(session.turns) - 2
    assert verbatim == set(range(earlier - len(verbatim) + 1, earlier + 1))
    found = sum(line["part"] == "found" for line in sent["lines"])
    assert 0 <= earlier - len(verbatim) - sent["not_sent"]["turns"] <= found
    assert bool(sent["not_sent"]["reason"]) == (strategy != "full")


def test_a_receipt_says_why(session):
    session.switch_strategy("memory")
    session.hear([turn for text in TOLD for turn in (Turn("user", text), Turn("model", "I see, how nice."))])
    talk(session, 9)
    session.switch_budget(300)
    session.pin("They met in Oslo.")
    talk(session, 20)
    say(session, "Where does Olga sail?")
    lines = {line["part"]: line for line in reversed(receipt(session)["lines"])}
    assert (lines["pinned"]["why"], lines["pinned"]["turns"]) == ("pinned by hand", [])
    assert lines["fact"]["why"].startswith("a standing fact (")
    found = next(line for line in receipt(session)["lines"] if line["text"] == TOLD[2])
    assert (found["why"], found["turns"], found["speaker"]) == ("shares olga, sail", [5], "user")
    assert lines["last"]["turns"] == [len(session.turns) - 1]
    assert lines["gist"]["why"] == f"in the gist of turns 1 to {session.gist_end}, made by textrank"


def test_turns_of_one_speaker_in_a_row_are_one_line_with_the_numbers_of_all(session):
    session.hear([Turn("user", "One."), Turn("user", "Two."), Turn("model", "Three."), Turn("user", "Four.")])
    say(session, "Five.")
    lines = receipt(session)["lines"]
    assert [(line["speaker"], line["text"], line["turns"]) for line in lines] == [
        ("user", "One.\nTwo.", [1, 2]),
        ("model", "Three.", [3]),
        ("user", "Four.\nFive.", [4, 5]),
    ]


def test_the_packaged_model_is_told_something_first():
    session = ChatSession.open(overrides=["chat.max_reply_tokens=4", "chat.temperature=0"], seed=1)
    session.say("Hello there, I am Jo.")
    session.say("And what is my name?")
    sent = receipt(session)
    assert_holds(session, sent)
    assert_adds_up(session, sent)
    assert [line["part"] for line in sent["lines"]] == ["system", "verbatim", "verbatim", "last"]
    assert sent["lines"][0]["text"] == session.engine.told_first(session.context) == PREAMBLE
    usage = sent["usage"]
    assert 0 < usage["cached"] < usage["prompt"]
    assert 0 < usage["written"] <= 4
    assert sent["ended"] in ("length", "end")
    session.preamble = "You are a pirate."
    session.say("Well?")
    assert receipt(session)["lines"][0]["text"] == "You are a pirate."


def test_a_receipt_has_the_seconds_of_each_part_of_this_reply_alone(session, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("gistchat.chat.session.perf_counter", lambda: next(clock))
    say(session, "Hello there")
    assert receipt(session)["seconds"] == {"context": 2, "reply": 1}
    session.remember()
    assert receipt(session)["seconds"] == {"context": 2, "reply": 1, "memory": 1}
    say(session, LONG)
    assert receipt(session)["seconds"] == {"context": 2, "reply": 1}


def test_a_reply_that_was_cancelled_has_a_receipt(session):
    pieces = session.reply("Hello there")
    next(pieces)
    session.cache.cancel.set()
    list(pieces)
    assert receipt(session)["ended"] == "cancel"
