"""What a chat was told in its first turns is answered a thousand turns later, by the packaged model."""

import random

from gistchat.chat.session import ChatSession
from gistchat.dialogue.jsonl import load_dialogues
from gistchat.dialogue.turns import Turn
from gistchat.examples.small_talk import SmallTalk
from gistchat.prepare.prepare import prepare
from gistchat.recipe.schema import DataConfig

# (told, asked, answered)
FACTS = [
    ("My sister Olga works as a nurse in the city hospital.", "What is my sister called?", "Olga"),
    ("I am allergic to peanuts, so I always check the menu.", "What am I allergic to?", "peanuts"),
    ("My old dog Biscuit is afraid of thunder.", "What is my dog called?", "Biscuit"),
    ("I spent my whole childhood in Lisbon before we moved away.", "Where did I spend my childhood?", "Lisbon"),
]


def test_facts_told_at_the_beginning_are_answered_after_a_thousand_turns(tmp_path):
    prepare(DataConfig(), tmp_path)
    talk = SmallTalk(load_dialogues(tmp_path / "test.jsonl"))
    pairs = talk.draw(500, random.Random(0), [answer for *_, answer in FACTS])
    session = ChatSession.open(overrides=["chat.strategy=memory", "chat.temperature=0", "chat.max_reply_tokens=16"])
    session.hear([turn for told, *_ in FACTS for turn in (Turn("user", told), Turn("model", "I see."))])
    session.hear([turn for pair in pairs for turn in pair])
    assert len(session.turns) == 1000 + 2 * len(FACTS)
    answered = [answer in session.say(asked) for _, asked, answer in FACTS]
    assert answered == [True] * len(FACTS)
