"""Planted facts among real small talk: the wording of facts and questions, what the small talk is, who asks what."""

import random
import runpy
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import make_dialogue

from gistchat.dialogue.turns import Dialogue, Turn
from gistchat.errors import UserError
from gistchat.evaluate.planted_questions import ANSWERS, DISTANCES, FACTS, facts, plant, probe_targets
from gistchat.examples.fact_items import wording
from gistchat.examples.small_talk import SmallTalk, holds
from gistchat.memory.turn_index import terms

DIALOGUES = [make_dialogue(i, turns=14 + i % 3) for i in range(100)]
TOOL = Path(__file__).parents[2] / "tools" / "planted_recall.py"


def told(fact) -> list[str]:
    """The fact with each of its words, as an index reads it: who speaks, and what."""
    return [f"user {fact.told.format(word)}" for word in fact.words]


@pytest.mark.parametrize("fact", facts(), ids=lambda fact: fact.told)
def test_one_question_shares_a_content_word_with_the_telling_and_the_other_none(fact):
    for text in told(fact):
        assert set(terms(fact.asked)) & set(terms(text))
        assert not set(terms(fact.reworded)) & set(terms(text))
    assert terms(fact.reworded)  # or a search for it would look for nothing


def test_every_word_belongs_to_one_fact_and_shows_that_it_was_remembered():
    assert len(facts()) >= 24
    words = [word for fact in facts() for word in fact.words]
    assert len({word.lower() for word in words}) == len(words) >= 5 * len(facts())
    said = [text for fact in facts() for text in (fact.told.format("..."), fact.asked, fact.reworded)]
    for word in words:
        assert word.isalnum()
        assert not any(holds(text, word) for text in (*said, *ANSWERS))
    for fact in facts():
        assert all(holds(text, word) for text, word in zip(told(fact), fact.words, strict=True))


def test_nothing_that_is_tested_is_learned():
    """Neither a telling, nor a question, nor a word; nor an answer that holds one."""

    def plain(text: str) -> str:
        return text.lower().replace("color", "colour")

    learned = wording().facts
    assert len(learned) >= 40
    tellings = {plain(text) for fact in learned for text in fact.told}
    questions = {plain(text) for fact in learned for text in fact.asked}
    words = {word.lower() for fact in learned for word in fact.words}
    assert tellings.isdisjoint(plain(fact.told) for fact in facts())
    assert questions.isdisjoint(plain(text) for fact in facts() for text in (fact.asked, fact.reworded))
    assert words.isdisjoint(word.lower() for fact in facts() for word in fact.words)
    fixed = [text.format("...") for fact in learned for text in (*fact.told, *fact.asked, *fact.answered)]
    fixed += [*wording().unknown, *wording().acknowledged]
    assert not [(text, word) for text in fixed for fact in facts() for word in fact.words if holds(text, word)]


def test_small_talk_is_whole_dialogues_turn_after_turn():
    real = {turn.text: (dialogue.id, i) for dialogue in DIALOGUES for i, turn in enumerate(dialogue.turns)}
    planted = plant(random.Random(1), 200, SmallTalk(DIALOGUES))
    assert len(planted.turns) == 2 * FACTS + 200
    assert [turn.speaker for turn in planted.turns] == ["user", "model"] * (FACTS + 100)
    places = [real[turn.text] for turn in planted.turns[2 * FACTS :]]
    breaks = [after for before, after in pairwise(places) if after != (before[0], before[1] + 1)]
    assert all(place == 0 for _, place in [places[0], *breaks])  # a dialogue begins where another ended
    assert len(breaks) == len({name for name, _ in places}) - 1 >= 12
    other = plant(random.Random(2), 200, SmallTalk(DIALOGUES))
    assert real[other.turns[2 * FACTS].text] != places[0]  # another order for each


def test_what_one_speaker_says_in_a_row_is_one_turn_and_a_last_odd_one_is_left_out():
    turns = [Turn("a", "One."), Turn("a", "Two."), Turn("b", "Three."), Turn("c", "Four.")]
    talk = SmallTalk([Dialogue("d", tuple(turns)), Dialogue("e", (Turn("a", "Alone."),))])
    assert talk.turns == 2
    assert talk.draw(1, random.Random(0), []) == [(Turn("user", "One.\nTwo."), Turn("model", "Three."))]


