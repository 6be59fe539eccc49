"""Standing facts: what the rules take and leave, what ends a fact, and their place beside the gist."""

import itertools
import json

import pytest
from conftest import LONG, make_dialogue, say

from gistchat.chat import session_file
from gistchat.chat.describe import describe_gist
from gistchat.chat.session import ChatSession
from gistchat.context.budget import pack_ranked
from gistchat.context.types import Sentence
from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError
from gistchat.memory import standing_facts
from gistchat.memory.rolling import Costs, GistHistory, RollingMemory, Room, roll_dialogues
from gistchat.memory.standing_facts import Fact, StandingFacts, find_facts
from gistchat.memory.summarizers.extractive import Extractor

pytestmark = pytest.mark.usefixtures("shared_servers")

TOLD = {
    "name": [
        "Call me Jo",
        "My name is Olga.",
        "Hi, I'm Anna!",
        "everyone calls me tom",
        "I go by Max.",
        "I am called Ana",
    ],
    "home": [
        "I live in Lisbon.",
        "i live in new york",
        "We moved to Porto last year",
        "I've a cold, but I live near the sea",
        "Well, I'm currently living in Oslo.",
        "I live alone.",
        "We just bought a small house!",
    ],
    "origin": ["I'm from Ghana", "I was born in Utah", "I grew up on a farm.", "I am originally from Texas"],
    "age": ["I'm 34 years old.", "im 17", "I just turned forty", "I am fifty-two, by the way"],
    "birthday": ["My birthday is on May 3rd", "My birthday's the 5th of June"],
    "work": [
        "I work as a nurse",
        "I'm a high school teacher.",
        "I work for the post office",
        "I run my own bakery",
        "Yeah, I'm retired.",
        "I sing at weddings for a living",
        "My job is an art teacher",
        "I work from home",
    ],
    "school": ["I'm studying law", "I go to college in Ohio.", "My major is physics", "I have a degree in biology"],
    "family": [
        "My sister is called Olga.",
        "My sister Olga loves physics",
        "my wife's name is Ana",
        "I have two kids",
        "We have a three year old daughter.",
        "I don't have any siblings.",
        "My dad works at a mill.",
        "I'm an only child",
    ],
    "pet": ["I have two dogs", "We've got a cat named Loki", "i own a horse", "I have a dog and two cats."],
    "love": ["I'm married to Tom", "I am single", "We got engaged!", "I have a boyfriend"],
    "health": ["I'm allergic to nuts.", "I have asthma", "I'm lactose intolerant", "I am left-handed"],
    "diet": ["I'm vegan", "I don't eat meat", "I never drink wine", "I am a strict vegetarian."],
    "language": ["I speak German", "I'm learning Thai", "My native language is Urdu"],
    "favourite": ["My favourite colour is green", "Tacos are my favorite!", "my all-time favorite band is Blur"],
    "likes": [
        "I love jazz",
        "I really hate mushrooms",
        "I'm a big fan of hockey",
        "I don't like crowds.",
        "I'm into chess",
    ],
    "hobby": ["I play the violin", "I collect stamps", "In my free time I paint"],
    "preference": ["I prefer tea", "I prefer short walks over long ones"],
    "instruction": [
        "Answer in German",
        "Please reply in short sentences.",
        "Could you always answer in French please.",
        "Please always tell me the source.",
        "Always use 24-hour time when I ask about meetings",
        "Don't call me Bob.",
        "I want you to call me by my last name",
        "I prefer short answers",
        "Never mention my ex.",
        "From now on, don't use emojis",
    ],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in TOLD.items() for text in texts])
def test_what_people_tell_is_found_in_their_own_words(kind, text):
    [fact] = find_facts(7, Turn("user", text))
    assert (fact.turn, fact.speaker, fact.kind, fact.until) == (7, "user", kind, None)
    assert fact.text in text


