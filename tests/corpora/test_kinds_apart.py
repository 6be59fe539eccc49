"""No two kinds take one file: samples of every kind of chat with an assistant, of tables, and of messengers' JSON."""

import json
import zipfile
from pathlib import Path

import pytest

from gistchat.corpora.archive import origin_of
from gistchat.corpora.kinds import head_of, kind_of_file, kinds_at
from gistchat.corpora.readers import CORPORA
from gistchat.errors import UserError

FOR_ANYBODY = ("chat", "table", "transcript")  # what anybody writes; they come last

ASKED, ANSWERED = {"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "Green."}
NODE = {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["Tea?"]}}
MAPPING = {
    "root": {"id": "root", "message": None, "parent": None},
    "a": {"id": "a", "message": NODE, "parent": "root"},
}
MESSAGES = [{"uuid": "m", "sender": "human", "text": "Tea?", "content": []}]
ABOUT = {"user_name": "Ann", "character_name": "Iris", "create_date": "x", "chat_metadata": {}}
LINE = {"name": "Iris", "is_user": False, "is_system": False, "mes": "Tea?", "send_date": "x"}
TURN = {"author": {"name": "Iris"}, "candidates": [{"candidate_id": "1", "raw_content": "Tea?"}]}
OLD = {"src": {"name": "Iris", "is_human": False}, "text": "Tea?"}
FLAT = {"src": "x", "src__name": "Iris", "src__is_human": False, "text": "Tea?"}
STORY = {"gamestarted": True, "prompt": "Ann: Tea?", "memory": "", "actions": ["Iris: Green."], "savedsettings": {}}
POST = {"id": 1, "type": "message", "date": "2024-03-05T21:15:00", "from": "Ann", "from_id": "user1", "text": "Tea?"}
TELEGRAM = {"name": "Ann", "type": "personal_chat", "id": 1, "messages": [POST]}
FACEBOOK = {
    "participants": [{"name": "Ann"}],
    "messages": [{"sender_name": "Ann", "timestamp_ms": 1, "content": "Tea?"}],
}
CONVERSATIONS = [{"from": "human", "value": "Tea?"}, {"from": "gpt", "value": "Green."}]

SAMPLES = [
    ("chatgpt", "conversations.json", [{"title": "Tea", "mapping": MAPPING, "current_node": "a"}]),
    ("chatgpt", "conversations-000.json", [{"title": "Tea", "mapping": {"root": MAPPING["root"]}}]),
    ("chatgpt", "one.json", {"title": "Tea", "mapping": MAPPING}),
    ("claude", "conversations.json", [{"uuid": "c", "name": "Tea", "chat_messages": MESSAGES}]),
    ("claude", "conversations.json", [{"uuid": "c", "name": "", "chat_messages": []}]),
    ("claude", "one.json", {"uuid": "c", "chat_messages": MESSAGES}),
    ("sillytavern", "Iris.jsonl", [ABOUT, LINE]),
    ("sillytavern", "group.jsonl", [LINE, LINE]),
    ("sillytavern", "new.jsonl", [{"chat_metadata": {}, "user_name": "unused", "character_name": "unused"}, LINE]),
    ("characterai", "a.json", {"info": {"character": {"name": "Iris"}}, "histories": {"histories": [{"msgs": [OLD]}]}}),
    ("characterai", "b.json", {"turns": [TURN]}),
    ("characterai", "c.json", {"messages": [FLAT], "has_more": False}),
    ("koboldcpp", "story.json", STORY),
    ("preferences", "a.json", [{"instruction": "Tea?", "input": "", "output": "Green."}]),
    ("preferences", "b.jsonl", [{"prompt": "Tea?", "chosen": "Green.", "rejected": "No."}]),
    ("preferences", "c.jsonl", [{"messages": [ASKED, ANSWERED], "label": True}]),
    ("preferences", "d.jsonl", [{"input": {"messages": [ASKED]}, "preferred_output": [ANSWERED]}]),
    ("chat", "a.jsonl", [{"messages": [ASKED, ANSWERED]}]),
    ("chat", "b.json", [{"conversations": CONVERSATIONS}]),
    ("chat", "c.jsonl", [{"custom_id": "1", "body": {"messages": [ASKED]}}]),
    ("chat", "d.jsonl", [{"prompt": "Tea?", "response": "Green.", "messages": [ASKED, ANSWERED]}]),
    ("table", "a.csv", "speaker,text\nAnn,Tea?\n"),
    ("table", "b.csv", "sep=;\nAbsender;Nachricht;Datum\nAnn;Tea?;05.03.2024\n"),
    ("table", "c.tsv", "Author\tMessage\nAnn\tTea?\n"),
    ("jsonl", "a.jsonl", [{"id": "1", "turns": [{"speaker": "Ann", "text": "Tea?"}]}]),
    ("telegram", "result.json", TELEGRAM),
    ("facebook", "message_1.json", FACEBOOK),
]
OTHER_FILES = [
    ("users.json", [{"uuid": "u", "full_name": "Ann", "email_address": "x"}]),
    (
        "projects.json",
        [{"uuid": "p", "name": "Tea", "prompt_template": "", "docs": [{"filename": "a", "content": "b"}]}],
    ),
    ("user.json", {"id": "u", "email": "x", "chatgpt_plus_user": False}),
    ("message_feedback.json", [{"message_id": "a", "conversation_id": "b", "rating": "thumbsUp", "content": "{}"}]),
    ("shared_conversations.json", [{"id": "a", "conversation_id": "b", "title": "Tea"}]),
    ("answers.jsonl", [{"custom_id": "1", "response": {"body": {"choices": [{"message": ANSWERED}]}}}]),
    ("text.jsonl", [{"text": "Tea is green."}]),
    ("other.json", [{"mapping": {"1": {"message": {"fragments": [{"type": "REQUEST", "content": "Tea?"}]}}}}]),
    ("prices.csv", "product,price\ntea,3\n"),
]


