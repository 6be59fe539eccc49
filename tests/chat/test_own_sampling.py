"""A reply that is drawn as its caller wants, ended by anybody; and what the session knows of it afterwards."""

from dataclasses import replace

import pytest
from conftest import say

from gistchat.chat import session as chat_module
from gistchat.engines.sampling import Sampling
from gistchat.errors import UserError


def test_a_reply_is_drawn_as_its_caller_wants_and_the_next_as_the_recipe_does(session):
    longer = replace(session.sampling(), max_tokens=11, seed=5)
    "".join(session.reply("Hello there", longer))
    assert (session.cache.written, session.cache.ended) == (11, "length")
    first = "".join(session.regenerate(longer))  # the prompt is kept now, so it is read in the same way from here on
    assert "".join(session.regenerate(longer)) == first  # the same seed
    assert "".join(session.regenerate(replace(longer, seed=6))) != first
    say(session, "And now?")
    assert session.cache.written == session.recipe.chat.max_reply_tokens == 8
    assert session.cache.prompt == session.engine.count_tokens(session.context)


def test_the_prompt_leaves_room_for_as_many_tokens_as_the_caller_wants(session):
    for number in range(40):
        session.turns.append(session.turns[0] if session.turns else chat_module.Turn("user", "An old harbour. " * 9))
        session.turns.append(chat_module.Turn("model", f"It has {number} boats."))
    session.switch_strategy("full")
    many = session.engine.limit // 2
    "".join(session.reply("Hello there", Sampling(max_tokens=many, stop=(" ",))))
    assert session.engine.limit // 3 < session.cache.prompt <= session.engine.limit - many
    "".join(session.reply("Hello there", Sampling(max_tokens=1)))
    assert session.cache.prompt > session.engine.limit - many
    turns = list(session.turns)
    with pytest.raises(UserError, match="leaves no room for a prompt"):
        "".join(session.reply("Hello", Sampling(max_tokens=session.engine.limit)))
    assert session.turns == turns


def test_a_reply_that_is_cancelled_leaves_what_came_of_it(session):
    session.clock = lambda: "today"
    pieces = session.reply("Hello there", replace(session.sampling(), max_tokens=200))
    first = next(pieces)
    session.cache.cancel.set()
    text = first + "".join(pieces)
    assert session.cache.ended == "cancel"
    assert [turn.text for turn in session.turns] == ["Hello there", text.strip()]
    assert list(session.reply("And now?")) == []  # it stays cancelled
    assert "no answer came" in session.notice
    assert len(session.turns) == 2
    session.cache.cancel.clear()
    assert say(session, "And now?")