@pytest.mark.parametrize(
    "text",
    [
        "Do I live in Lisbon?",
        "Do you live in Lisbon, or in Porto?",
        "I live in Lisbon?",
        "If I lived in Lisbon, I would be happy",
        "If you ask him, I live in a castle",
        "I wish I lived in Lisbon",
        "I wish I had two dogs",
        "I would love to live in Lisbon.",
        "I don't live in Lisbon.",
        "I used to live in Lisbon",
        "I used to work as a nurse",
        "I'm not a nurse",
        'He told me, "I live in Lisbon."',
        'She wrote: "I was lost. I live in Lisbon. I have two dogs." How odd!',
        "He said, I have two dogs",
        "“I'm vegan. I love jazz.”",
        "Imagine, I'm a doctor",
        "My brother thinks I live in Lisbon",
        "I live in fear",
        "I love it!",
        "I love your dog",
        "I love that you play it",
        "I'm in.",
        "I'm Ok",
        "Call me later",
        "You can call me tomorrow!",
        "call me crazy",
        "Never mind",
        "I never said so",
        "Always good to see you",
        "Please tell me more",
        "Answer me!",
        "Don't worry",
        "I have a weakness for cats",
        "I own a dog walking service",
        "I have a house warming party tomorrow",
        "I'm so tired today",
        "I work from home today",
        "I have a cold",
        "I'm 6 feet tall",
        "What is your favourite colour?",
        "It is my favourite",
        "I'm sorry about your sister",
        "Thanks! You too.",
        "",
        "日本語で答えて",
        "(" * 3000,
        "I live in",
    ],
)
def test_questions_quotes_and_what_is_only_supposed_tell_nothing(text):
    assert find_facts(0, Turn("user", text)) == []


def test_each_clause_tells_its_own_and_none_is_longer_than_a_line():
    text = "Hi there, I'm Anna and I live in Lisbon, but my sister Olga lives in Porto. I'm vegan. What about you?"
    found = [(fact.kind, fact.text) for fact in find_facts(0, Turn("user", text))]
    assert found == [
        ("name", "I'm Anna"),
        ("home", "I live in Lisbon"),
        ("family", "my sister Olga lives in Porto."),
        ("diet", "I'm vegan."),
    ]
    [fact] = find_facts(0, Turn("user", "I live in Lisbon " + "near the old harbour " * 20))
    assert len(fact.text.split()) == standing_facts.LONGEST_FACT
    assert fact.text.endswith("…")
    assert find_facts(0, Turn("user", "x " * 50_000 + "I live in Lisbon")) == []


def facts_of(*texts, speaker="user"):
    return StandingFacts([Turn(speaker, text) for text in texts])


def holding(facts, said=None):
    return sorted(fact.text for fact in facts.known(10**6, said))


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("I live in Lisbon", "I moved to Porto"),
        ("Call me Jo", "Please call me Josephine"),
        ("I work as a nurse", "I'm a teacher now"),
        ("I'm 34", "I just turned 35"),
        ("My favourite colour is green", "My favorite color is red"),
        ("My favourite band is Blur", "my favourite band is Pulp"),
        ("My wife is called Ana", "My wife is called Eva"),
        ("I'm married", "I'm divorced"),
        ("I'm vegan", "I'm a vegetarian"),
        ("Answer in German", "Please answer in English."),
        ("I have two dogs", "We have three dogs"),
        ("I love pizza", "I hate pizza"),
    ],
)
def test_a_newer_one_ends_the_older_of_the_same_speaker(older, newer):
    if "colour" in older:
        newer = newer.replace("color", "colour")
    facts = facts_of(older, "Ah.", newer)
    assert holding(facts) == [newer]
    [ended] = facts.ended()
    assert (ended.text, ended.turn, ended.until) == (older, 0, 2)
    assert holding(facts, said=2) == [older]  # nothing from the future
    other = StandingFacts([Turn("user", older), Turn("model", newer)])
    assert holding(other) == sorted([older, newer])


def test_what_there_may_be_several_of_is_collected_and_said_once():
    told = ["I'm allergic to nuts", "I'm allergic to milk", "I love jazz", "I love tea", "I speak Thai", "I speak Urdu"]
    told += ["I have a dog", "I have a cat", "My sister Olga is here", "My sister Ana is here", "Don't mention Bob"]
    told += ["Never use emojis", "My favourite colour is red", "My favourite food is rice"]
    facts = facts_of(*told, *told)
    assert holding(facts) == sorted(told)
    assert [fact.turn for fact in facts.known(10**6) if fact.text == "I love tea"] == [3]
    assert facts.ended() == []


@pytest.mark.parametrize(
    ("older", "ending"),
    [
        ("I live in Lisbon", "I no longer live in Lisbon"),
        ("I live in Lisbon", "We moved out of Lisbon"),
        ("I work for the post office", "I quit my job"),
        ("I work as a nurse", "I don't work as a nurse any more"),
        ("I love meat", "I don't eat meat anymore"),
        ("I play the violin", "I've stopped playing the violin"),
        ("I'm vegan", "I'm no longer vegan"),
        ("I'm allergic to nuts", "I'm not allergic to nuts"),
        ("I'm married to Tom", "We broke up"),
        ("I have a dog named Rex", "My dog Rex died"),
        ("Answer in German", "You can stop answering in German"),
    ],
)
def test_who_says_that_it_holds_no_longer_ends_it(older, ending):
    facts = facts_of(older, "I love opera", ending)
    assert older not in holding(facts)
    assert "I love opera" in holding(facts)
    assert [(fact.text, fact.until) for fact in facts.ended()] == [(older, 2)]