def written(path, content):
    if path.suffix == ".jsonl":
        content = "".join(json.dumps(line) + "\n" for line in content)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(("kind", "name", "content"), SAMPLES)
def test_one_kind_takes_a_file(tmp_path, kind, name, content):
    path = written(tmp_path / name, content)
    head = head_of(path)
    takers = [other for other, corpus in CORPORA.items() if corpus.looks_like and corpus.looks_like(head)]
    assert takers[0] == kind == kind_of_file(path)
    assert [other for other in takers if other not in FOR_ANYBODY] == ([kind] if kind not in FOR_ANYBODY else [])


@pytest.mark.parametrize(("name", "content"), OTHER_FILES)
def test_no_kind_takes_what_lies_beside_a_chat(tmp_path, name, content):
    with pytest.raises(UserError, match="cannot tell what kind of file this is"):
        kind_of_file(written(tmp_path / name, content))


@pytest.mark.parametrize(
    ("name", "content", "what_next"),
    [
        ("talk.csv", "Wer ist es,Worte\nAnn,Hi\n", "name them: --columns speaker=NAME .*found: wer ist es, worte"),
        ("page.html", "<!DOCTYPE html><html>", "a web page, which is not read; export the chats again"),
        ("x.json", '{"first": [], "last": []}', r"its fields: first, last\); name it as KIND=FILE"),
    ],
)
def test_what_is_of_no_kind_says_what_to_do_next(tmp_path, name, content, what_next):
    with pytest.raises(UserError, match=what_next):
        kind_of_file(written(tmp_path / name, content))


def zipped(path: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_archives_in_an_archive_are_read(tmp_path, capsys):
    inner = zipped(tmp_path / "inner.zip", {"talk.txt": "Ann: Hi\nBen: Ho\n"}).read_bytes()
    outer = zipped(tmp_path / "outer.zip", {"chats/inner.zip": inner, "sent.zip": b"PK\x03\x04 cut"})
    [(kind, [path])] = kinds_at(outer).items()
    assert (kind, path.name) == ("transcript", "talk.txt")
    assert origin_of(path) == f"{outer}: chats/inner.zip: talk.txt"
    assert "left out sent.zip, a ZIP that cannot be opened" in capsys.readouterr().err


def test_pages_that_lie_beside_chats_are_counted(tmp_path, capsys):
    (tmp_path / "talk.txt").write_text("Ann: Hi\nBen: Ho\n")
    (tmp_path / "messages.html").write_text("<!DOCTYPE html>")
    assert list(kinds_at(tmp_path)) == ["transcript"]
    assert "left out 1 web pages" in capsys.readouterr().err
