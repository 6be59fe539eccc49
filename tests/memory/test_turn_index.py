"""Search in the turns of a dialogue: what is found, in which order, and what follows an edit."""

import random
import sys
import threading

import pytest

from gistchat.dialogue.turns import Turn
from gistchat.memory import turn_index
from gistchat.memory.turn_index import MOST_MATCHES, TurnIndex, terms


def index_of(*texts, speaker="user"):
    return TurnIndex([Turn(speaker, text) for text in texts])


def found(index, text, before=None):
    return [match.turn for match in index.find(text, len(index) if before is None else before)]


def test_the_turn_that_shares_the_rare_word_comes_first_and_then_those_beside_it():
    index = index_of("I like tea.", "My sister Olga sings.", "Nice weather.", "I like it a lot.", "We had tea.")
    assert found(index, "Where does Olga live?") == [1, 2, 0]
    best, *beside = index.find("Where does Olga live?", 5)
    assert best.words == ("olga",)
    assert {match.words for match in beside} == {()}


@pytest.mark.parametrize(
    ("asker", "asked", "best"),
    [
        ("user", "What is my sister called?", 0),
        ("user", "What is your sister called?", 3),
        ("user", "Do you remember what MY sister’s name is?", 0),
        ("user", "I’m whose brother, the sister being called what?", 0),
        ("model", "What is my sister called?", 3),
        ("model", "And yours, your sister?", 0),
        ("user", "What is the sister called?", 3),  # of turns that match alike, the later one
        ("", "What is my sister called?", 3),
    ],
)
def test_what_is_mine_was_told_by_who_asks(asker, asked, best):
    texts = ["My sister Olga sings.", "Oh.", "Nice weather.", "My sister Vera dances."]
    index = TurnIndex([Turn(speaker, text) for speaker, text in zip(["user", "model"] * 2, texts, strict=True)])
    assert index.find(asked, 4, asker)[0].turn == best
    index.put(0, Turn("model", texts[0]))  # an edit can also say that another spoke
    assert index.find("What is my sister called?", 4, "model")[0].turn == 3


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("When did she hike?", "We went hiking."),
        ("What did Caroline buy?", "I bought a lamp."),
        ("Which children sang?", "The child will sing."),
        ("Is Caroline's dog old?", "My dogs sleep."),
        ("OLGA?", "olga called"),
    ],
)
def test_a_word_is_found_in_its_other_forms(asked, told):
    assert found(index_of("Nothing of that kind.", "Hm.", told), asked)[0] == 2


@pytest.mark.parametrize(
    ("asked", "told", "other"),
    [
        ("我喜欢吃什么水果？", "我最喜欢的水果是苹果", "今天天气很好"),
        ("妹は何の仕事？", "私の妹は看護師です", "いい天気ですね"),
        ("น้องสาวทำงานอะไร", "น้องสาวของฉันเป็นพยาบาล", "วันนี้อากาศดี"),
        ("Где живёт моя сестра?", "Моя сестра живёт в Осло", "Погода хорошая"),
        ("أين تعيش أختي؟", "أختي تعيش في أوسلو", "الطقس جميل"),
        ("Wo wohnt meine Schwester?", "Meine Schwester wohnt in Oslo", "Das Wetter ist schön"),
    ],
)
def test_other_scripts_and_languages_are_searched(asked, told, other):
    assert found(index_of(other, other, told, other), asked)[0] == 2


@pytest.mark.parametrize("asked", ["", "   ", "What is it, and who was that?", "zebra", "!!!", "…"])
def test_what_matches_nothing_finds_nothing(asked):
    assert found(index_of("I like tea.", "My sister sings."), asked) == []


@pytest.mark.parametrize("asked", ['"tea" AND *', "tea* NEAR(sister)", "-tea", "tea' OR 1=1 --", "(tea", "tea:^2"])
def test_what_looks_like_the_syntax_of_a_search_is_words(asked):
    assert 0 in found(index_of("I like tea.", "Hm.", "Well."), asked)


def test_where_every_turn_matches_the_latest_come_first_and_not_more_than_can_be_used():
    index = index_of(*["I like tea."] * 500)
    assert len(found(index, "tea")) == MOST_MATCHES
    assert found(index, "tea", 3) == [1, 2, 0]  # the middle one has two neighbours


def test_an_empty_index_and_a_search_before_the_first_turn_find_nothing():
    assert TurnIndex().find("tea", 0) == []
    assert found(index_of("tea"), "tea", 0) == []


def test_speakers_are_found_by_name():
    index = TurnIndex([Turn("Ann", "I sing."), Turn("Bob", "Hm."), Turn("Ann", "Yes."), Turn("Bob", "I sing.")])
    assert found(index, "What does Bob sing?")[0] == 3


def test_a_turn_of_a_megabyte_is_indexed_and_does_not_come_first_for_being_long():
    index = index_of("word " * 200_000 + "tea", "I like tea.", "Hm.")
    assert found(index, "tea")[0] == 1


def test_a_search_knows_nothing_of_later_turns():
    rng = random.Random(0)
    words = ["tea", "milk", "dog", "cat", "river", "lamp", "sing", "run"]
    turns = [Turn("user", " ".join(rng.choices(words, k=rng.randint(1, 6)))) for _ in range(60)]
    whole = TurnIndex(turns)
    for before in (1, 2, 17, 59):
        assert whole.find("tea and dog sing", before) == TurnIndex(turns[:before]).find("tea and dog sing", before)


def test_after_edits_it_is_as_if_it_had_been_made_of_the_turns_as_they_are():
    rng = random.Random(1)
    words = ["tea", "milk", "dog", "cat", "river", "lamp", "sing", "run"]

    def turn():
        return Turn("user", " ".join(rng.choices(words, k=rng.randint(1, 5))))

    turns, index = [], TurnIndex()
    for _ in range(300):
        action = rng.choice(["add", "add", "put", "cut"])
        if action == "add" or not turns:
            turns.append(turn())
            index.follow(turns, len(turns))
        elif action == "put":
            number = rng.randrange(len(turns))
            turns[number] = turn()
            index.put(number, turns[number])
        else:
            del turns[rng.randrange(len(turns)) :]
            index.cut(len(turns))
        assert index.find("tea dog", len(turns)) == TurnIndex(turns).find("tea dog", len(turns))


def test_the_sentences_of_a_turn_that_match_come_best_first_and_no_others():
    turn = Turn("user", "It rained. My sister sings in a choir. My sister is tall.")
    assert index_of().sentences("Where does my sister sing?", turn) == [
        "My sister sings in a choir.",
        "My sister is tall.",
    ]


def test_terms_are_content_words_without_endings():
    assert terms("What did Caroline's dogs eat in the garden?") == ["carolin", "dog", "eat", "garden"]


def test_threads_find_the_same_terms():
    """A stemmer holds the word that it works on, and sessions of a server share it."""
    words = [
        f"{stem}{ending}{number}s" for stem in ("hik", "relat", "run") for ending in ("ing", "ers") for number in "aeo"
    ]
    alone = {word: turn_index._stem.__wrapped__(word) for word in words}
    wrong = []

    def stem_all() -> None:
        wrong.extend(word for word in words * 20 if turn_index._stem.__wrapped__(word) != alone[word])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=stem_all) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
