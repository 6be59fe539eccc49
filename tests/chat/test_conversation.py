"""A conversation without an engine: it needs what counts tokens, hears whole lists, and becomes what is said anew."""

import time

import pytest

from gistchat.chat.conversation import Conversation
from gistchat.dialogue.turns import Turn
from gistchat.engines.engine import PromptMeter
from gistchat.errors import UserError
from gistchat.memory.factory import MemoryFactory
from gistchat.prompts.wording import render_line
from gistchat.recipe.load import override
from gistchat.recipe.schema import Recipe

SETTINGS = ("chat.strategy=memory", "context.budget=400", "chat.max_reply_tokens=50")


class Words(PromptMeter):
    """A token is a word; everything that is said costs three more."""

    limit = 1000

    def __init__(self):
        self.costs = self

    def turn_cost(self, turn):
        return len(turn.text.split()) + 3

    def line_cost(self, line):
        return len(render_line(line).split())

    def gist_cost(self):
        return 4

    def found_cost(self):
        return 2

    def spent(self, context):
        return context.tokens

    def count_tokens(self, context):
        return len(context.preamble.split()) + context.tokens + self.turn_cost(context.last)

    def count(self, texts):
        return [len(text.split()) for text in texts]

    def end_of(self, text, tokens):
        return " ".join(text.split()[-tokens:])


def conversation(*settings):
    meter, recipe = Words(), override(Recipe(), [*SETTINGS, *settings])
    return Conversation(meter, MemoryFactory.of(recipe.summary, recipe.context, meter), recipe)


def talk(count, first=0):
    return [
        Turn("user", f"I saw {i} boats near the old harbour of Oslo, and a dog called Rex{i} barked at them.")
        if i % 2 == 0
        else Turn("model", f"There are {i} lighthouses in Norway. Did the dog follow you to number {i}?")
        for i in range(first, first + count)
    ]


def test_it_hears_a_list_and_tells_what_a_model_is_to_see():
    one = conversation()
    one.hear([Turn("user", "My name is Jo."), Turn("model", "Hello Jo."), *talk(60)])
    context = one.ask(Turn("user", "What was the dog called that I saw with 10 boats?"))
    assert any("Rex10" in line.text for line in context.found)
    assert any("My name is Jo." in line.text for line in context.lines)
    assert 0 < context.tokens <= 400
    assert one.turns[-1].text.startswith("What was the dog")
    one.hear([Turn("model", "Rex10.")])
    assert one.memory.turns == len(one.turns) == 64


def test_a_preamble_and_a_longer_reply_take_room_of_what_is_seen():
    one = conversation("context.budget=900")
    one.hear(talk(120))
    usual = one.context_for([Turn("user", "And now?")])
    one.preamble = "Be kind. " * 150
    told = one.context_for([Turn("user", "And now?")])
    assert told.preamble == one.preamble
    assert one.meter.count_tokens(told) <= 950 < one.meter.count_tokens(usual) + 300
    one.reply_tokens = 500
    assert one.meter.count_tokens(one.context_for([Turn("user", "And now?")])) <= 500
    one.reply_tokens = 990
    with pytest.raises(UserError, match="no room"):
        one.ask(Turn("user", "And now?"))
    assert len(one.turns) == 120


def test_it_becomes_another_list_and_keeps_what_both_begin_with():
    one, turns = conversation(), talk(80)
    one.hear(turns)
    gist = one.memory.gist
    one.follow([*turns, *talk(2, 80)])
    assert one.turns == [*turns, *talk(2, 80)]
    assert one.memory.gist.end >= gist.end
    changed = [*turns[:40], Turn("user", "No, I saw a whale."), Turn("model", "A whale!")]
    one.follow(changed)
    assert one.turns == changed
    assert one.memory.turns == len(changed)
    assert 0 < one.memory.gist.end <= len(changed)
    shown = [line.text for version in one.versions() for line in version.sentences] + [
        line.text for line in one.next_gist_lines()
    ]
    assert not any(f"Rex{number}" in text for text in shown for number in range(40, 82))
    assert any("whale" in found.turn.text for found in one.search("whale"))
    assert not any(found.number >= len(changed) for found in one.search("Rex60 dog boats"))
    one.follow([])
    assert (one.turns, one.memory.turns) == ([], 0)


def test_it_goes_on_from_plain_values():
    one = conversation()
    one.hear(talk(40))
    one.pin("They met in Oslo.")
    other = conversation()
    other.restore(one.to_dict())
    assert other.to_dict() == one.to_dict()
    assert other.next_gist_lines() == one.next_gist_lines()
    values = one.to_dict()
    for broken in (
        values | {"version": 9},
        {**values, "turns": 3},
        {**values, "edited_up_to": -1},
        values | {"gist": 1},
    ):
        with pytest.raises(UserError, match="its memory"):
            conversation().restore(broken)


def test_a_long_list_is_heard_in_time_that_grows_with_it_alone():
    def seconds(count):
        one, turns = conversation(), talk(count)
        start = time.process_time()
        one.hear(turns)
        heard = time.process_time() - start
        one.follow(turns)
        assert time.process_time() - start - heard < 0.05 + heard / 10  # nothing is new
        return heard

    seconds(100)  # what is computed once
    few, many = seconds(500), seconds(2000)
    assert many < 8 * few
    assert many < 10
