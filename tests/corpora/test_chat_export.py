"""Chats with roles: the layouts that people, services and programs for training write."""

import json

import pytest

from gistchat.corpora import chat_export
from gistchat.corpora.kinds import kind_of_file
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed


def user(text, **rest):
    return {"role": "user", "content": text} | rest


def assistant(text, **rest):
    return {"role": "assistant", "content": text} | rest


def of(speaker, text, **rest):
    return {"from": speaker, "value": text} | rest


def read(path, values):
    is_lines = path.suffix == ".jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values) if is_lines else json.dumps(values))
    assert kind_of_file(path) == "chat"
    return list(chat_export.CORPUS.read(path))


def said(dialogue):
    return [(turn.speaker, turn.text) for turn in dialogue.turns]


ASKED, ANSWERED = user("Tea?"), assistant("Green.")
EXPORTED = [{"role": "Prompt", "say": "Tea?"}, {"role": "Response", "say": "Green."}]
CALL = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [ASKED, ANSWERED]},
        [ASKED, ANSWERED],
        {"conversations": [of("human", "Tea?"), of("gpt", "Green.")]},
        {"conversations": [of("USER", "Tea?"), of("Assistant", "Green.")]},
        {"items": [of("human", "Tea?"), of("bard", "Green.", markdown=None)]},
        {"conversation": [ASKED, ANSWERED], "conversation_id": "x", "model": "m"},
        {"conversation": [{"human": "Tea?", "assistant": "Green."}], "category": "x"},
        {"metadata": {"title": "Tea", "powered_by": "ChatGPT Exporter"}, "messages": EXPORTED},
        {"custom_id": "1", "method": "POST", "url": "/v1/x", "body": {"model": "m", "messages": [ASKED, ANSWERED]}},
        {"request": {"messages": [ASKED]}, "response": {"choices": [{"message": ANSWERED}]}},
        {"request": {"messages": [ASKED]}, "response": {"body": {"choices": [{"message": ANSWERED}]}}},
        {"id": "1", "title": "Tea", "chat": {"models": [], "history": {}, "messages": [ASKED, ANSWERED]}},
        {"contents": [{"role": "user", "parts": [{"text": "Tea?"}]}, {"role": "model", "parts": [{"text": "Green."}]}]},
        {
            "messages": [
                user([{"type": "text", "text": "Tea?"}]),
                assistant([{"type": "output_text", "text": "Green."}]),
            ]
        },
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_layouts(tmp_path, value, suffix):
    one, two = read(tmp_path / f"c{suffix}", [value, value])
    for dialogue in (one, two):
        assert said(dialogue) == [("user", "Tea?"), ("assistant", "Green.")]
        assert dialogue.scored_speakers == ("assistant",)
        assert dialogue.reply_indices() == [1]


@pytest.mark.parametrize(
    ("value", "system"),
    [
        ({"messages": [{"role": "system", "content": "A"}, ASKED, ANSWERED]}, "A"),
        ({"messages": [ASKED, {"role": "developer", "content": "B"}, ANSWERED]}, "B"),
        (
            {"messages": [{"role": "System", "content": "A"}, ASKED, {"role": "system", "content": "B"}, ANSWERED]},
            "A\nB",
        ),
        ({"system": "A", "conversations": [of("human", "Tea?"), of("gpt", "Green.")], "tools": "[]"}, "A"),
        ({"system_prompt": "A", "messages": [{"role": "system", "content": "B"}, ASKED, ANSWERED]}, "A\nB"),
        ({"systemInstruction": {"parts": [{"text": "A"}]}, "messages": [ASKED, ANSWERED]}, "A"),
        ({"system": None, "messages": [ASKED, ANSWERED]}, None),
    ],
)
def test_system_messages_wherever_they_stand(tmp_path, value, system):
    [dialogue] = read(tmp_path / "c.jsonl", [value])
    assert said(dialogue) == [("user", "Tea?"), ("assistant", "Green.")]
    assert dialogue.meta.get("system") == system


def test_reasoning_and_tools_are_left_out(tmp_path):
    messages = [
        user("Tea?"),
        assistant(None, tool_calls=CALL),
        {"role": "tool", "tool_call_id": "1", "content": "green"},
        assistant("<think>\nhm, green\n</think>\n\nGreen."),
        user("What is </think>?"),
        assistant("hm, it is\n</think>\nAn end."),
        assistant("It ends <think>, as in <think>x</think>."),
        user("Really?"),
        assistant("Yes.", reasoning_content="hm"),
        user([{"type": "image_url", "image_url": {"url": "x"}}]),
        assistant('<details type="reasoning" done="true">\n<summary>x</summary>\n</details>\nNo.'),
        user("I <think> so"),
    ]
    *left_out, dialogue = read(tmp_path / "c.jsonl", [{"messages": messages}])
    assert said(dialogue) == [
        *[("user", "Tea?"), ("assistant", "Green."), ("user", "What is </think>?"), ("assistant", "An end.")],
        *[("assistant", "It ends <think>, as in <think>x</think>."), ("user", "Really?"), ("assistant", "Yes.")],
        *[("assistant", "No."), ("user", "I <think> so")],
    ]
    tools = LeftOut("messages without words (calls of tools, what they return, pictures)", 3)
    assert left_out == [tools, LeftOut("reasoning", 4)]


def test_people_keep_their_names_and_are_all_scored(tmp_path):
    [dialogue] = read(tmp_path / "c.jsonl", [{"conversations": [of("Ann", "Tea?"), of("Ben", "Green.")]}])
    assert said(dialogue) == [("Ann", "Tea?"), ("Ben", "Green.")]
    assert dialogue.scored_speakers is None


def test_a_broken_conversation_among_good_ones(tmp_path):
    good = {"messages": [ASKED, ANSWERED]}
    bad = [{"messages": [user("x"), None]}, {"messages": [{"role": None, "content": "x"}]}, 3]
    found = read(tmp_path / "c.json", [good, *bad, good])
    assert [type(entry) for entry in found] == [Dialogue, Malformed, Malformed, Malformed, Dialogue]


def test_a_list_of_messages_alone_is_one_chat(tmp_path):
    [dialogue] = read(tmp_path / "x.json", [ASKED, ANSWERED, ASKED, ANSWERED])
    assert said(dialogue) == [("user", "Tea?"), ("assistant", "Green.")] * 2


def test_axolotls_own_names_and_what_it_does_not_train_on(tmp_path):
    detail = [{"begin_offset": 0, "end_offset": 2, "train": False}]
    values = [{"role": "user", "value": "Tea?"}, {"role": "assistant", "value": "Green.", "train_detail": detail}]
    [dialogue] = read(tmp_path / "x.jsonl", [{"conversations": values}])
    assert said(dialogue) == [("user", "Tea?"), ("assistant", "Green.")]
    assert dialogue.unscored == (1,)


def test_logs_of_text_generation_webui(tmp_path):
    pairs = [["<|BEGIN-VISIBLE-CHAT|>", "Welcome!"], ["Tea?", "Green."]]
    [dialogue] = read(tmp_path / "x.json", {"internal": pairs, "visible": [["", "Welcome!"], ["Tea?", "Green."]]})
    assert said(dialogue) == [("assistant", "Welcome!"), ("user", "Tea?"), ("assistant", "Green.")]