def test_exchanges_that_hold_an_answer_are_passed_over():
    held = make_dialogue(1, turns=4)
    turns = (Turn("a", "Is it Lisbon?"), Turn("b", "No."), *held.turns, Turn("a", "So?"), Turn("b", "in LISBON's bay"))
    talk = SmallTalk([Dialogue("d", turns)])
    drawn = [turn.text for pair in talk.draw(2, random.Random(0), ["Lisbon"]) for turn in pair]
    assert drawn == [turn.text for turn in held.turns]
    with pytest.raises(UserError, match="no two turns in a row without the words number, Lisbon"):
        talk.draw(1, random.Random(0), ["number", "Lisbon"])


def test_a_word_that_is_asked_for_stands_in_its_telling_alone():
    every_word = [word for fact in facts() for word in fact.words]
    talking = [
        Dialogue(f"w{i}", (Turn("a", f"I like {word}, you know."), Turn("b", f"Well, number {i}.")))
        for i, word in enumerate(every_word)
    ]
    for target in probe_targets(20, talking, seed=3):
        *before, question, answer = target.dialogue.turns
        assert [holds(turn.text, target.gold) for turn in before[: 2 * FACTS]].count(True) == 1
        assert not any(holds(turn.text, target.gold) for turn in (*before[2 * FACTS :], question))
        assert answer.text == target.gold


def test_questions_take_turns_in_distance_and_wording():
    targets = probe_targets(40, DIALOGUES, seed=1)
    kinds = [(target.dialogue.meta["distance"], target.dialogue.meta["shared"]) for target in targets]
    assert {kind: kinds.count(kind) for kind in kinds} == {(d, s): 4 for d in DISTANCES for s in (True, False)}
    by_question = {text: (fact, text == fact.asked) for fact in facts() for text in (fact.asked, fact.reworded)}
    places = set()
    for target, (distance, shared) in zip(targets, kinds, strict=True):
        *before, question, _ = target.dialogue.turns
        fact, asked = by_question[question.text]
        assert asked == shared
        assert (target.speaker, question.speaker) == ("model", "user")
        [place] = [i for i, turn in enumerate(before) if turn.text == fact.told.format(target.gold)]
        places.add(place)
        assert len(before) == 2 * FACTS + distance
    assert places == {0, 2, 4, 6, 8}
    assert len({target.id for target in targets}) == 40


def test_the_same_seed_asks_the_same_and_another_something_else():
    turns = [[target.dialogue.turns for target in probe_targets(6, DIALOGUES, seed)] for seed in (1, 1, 2)]
    assert turns[0] == turns[1]
    assert not {dialogue for dialogue in turns[0] if dialogue in turns[2]}
    assert probe_targets(0, DIALOGUES) == []


def test_turns_that_come_again_are_said(capsys):
    few = DIALOGUES[:2]  # 14 turns each
    [*_, target] = probe_targets(3, few)
    assert len(target.dialogue.turns) == 2 * FACTS + 40 + 2
    assert "up to 40 turns of small talk, and the held-out dialogues have 28, so these come again" in said(capsys)
    probe_targets(3, DIALOGUES)
    assert said(capsys) == ""


def said(capsys) -> str:
    out, err = capsys.readouterr()
    return " ".join((out + err).split())


def test_the_tool_writes_questions_with_the_turns_that_answer_them():
    made = runpy.run_path(str(TOOL))["conversations"](SmallTalk(DIALOGUES), 2)
    assert len(made) == 2 * len(DISTANCES)
    assert {question["category"] for one in made for question in one["questions"]} == {
        f"{distance} turns, {words}"
        for distance in ("0", "10", "40", "200", "1,000")
        for words in ("shared word", "no shared word")
    }
    by_question = {text: fact for fact in facts() for text in (fact.asked, fact.reworded)}
    for one in made:
        assert len(one["questions"]) == 2 * FACTS
        assert {turn["speaker"] for turn in one["turns"]} == {"user", "model"}
        for question in one["questions"]:
            [number] = question["evidence"]
            fact = by_question[question["question"]]
            assert one["turns"][number - 1]["text"] in [fact.told.format(word) for word in fact.words]
            assert ("no shared word" in question["category"]) == (question["question"] == fact.reworded)
