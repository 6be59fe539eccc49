"""Telegram Desktop's result.json."""

import tracemalloc

import pytest
from messengers import dialogues, kinds, left_out, problems, said, write

from gistchat.corpora import telegram
from gistchat.corpora.kinds import kind_of_file
from gistchat.dialogue.turns import Dialogue
from gistchat.errors import UserError


def message(number, name, text, **more):
    value = {"id": number, "type": "message", "date": f"2024-03-05T21:15:{number:02}", "from": name}
    return value | {"from_id": f"user{name}", "text": text, "text_entities": []} | more


def chat(*messages, name="Ann", number=7):
    return {"name": name, "type": "personal_chat", "id": number, "messages": list(messages)}


def test_a_single_chat_with_texts_in_pieces_and_captions(tmp_path):
    pieces = ["See ", {"type": "link", "text": "https://example.org"}, ", ", {"type": "bold", "text": "now"}]
    service = {"id": 9, "type": "service", "date": "2024-03-05T21:00:00", "actor": "Ann", "action": "phone_call"}
    path = write(
        tmp_path / "result.json",
        chat(
            service | {"text": ""},
            message(1, "Ann", "Hi"),
            message(2, "Ben", pieces, edited="2024-03-05T22:00:00", date_unixtime="1709673302"),
            message(3, "Ann", "Our cat", photo="photos/1.jpg"),
            message(4, "Ann", "", media_type="sticker", file="a.webp"),
            message(5, "Ben", "", poll={"question": "Tea?", "answers": []}),
            message(6, "Ben", "News", forwarded_from="A paper"),
        ),
    )
    assert kinds(path) == ["telegram"]
    assert said(telegram, path) == [[("Ann", "Hi"), ("Ben", "See https://example.org, now"), ("Ann", "Our cat")]]
    assert sorted(left_out(telegram, path).values()) == [1, 1, 1, 1]
    dialogue = dialogues(telegram, path)[0]
    assert dialogue.id == "Ann 7"
    assert [turn.date for turn in dialogue.turns] == [f"2024-03-05 21:15:0{i}" for i in (1, 2, 3)]


def test_all_chats_and_people_without_a_name_or_of_the_same(tmp_path):
    first = chat(message(1, "Ann", "Hi"), message(2, None, "Hm", from_id="user5"))
    again = [message(1, "Ann", "One", from_id="user1"), message(2, "Ann", "Two", from_id="user2")]
    path = write(tmp_path / "result.json", {"about": "x", "chats": {"about": "y", "list": [first, chat(*again)]}})
    assert kinds(path) == ["telegram"]
    assert said(telegram, path) == [[("Ann", "Hi"), ("user5", "Hm")], [("Ann", "One"), ("Ann (2)", "Two")]]


def test_somebody_who_changed_name_stays_one(tmp_path):
    path = write(
        tmp_path / "r.json", chat(message(1, "Ann", "a", from_id="user1"), message(2, "Anna", "b", from_id="user1"))
    )
    assert said(telegram, path) == [[("Anna", "a"), ("Anna", "b")]]


def test_broken_messages_and_files(tmp_path):
    path = write(
        tmp_path / "result.json", chat(message(1, "Ann", "Hi"), 7, {"type": "message"}, message(4, "Ben", "Yes"))
    )
    assert len(problems(telegram, path)) == 2
    assert said(telegram, path) == [[("Ann", "Hi"), ("Ben", "Yes")]]
    assert said(telegram, write(tmp_path / "empty.json", chat())) == [[]]
    for number, value in enumerate(([1], {"about": "x", "personal_information": {}})):
        with pytest.raises(UserError):
            list(telegram.read(write(tmp_path / f"{number}.json", value)))


def test_a_full_export_is_told_by_what_comes_before_its_chats(tmp_path):
    contacts = {"list": [{"first_name": "Ann"}] * 20_000}
    values = {"about": "x", "personal_information": {}, "contacts": contacts, "chats": {"list": [chat()]}}
    assert kinds(write(tmp_path / "result.json", values)) == ["telegram"]


def test_of_all_chats_those_of_people(tmp_path):
    def of_kind(kind, number):
        return chat(message(1, "Ann", "Hi"), message(2, "Ben", "Hello"), number=number) | {"type": kind}

    kinds_of_chats = ("personal_chat", "bot_chat", "private_supergroup", "public_channel", "saved_messages")
    chats = [of_kind(kind, number) for number, kind in enumerate(kinds_of_chats, 1)]
    left = [of_kind("private_group", 6), {"name": "Broken", "id": 7}, 8]
    path = write(tmp_path / "result.json", {"about": "x", "chats": {"list": chats}, "left_chats": {"list": left}})
    assert [dialogue.id for dialogue in dialogues(telegram, path)] == ["Ann 1", "Ann 3", "Ann 6"]
    assert said(telegram, path) == [[("Ann", "Hi"), ("Ben", "Hello")]] * 3
    assert sum(left_out(telegram, path).values()) == 6
    assert len(problems(telegram, path)) == 2
    bot = write(tmp_path / "bot.json", of_kind("bot_chat", 2))
    assert said(telegram, bot) == [[("Ann", "Hi"), ("Ben", "Hello")]]


def test_memory_grows_with_the_words_of_one_chat_only(tmp_path):
    messages = [message(i % 60, "AnnBen"[i % 2 * 3 :][:3], "Hi", file="x" * 3000) for i in range(500)]
    chats = [chat(*messages, number=number) for number in range(1, 5)]
    path = write(tmp_path / "result.json", {"about": "x", "chats": {"list": chats}})
    tracemalloc.start()
    turns = sum(len(result.turns) for result in telegram.read(path) if isinstance(result, Dialogue))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert turns == 2000
    assert peak < 1_000_000 < path.stat().st_size / 6


def test_what_cannot_be_read(tmp_path):
    whole = write(tmp_path / "result.json", chat(message(1, "Ann", "Hi"), message(2, "Ben", "Hello"))).read_text()
    with pytest.raises(UserError, match="cut off"):
        list(telegram.read(write(tmp_path / "cut.json", whole[:-80])))
    page = "<!DOCTYPE html><html><head><title>Exported Data</title></head><body><div class='page_wrap'></div></html>"
    with pytest.raises(UserError, match="JSON"):
        kind_of_file(write(tmp_path / "messages.html", page))