@pytest.mark.parametrize(
    ("older", "ending"),
    [
        ("I live in Lisbon", "I no longer live in Rome"),
        ("I love meat", "I don't eat fish anymore"),
        ("I have a dog named Rex", "My cat died"),
        ("Answer in German", "You can stop using emojis"),
        ("I'm allergic to nuts", "I'm not allergic to milk"),
        ("I live in Lisbon", "Do you no longer live in Lisbon?"),
    ],
)
def test_what_is_said_of_something_else_ends_nothing(older, ending):
    facts = facts_of(older, ending)
    assert older in holding(facts)
    assert facts.ended() == []


def test_facts_follow_what_is_edited_and_taken_back():
    turns = [Turn("user", text) for text in ("I live in Lisbon", "Ah", "I moved to Porto", "I have a dog")]
    facts = StandingFacts(turns)
    facts.follow(turns[:2])
    assert holding(facts) == ["I live in Lisbon"]
    assert facts.ended() == []
    facts.follow([*turns[:2], Turn("user", "I moved to Rome"), turns[3]])
    assert holding(facts) == ["I have a dog", "I moved to Rome"]
    facts.follow([Turn("user", "Hello"), *turns[1:]])
    assert holding(facts) == ["I have a dog", "I moved to Porto"]
    facts.drop([Sentence(9, "user", "I moved to Porto")])
    facts.follow(turns)
    assert holding(facts) == ["I have a dog", "I live in Lisbon"]  # what it ended holds again
    facts.add(Turn("user", "I moved to Porto"))
    assert holding(facts) == ["I have a dog", "I live in Lisbon"]
    facts.drop([])
    assert holding(facts) == ["I have a dog", "I moved to Porto"]


def test_where_there_are_too_many_the_oldest_that_a_reply_needs_least_goes(monkeypatch):
    monkeypatch.setattr(standing_facts, "MOST", 3)
    facts = facts_of("Answer in German", "I love tea", "I'm from Ghana", "I love jazz", "I speak Thai")
    assert [fact.text for fact in facts.known(10)] == ["Answer in German", "I speak Thai", "I'm from Ghana"]
    assert [fact.text for fact in facts.known(10, 3)] == ["Answer in German", "I'm from Ghana", "I love tea"]
    assert facts.ended() == []  # not ended, but let go
    facts.follow([Turn("user", "Answer in German"), Turn("user", "I love tea")])
    assert holding(facts) == ["Answer in German", "I love tea"]


WORDS = Costs(*[lambda line: len(line.text.split()) + 1] * 2, 2)  # tokens are words, and one for the speaker
ROOM = Room(budget=120, gist=42, heading=2, keeps_facts=True)
SAID = ["I live in Lisbon.", "Call me Jo.", "I'm allergic to nuts.", "I have two dogs.", "I love old jazz records."]
SAID += ["I work as a nurse.", "I moved to Porto.", "My sister Olga teaches physics.", "I'm a teacher now."]


def talk_with_facts():
    """A talk in which somebody says something of themselves now and then."""
    texts = [turn.text for turn in make_dialogue(0, turns=120).turns]
    for place, said in enumerate(SAID):
        texts[2 + place * 8] = f"{LONG} {said}"
    return [Turn(("user", "model")[i % 2], text) for i, text in enumerate(texts)]


def test_facts_stand_beside_the_gist_once_their_turn_left_in_at_most_half_of_its_room():
    memory, extractor, most, changes = RollingMemory(ROOM, WORDS, "textrank"), Extractor("textrank"), 0, []
    before, end, ended = memory.current().sentences, 0, []
    for turn in talk_with_facts():
        memory.add(turn)
        memory.refresh(extractor)
        shown, gist = memory.shown_facts(), memory.current()
        assert all(line.turn < gist.end for line in shown)
        assert memory.cost(shown) <= (ROOM.gist - ROOM.heading) // 2
        assert memory.cost(gist.sentences) <= ROOM.gist - ROOM.heading
        assert gist.sentences[: len(shown)] == tuple(shown)
        texts = [line.text for line in gist.sentences]
        assert not any(a in b for a, b in itertools.permutations(texts, 2) if a in {line.text for line in shown})
        most = max(most, len(shown))
        if gist.sentences != before:
            # The prompt's beginning changes where the gist is made anew, or where a fact that it shows has ended.
            assert gist.end != end or memory.facts.ended() != ended
            changes.append(memory.turns)
        before, end, ended = gist.sentences, gist.end, memory.facts.ended()
    assert most >= 3
    assert len(changes) < 40
    assert "Call me Jo." in [line.text for line in memory.shown_facts()]  # whatever comes later
    assert "I live in Lisbon." not in [line.text for line in memory.current().sentences]
    assert {fact.text: fact.until for fact in memory.facts.ended()}["I live in Lisbon."] == 50
    without = {fact.text for fact in memory.unshown_facts()}
    assert without
    assert without.isdisjoint(line.text for line in memory.shown_facts())


