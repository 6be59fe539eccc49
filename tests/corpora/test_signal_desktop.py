"""Signal Desktop's own export."""

import json

from messengers import dialogues, kinds, left_out, problems, said, write

from gistchat.corpora import signal_desktop

PEOPLE = [
    {"version": 1, "backupTimeMs": "1", "currentAppVersion": "7"},
    {"account": {"givenName": "Ben", "familyName": ""}},
    {"recipient": {"id": "1", "self": {}}},
    {"recipient": {"id": "2", "contact": {"profileGivenName": "Ann", "profileFamilyName": "Lee", "e164": "49151"}}},
    {"recipient": {"id": "3", "group": {"snapshot": {"title": {"title": "Cooks"}}}}},
    {"recipient": {"id": "4", "contact": {"e164": "49152"}}},
    {"chat": {"id": "9", "recipientId": "2"}},
    {"chat": {"id": "10", "recipientId": "3"}},
]


def item(chat, author, text=None, **more):
    message = {} if more else {"standardMessage": {"text": {"body": text}}}
    return {"chatItem": {"chatId": chat, "authorId": author, "dateSent": "1709673300000"} | message | more}


def export(tmp_path, *lines):
    return write(tmp_path / "main.jsonl", "".join(json.dumps(line) + "\n" for line in (*PEOPLE, *lines)))


def test_chats_of_two_and_of_a_group(tmp_path):
    path = export(tmp_path, item("9", "2", "Hi"), item("10", "4", "Soup?"), item("9", "1", "Hello"))
    assert kinds(path) == ["signal-desktop"]
    assert said(signal_desktop, path) == [[("Ann Lee", "Hi"), ("Ben", "Hello")], [("+49152", "Soup?")]]
    assert [dialogue.id for dialogue in dialogues(signal_desktop, path)] == ["Ann Lee 9", "Cooks 10"]
    assert dialogues(signal_desktop, path)[0].turns[0].date == "2024-03-05 21:15:00"


def test_what_is_left_out(tmp_path):
    pictures = item("9", "2", standardMessage={"attachments": [{}]})
    notices = [item("9", "2", updateMessage={"simpleUpdate": {}}), item("9", "2", remoteDeletedMessage={})]
    path = export(tmp_path, pictures, *notices, item("9", "2", stickerMessage={}), item("9", "2", "Hi"))
    assert sorted(left_out(signal_desktop, path).values()) == [1, 1, 2]
    assert said(signal_desktop, path) == [[("Ann Lee", "Hi")]]


def test_broken_lines(tmp_path):
    path = export(tmp_path, {"chatItem": {"chatId": "9"}}, 7, item("9", "2", "Hi"))
    assert len(problems(signal_desktop, path)) == 2
    assert said(signal_desktop, path) == [[("Ann Lee", "Hi")]]


def test_without_an_account_a_nickname_an_edited_reply_and_a_poll(tmp_path):
    lines = [line for line in PEOPLE if "account" not in line]
    contact = {"nickname": {"given": "Annie"}, "profileGivenName": "Ann", "systemGivenName": "Ann at work"}
    lines[2] = {"recipient": {"id": "2", "contact": contact}}
    quote = {"authorId": "1", "text": {"body": "Soup?"}}
    reply = {"quote": quote, "text": {"body": "Yes, please"}, "reactions": [{"emoji": "x", "authorId": "1"}]}
    older = {"chatId": "9", "authorId": "2", "standardMessage": {"text": {"body": "Yes"}}}
    lines += [item("9", "1", "Soup?"), item("9", "2", standardMessage=reply, revisions=[older])]
    lines += [item("9", "2", poll={"question": "Salt?", "options": []})]
    path = write(tmp_path / "main.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert said(signal_desktop, path) == [[("Me", "Soup?"), ("Annie", "Yes, please")]]
    assert left_out(signal_desktop, path) == {"polls": 1}
