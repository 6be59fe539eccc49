"""A chat finds what was said long ago, shows why, and forgets what it is told to."""

import json

import pytest
from conftest import say

from gistchat.chat import session_file
from gistchat.chat.describe import describe_gist
from gistchat.chat.kept import KeptConversation
from gistchat.chat.session import FORGOTTEN, ChatSession
from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError
from gistchat.prompts.wording import FOUND_HEADER
from gistchat.store.conversation_store import ConversationStore
from gistchat.store.database import Database

pytestmark = pytest.mark.usefixtures("shared_servers")

TOLD = "My sister Olga works as a nurse in Oslo."
ASKED = "What does my sister do?"


def small_talk(number):
    return [Turn(("user", "model")[i % 2], f"Nothing new on day {i}.") for i in range(number)]


@pytest.fixture
def session(run_folder):
    def opened(strategy="memory", budget=96, *more):
        settings = [f"chat.strategy={strategy}", f"context.budget={budget}", "chat.max_reply_tokens=4", *more]
        session = ChatSession.open(run_folder, settings, seed=0)
        session.hear([Turn("user", TOLD), Turn("model", "I see."), *small_talk(100)])
        return session

    return opened


@pytest.mark.parametrize("strategy", ["retrieval", "memory"])
def test_what_was_told_a_hundred_turns_ago_is_in_the_prompt_when_it_is_asked_for(session, prompts, strategy):
    chat = session(strategy)
    say(chat, ASKED)
    assert TOLD in prompts[-1]
    assert f"User: {TOLD}  (turn 1: shares sister)" in describe_gist(chat)


def test_a_turn_that_asks_for_nothing_finds_nothing(session, prompts):
    chat = session()
    say(chat, "Hm, and?")
    assert TOLD not in prompts[-1]
    assert "shares" not in describe_gist(chat)  # its room is for the latest turns


def test_the_prompts_of_memory_begin_alike_whatever_is_asked_until_the_gist_is_made_anew(session):
    chat = session()
    read = []
    for text in ("Is it day 3?", ASKED, "Hm.", "Where is Oslo?"):
        context = chat._fit([*chat.turns, Turn("user", text)])
        read.append((context.lines, context.turns))
    assert read == [read[0]] * 4


def test_what_is_edited_taken_back_or_forgotten_is_not_found_any_more(session):
    chat = session()
    chat.edit_turn(1, "My brother Finn cooks.")
    assert chat.search("sister") == []
    assert [found.number for found in chat.search("Finn")][:1] == [0]
    chat.forget(1)
    assert chat.search("Finn") == []
    assert chat.turns[0] == Turn("user", FORGOTTEN)
    chat.hear([Turn("user", "A zebra."), Turn("model", "Where?")])
    assert [found.number for found in chat.search("zebra")][:1] == [102]
    chat.take_back()
    assert chat.search("zebra") == []
    chat.hear([Turn("user", "A lion."), Turn("model", "Where?")])
    assert chat.search("zebra") == []
    assert chat.search("lion")


def test_what_is_forgotten_leaves_gist_pins_earlier_gists_and_prompts(session, prompts):
    chat = session("rolling", 64)
    chat.edit_turn(1, "The zebra is called Quagga.")
    chat.memory.pin(chat.memory.gist.sentences[0])
    chat.forget(1)
    held = json.dumps(chat.to_dict())
    assert "Quagga" not in held
    say(chat, "What is the zebra called?")
    assert "Quagga" not in prompts[-1]


def test_a_line_that_was_pinned_from_a_forgotten_turn_is_unpinned(session):
    chat = session("rolling", 256)
    line = next(line for line in chat.next_gist_lines())
    number = line.turn + 1
    chat.pin_line(1)
    assert line.text in {pinned.text for pinned in chat.memory.pinned}
    chat.forget(number)
    assert line.text not in json.dumps([pinned.text for pinned in chat.memory.pinned])
    assert all(line not in version.pinned for version in chat.memory.versions)


def test_what_is_forgotten_does_not_stay_in_the_database(session, tmp_path):
    path = tmp_path / "chats.db"
    kept = KeptConversation(ConversationStore(Database.open(str(path))))

    def files():
        return b"".join(file.read_bytes() for file in tmp_path.glob("chats.db*"))

    chat = session()
    kept.record(chat)
    assert TOLD.encode() in files()
    chat.forget(1)
    kept.record(chat)
    assert TOLD.encode() not in files()
    chat.hear([Turn("user", "Hello."), Turn("model", "Hi.")])
    kept.record(chat)
    assert [message.text for message in kept.store.path(kept.id)] == [turn.text for turn in chat.turns]
    kept.store.database.close()


@pytest.mark.parametrize("number", [0, 103, -1])
def test_a_turn_that_is_not_there_cannot_be_forgotten(session, number):
    with pytest.raises(UserError, match=f"no turn {number}; there are 102"):
        session().forget(number)


def test_a_conversation_that_is_loaded_is_searched_as_before(session):
    chat = session()
    loaded = ChatSession.from_dict(chat.model, chat.to_dict())
    assert loaded.search("sister") == chat.search("sister")
    assert loaded.search("sister")[0].words == ["sister"]


def test_what_was_said_on_a_day_that_is_known_has_its_date_where_a_time_is_asked_for(session, prompts, tmp_path):
    chat = session("retrieval")
    chat.clock = lambda: "27 November 2026"
    say(chat, "I bought a zebra.")
    chat.hear(small_talk(60))
    chat.clock = lambda: "28 November 2026"
    say(chat, "When did I buy a zebra?")
    assert "[27 November 2026] User: I bought a zebra." in prompts[-1]
    session_file.save(chat, path := tmp_path / "chat.jsonl")
    assert session_file.load(chat.model, path).turns == chat.turns
    assert chat.turns[-1].date == "28 November 2026"


def test_switching_to_memory_and_back_keeps_gist_and_turns_within_their_room(session, prompts):
    chat = session("rolling", 128)
    chat.switch_strategy("memory")
    say(chat, ASKED)
    assert TOLD in prompts[-1]
    assert chat.context.tokens <= 128
    chat.switch_strategy("rolling")
    say(chat, ASKED)
    assert chat.context.tokens <= 128
    assert FOUND_HEADER not in prompts[-1]