def test_where_half_of_the_room_holds_no_fact_they_may_have_it_all():
    room = Room(budget=40, gist=14, heading=2, keeps_facts=True)
    memory = RollingMemory(room, WORDS, "textrank")
    for turn in talk_with_facts():
        memory.add(turn)
        memory.refresh(Extractor("textrank"))
        assert memory.cost(memory.current().sentences) <= 12
    assert [line.text for line in memory.shown_facts()] == ["Call me Jo.", "I'm a teacher now."]
    assert room.of_facts(0) == 12
    assert Room(budget=40, gist=14, heading=2).of_facts(0) == Room(8, 0, 2, keeps_facts=True).of_facts(0) == 0


def test_without_a_part_of_the_room_nothing_changes():
    memory, other = (RollingMemory(room, WORDS, "textrank") for room in (Room(120, 42, 2), ROOM))
    for turn in talk_with_facts()[:40]:
        for one in (memory, other):
            one.add(turn)
            one.refresh(Extractor("textrank"))
    assert memory.shown_facts() == memory.unshown_facts() == []
    assert memory.current().sentences == memory.gist.sentences
    assert other.shown_facts()
    other.use_room(Room(120, 42, 2), talk_with_facts()[:40])
    assert other.shown_facts() == []
    memory.use_room(ROOM, talk_with_facts()[:40])
    other.use_room(ROOM, talk_with_facts()[:40])
    assert memory.facts.known(40) == other.facts.known(40)


def test_training_and_evaluation_know_what_a_chat_knew_then(monkeypatch):
    monkeypatch.setattr(standing_facts, "MOST", 5)  # also what was let go
    turns = talk_with_facts()
    [history], _ = roll_dialogues([turns], [RollingMemory(ROOM, WORDS, "textrank")], Extractor("textrank"))
    facts = StandingFacts(turns)
    at = history.with_facts(facts, ROOM, WORDS)
    live, shown = RollingMemory(ROOM, WORDS, "textrank"), set()
    for said, turn in enumerate(turns[:-1], 1):
        live.add(turn)
        live.refresh(Extractor("textrank"))
        assert (at(said).sentences, at(said).end) == (live.current().sentences, live.gist.end)
        known = [fact.line for fact in facts.known(said, said)]
        assert known == [fact.line for fact in live.facts.known(said)]
        shown.update(line.text for line in live.shown_facts())
    assert len(shown) > 4
    assert GistHistory(()).with_facts(StandingFacts(turns), ROOM, WORDS)(50).sentences == ()


def test_pinned_lines_come_first_and_facts_give_way_to_them():
    memory = RollingMemory(ROOM, WORDS, "textrank")
    for turn in talk_with_facts():
        memory.add(turn)
        memory.refresh(Extractor("textrank"))
    fact = memory.shown_facts()[0]
    memory.pin(fact)
    assert memory.current().sentences[0] == fact
    assert memory.current().sentences.count(fact) == 1
    memory.pin(Sentence(-1, "", "word " * (ROOM.by_hand() - memory.cost([fact]) - 1)))
    assert memory.shown_facts() == []
    _, cost = pack_ranked(memory.pinned, WORDS.line, 10**6)
    assert cost == ROOM.by_hand()


@pytest.fixture
def session(run_folder):
    settings = ["chat.strategy=memory", "context.budget=256", "chat.max_reply_tokens=4"]
    session = ChatSession.open(run_folder, settings, seed=3)
    session.hear(talk_with_facts())
    return session


def lines_of(session):
    return [line.text for line in session.next_gist_lines()]


def test_the_model_reads_facts_under_the_strategy_that_keeps_them(session):
    assert "Call me Jo." in lines_of(session)
    say(session, "And what do you think?")
    assert "Call me Jo." in [line.text for line in session.context.lines]
    session.switch_strategy("rolling")
    assert session.memory.shown_facts() == []
    session.switch_strategy("memory")
    assert "Call me Jo." in lines_of(session)


def test_a_gist_shows_facts_with_their_turns_and_what_ended(session):
    shown = describe_gist(session)
    assert "User: Call me Jo.  (turn 11, name)" in shown
    assert "  User: I live in Lisbon.  (turn 3, home until turn 51)" in shown
    assert "facts that ended: 2" in shown
    without = [fact for fact in session.memory.unshown_facts() if fact.turn < session.memory.gist.end]
    assert f"facts without room in the gist, found when asked for: {len(without)}" in shown
    session.hear([Turn("user", "I speak Urdu."), Turn("model", "Ah.")])
    assert "facts for when their turns leave: 1\n  User: I speak Urdu.  (turn 121, language)" in describe_gist(session)
    session.switch_strategy("rolling")
    assert "facts" not in describe_gist(session)


def test_edits_and_undo_reach_facts(session):
    session.edit_turn(11, "Nothing of that kind.")
    assert "Call me Jo." not in lines_of(session)
    assert all(fact.text != "Call me Jo." for fact in session.memory.unshown_facts())
    session.edit_turn(51, "I was in Porto.")  # it had ended that somebody lives in Lisbon
    assert all(fact.text != "I live in Lisbon." for fact in session.memory.facts.ended())
    session.hear([Turn("user", "I speak Urdu."), Turn("model", "Ah.")])
    known = session.memory.facts.known(200)
    session.take_back()
    assert {fact.text for fact in known} - {fact.text for fact in session.memory.facts.known(200)} == {"I speak Urdu."}


def number_of(session, text):
    lines = list(dict.fromkeys([*session.gist_lines(), *session.next_gist_lines()]))
    return next(number for number, line in enumerate(lines, 1) if line.text == text)


def test_a_dropped_line_stays_away_until_one_goes_back(session, tmp_path):
    assert session.drop_line(number_of(session, "Call me Jo.")) == "Call me Jo."
    session.hear([Turn("user", LONG), Turn("model", LONG)] * 12)
    assert "Call me Jo." not in lines_of(session)
    session.hear([Turn("user", "Call me Jo."), Turn("model", LONG)])
    assert "Call me Jo." not in [fact.text for fact in session.memory.facts.known(10**6)]
    session_file.save(session, tmp_path / "c.jsonl")
    loaded = session_file.load(session.model, tmp_path / "c.jsonl")
    assert lines_of(loaded) == lines_of(session)
    assert loaded.memory.facts.known(10**6) == session.memory.facts.known(10**6)
    edited = json.loads((tmp_path / "c.jsonl").read_text())
    edited["meta"]["session"]["version"] = 99
    (tmp_path / "d.jsonl").write_text(json.dumps(edited) + "\n")
    assert "Call me Jo." not in lines_of(session_file.load(session.model, tmp_path / "d.jsonl"))
    while session.memory.dropped:
        session.back_to(1)
    assert "Call me Jo." in [fact.text for fact in session.memory.facts.known(10**6)]


def test_lines_of_the_gist_and_pinned_ones_can_be_dropped_others_not(session):
    session.pin("The key is under the mat.")
    for text in ("The key is under the mat.", session.memory.gist.sentences[0].text):
        session.drop_line(number_of(session, text))
        assert text not in lines_of(session)
    with pytest.raises(UserError, match="the gist has no line 99"):
        session.drop_line(99)
    session.switch_strategy("hybrid")
    with pytest.raises(UserError, match="'hybrid' picks lines anew"):
        session.drop_line(1)


def test_an_edited_gist_stands_for_the_facts_before_it(session):
    session.edit_gist("They talked of a lighthouse.")
    assert lines_of(session) == ["They talked of a lighthouse."]
    session.hear([Turn("user", f"I speak Urdu. {LONG}"), Turn("model", LONG)] * 12)
    assert "I speak Urdu." in lines_of(session)
    assert "Call me Jo." not in lines_of(session)


def test_a_file_from_before_there_were_facts_is_loaded_with_them(session, tmp_path):
    session_file.save(session, tmp_path / "c.jsonl")
    saved = json.loads((tmp_path / "c.jsonl").read_text())
    state = saved["meta"]["session"]
    for version in (state, *state["versions"]):
        del version["dropped"], version["facts_from"]
    (tmp_path / "d.jsonl").write_text(json.dumps(saved) + "\n")
    loaded = session_file.load(session.model, tmp_path / "d.jsonl")
    assert loaded.notice == ""
    assert lines_of(loaded) == lines_of(session)
    assert isinstance(loaded.memory.facts.ended()[0], Fact)
