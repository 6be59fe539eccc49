"""Chats with assistants and characters, in the layouts that their services and programs write."""

import json
from pathlib import Path

import pytest

from gistchat.corpora import characterai, chat_export, chatgpt, claude, koboldcpp, preferences, sillytavern
from gistchat.corpora.kinds import head_of
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, parse_dialogue
from gistchat.errors import UserError
from gistchat.prepare.clean import Batch, CleaningRules, clean_batch

MODULES = (chatgpt, claude, sillytavern, characterai, koboldcpp, preferences)


def write(path: Path, value) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def jsonl(path: Path, values) -> Path:
    return write(path, "".join(json.dumps(value) + "\n" for value in values))


def read(module, path: Path) -> tuple[list[Dialogue], dict[str, int]]:
    """Dialogues and what was left out; the file is of this kind and of no other."""
    head = head_of(path)
    expected = [] if module is chat_export else [module]
    assert [kind for kind in MODULES if kind.looks_like(head)] == expected
    assert module.looks_like(head)
    found = list(module.CORPUS.read(path))
    left_out: dict[str, int] = {}
    for entry in found:
        assert not isinstance(entry, Malformed), str(entry)
        if isinstance(entry, LeftOut):
            left_out[entry.what] = left_out.get(entry.what, 0) + entry.count
    return [entry for entry in found if isinstance(entry, Dialogue)], left_out


def said(dialogue: Dialogue) -> list[tuple[str, str]]:
    return [(turn.speaker, turn.text) for turn in dialogue.turns]


def message(role: str, text, kind: str = "text", time: float = 0, **rest) -> dict:
    content = {"content_type": kind, "parts": text if isinstance(text, list) else [text]}
    value = {"author": {"role": role}, "content": content, "create_time": 1.7e9 + time, "recipient": "all"}
    return value | rest


def tree(*branches: tuple[str, str | None, dict | None], **rest) -> dict:
    mapping = {key: {"id": key, "parent": parent, "message": value, "children": []} for key, parent, value in branches}
    return {"title": "Tea", "create_time": 1.7e9, "mapping": mapping, "conversation_id": "c1"} | rest


TEA = (
    ("root", None, None),
    ("s", "root", message("system", "", metadata={"is_visually_hidden_from_conversation": True})),
    ("q", "s", message("user", "Tea?", time=1)),
    ("a1", "q", message("assistant", "Green.", time=2)),
    ("a2", "q", message("assistant", "Black.", time=3)),
)


def test_chatgpt_reads_the_path_that_was_shown(tmp_path):
    [one, two], left_out = read(
        chatgpt,
        write(tmp_path / "conversations.json", [tree(*TEA, current_node="a1"), tree(*TEA, current_node="gone")]),
    )
    assert said(one) == [("user", "Tea?"), ("assistant", "Green.")]
    assert said(two) == [("user", "Tea?"), ("assistant", "Black.")]  # the newest
    assert (one.id, one.scored_speakers, one.reply_indices()) == ("c1", ("assistant",), [1])
    assert one.turns[0].date == "2023-11-14 22:13:21"
    assert left_out == {chatgpt.BRANCHES: 2, chatgpt.HIDDEN: 2}


def test_chatgpt_leaves_out_tools_reasoning_and_pictures(tmp_path):
    picture = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"}
    about = {"about_user_message": "I live in Rome.", "about_model_message": "Be short."}
    hidden = {"is_visually_hidden_from_conversation": True, "user_context_message_data": about}
    steps = [
        message("user", "", "user_editable_context", metadata=hidden),
        message("user", [picture, "What is it?"], "multimodal_text"),
        message("assistant", "", "thoughts"),
        message("assistant", "search()", "code", recipient="browser"),
        message("tool", "a page", "tether_browsing_display"),
        message("assistant", "print(1)", recipient="python"),
        message("tool", "1", "execution_output"),
        message("assistant", "", "reasoning_recap"),
        message("assistant", "A cat."),
        message("assistant", "It sleeps【3†source】."),
    ]
    nodes = [(str(i), str(i - 1) if i else None, step) for i, step in enumerate(steps)]
    [dialogue], left_out = read(chatgpt, write(tmp_path / "one.json", tree(*nodes, current_node="9")))
    assert said(dialogue) == [("user", "What is it?"), ("assistant", "A cat."), ("assistant", "It sleeps.")]
    assert dialogue.meta == {"system": "I live in Rome.\nBe short."}
    assert left_out == {chatgpt.MEDIA: 1, chatgpt.REASONING: 2, chatgpt.TOOLS: 4}


def test_chatgpt_weights_marks_and_voice(tmp_path):
    marked = 'See |entity/["film","Dune","x"]!, |url/here/turn0! |cite/turn0search1!'
    marked = marked.translate({ord("|"): "\ue200", ord("/"): "\ue202", ord("!"): "\ue201"})
    heard = [{"content_type": "audio_transcription", "text": "Tea?"}, {"content_type": "audio_asset_pointer"}]
    steps = [
        message("user", heard, "multimodal_text"),
        message("assistant", "No.", weight=0),
        message("user", "Tea!"),
        message("assistant", "reasons", channel="analysis"),
        message("assistant", marked, weight=1.0, channel="final"),
    ]
    nodes = [(str(i), str(i - 1) if i else None, step) for i, step in enumerate(steps)]
    [dialogue], left_out = read(chatgpt, write(tmp_path / "one.json", tree(*nodes, current_node="4")))
    assert [text for _, text in said(dialogue)] == ["Tea?", "No.", "Tea!", "See Dune, here "]
    assert (dialogue.unscored, dialogue.reply_indices()) == ((1,), [3])
    assert left_out == {chatgpt.MEDIA: 1, chatgpt.REASONING: 1}


def test_chatgpt_with_nothing_where_something_is_usual(tmp_path):
    steps = [
        None,
        message("user", "x") | {"author": None},
        message("user", "x") | {"content": None},
        {"author": {"role": "user"}, "content": {"content_type": "text", "parts": None}, "metadata": None},
        {"author": {"role": "user"}, "content": {"content_type": "text", "parts": [None, "Tea?"]}, "create_time": None},
        message("assistant", "Green.", weight=None, recipient=None, metadata=None),
    ]
    nodes = [(str(i), str(i - 1) if i else None, step) for i, step in enumerate(steps)]
    value = tree(*nodes, current_node="5", title=None, conversation_id=None)
    [dialogue], _ = read(chatgpt, write(tmp_path / "one.json", value))
    assert said(dialogue) == [("user", "Tea?"), ("assistant", "Green.")]
    assert (dialogue.id, dialogue.reply_indices()) == ("one-0", [1])


def test_chatgpt_goes_on_after_a_broken_conversation(tmp_path):
    values = [tree(*TEA), {"mapping": 3}, tree(("x", "x", message("user", "Hi")), current_node="x")]
    found = list(chatgpt.CORPUS.read(write(tmp_path / "conversations.json", values)))
    assert [type(entry) for entry in found if not isinstance(entry, LeftOut)] == [Dialogue, Malformed, Dialogue]
    assert "entry 1: expected a conversation with 'mapping'" in str(next(e for e in found if isinstance(e, Malformed)))


@pytest.mark.parametrize("module", [chatgpt, claude])
def test_of_a_cut_export_comes_what_was_whole(tmp_path, module):
    messages = [claude_message(1, "human", "Hi"), claude_message(2, "assistant", "Hello")]
    whole = tree(*TEA, current_node="a1") if module is chatgpt else {"uuid": "c", "chat_messages": messages}
    path = write(tmp_path / "conversations.json", json.dumps([whole, whole])[:-90])
    results = module.CORPUS.read(path)
    assert isinstance(next(result for result in results if not isinstance(result, LeftOut)), Dialogue)
    with pytest.raises(UserError, match="cut off, as a JSON file ends with a closing bracket"):
        list(results)


@pytest.mark.parametrize(
    "value",
    [
        [{"mapping": {"a": {"message": True}}}],
        [{"conversation": [{"human": "x", "assistant": "y"}, 1.5]}],
        [{"messages": [], "request": {"messages": []}, "response": {"choices": [1]}}],
        [{"instruction": "x", "completions": [1]}],
        {"histories": {"histories": [{"msgs": None}, 3]}},
        {"gamestarted": None, "prompt": None, "actions": None},
    ],
)
def test_odd_values_do_not_stop_the_guess(tmp_path, value):
    head = head_of(write(tmp_path / "odd.json", value))
    for module in (*MODULES, chat_export):
        if module.looks_like(head):
            assert all(not entry.turns for entry in module.CORPUS.read(head.path) if isinstance(entry, Dialogue))


def claude_message(number: int, sender: str, text: str, parent: str | None = None, **rest) -> dict:
    value = {"uuid": f"m{number}", "sender": sender, "text": text, "created_at": f"2024-05-01T10:0{number}:00.000Z"}
    return value | ({"parent_message_uuid": parent} if parent else {}) | rest


def test_claude_of_three_versions(tmp_path):
    root = "00000000-0000-4000-8000-000000000000"
    old = [claude_message(1, "human", "Hi"), claude_message(2, "assistant", "Hello")]
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "One."},
        {"type": "tool_use", "name": "web"},
        {"type": "tool_result", "content": []},
        {"type": "text", "text": "Two."},
    ]
    pasted = [
        {"file_name": "paste.txt", "extracted_content": "my poem"},
        {"file_name": "a.pdf", "extracted_content": "x"},
    ]
    new = [
        claude_message(1, "human", "Look", content=[{"type": "text", "text": "Look"}], attachments=pasted),
        claude_message(2, "assistant", "One. not supported", content=parts, files=[]),
    ]
    branched = [
        claude_message(1, "human", "Hi", root),
        claude_message(2, "assistant", "Old", "m1"),
        claude_message(3, "assistant", "New", "m1"),
    ]
    values = [{"uuid": f"c{i}", "name": "x", "chat_messages": part} for i, part in enumerate((old, new, branched))]
    [one, two, three], left_out = read(claude, write(tmp_path / "conversations.json", values))
    assert said(one) == [("user", "Hi"), ("assistant", "Hello")]
    assert said(two) == [("user", "Look\nmy poem"), ("assistant", "One.\nTwo.")]
    assert said(three) == [("user", "Hi"), ("assistant", "New")]
    assert one.turns[1].date == "2024-05-01 10:02:00"
    assert (one.id, one.scored_speakers) == ("c0", ("assistant",))
    assert left_out == {"reasoning": 1, claude.TOOLS: 2, claude.FILES: 1, claude.BRANCHES: 1}
    single = write(tmp_path / "one.json", {**values[2], "current_leaf_message_uuid": "m2"})
    assert said(read(claude, single)[0][0]) == [("user", "Hi"), ("assistant", "Old")]


def line(name: str, text: str, user: bool = False, **rest) -> dict:
    return {"name": name, "is_user": user, "is_system": False, "mes": text} | rest


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("2023-11-12 @18h 31m 12s 345ms", "2023-11-12 18:31:12"),
        ("June 19, 2023 2:20pm", "2023-06-19 14:20:00"),
        (1700000000000, "2023-11-14 22:13:20"),
        ("2025-01-02T03:04:05.678Z", "2025-01-02 03:04:05"),
        ("2023-11-12@18h31m12s", "2023-11-12 18:31:12"),
    ],
)
def test_sillytavern_with_dates_of_all_versions(tmp_path, date, expected):
    about = {"user_name": "Ben", "character_name": "Iris", "create_date": "x", "chat_metadata": {}}
    lines = [
        about,
        line("Iris", "Hello {{user}}, I am {{char}}.", send_date=date),
        line("Ben", "Hi {{char}}", True, send_date=date),
        line("Iris", "old", swipes=["old", "chosen", "x"], swipe_id=1, send_date=date),
        line("Iris", "psst", is_system=True),
        line("System", "It rains.", extra={"type": "narrator"}),
    ]
    [dialogue], left_out = read(sillytavern, jsonl(tmp_path / "Iris.jsonl", lines))
    assert said(dialogue) == [("Iris", "Hello Ben, I am Iris."), ("Ben", "Hi Iris"), ("Iris", "chosen")]
    assert dialogue.scored_speakers == ("Iris",)
    assert dialogue.turns[0].date == expected
    assert sorted(left_out.values()) == [2, 2]


def test_sillytavern_groups_and_unused_names(tmp_path):
    about = {"user_name": "unused", "character_name": "unused", "chat_metadata": {"integrity": "x"}}
    talk = [line("Iris", "Hi"), line("Ben", "Yes?", True), line("Otto", "{{user}}, {{char}} here"), line("Otto", "")]
    for number, lines in enumerate(([about, *talk], talk)):  # old groups have no line about the chat
        [dialogue], left_out = read(sillytavern, jsonl(tmp_path / f"{number}.jsonl", lines))
        assert said(dialogue) == [("Iris", "Hi"), ("Ben", "Yes?"), ("Otto", "Ben, Otto here")]
        assert dialogue.scored_speakers == ("Iris", "Otto")
        assert left_out == {"messages without words": 1}


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}, {"training": False}, {"loss": False}])
def test_messages_that_are_not_trained_on(tmp_path, mark):
    talk = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "no", **mark}]
    talk += [{"from": "human", "value": "hm"}, {"from": "gpt", "value": "yes", "weight": 1}]
    [dialogue], _ = read(chat_export, jsonl(tmp_path / "c.jsonl", [{"conversations": talk}]))
    assert dialogue.scored_speakers == ("assistant",)
    assert (dialogue.unscored, dialogue.reply_indices()) == ((1,), [3])
    again = parse_dialogue(json.loads(dialogue.to_line()), "")
    assert again.reply_indices() == [3]
    with pytest.raises(ValueError, match="'unscored' must be a list of indices"):
        parse_dialogue(json.loads(dialogue.to_line()) | {"unscored": [4]}, "")


def test_a_merged_turn_is_unscored_where_its_last_part_is():
    turns = [{"speaker": s, "text": t} for s, t in zip("aabbba", ("x", "y", "1", "2", "\u200b", "z"), strict=True)]
    turns[4]["text"] = " \u200b"
    rules = CleaningRules(2, 0, False, 0)
    for unscored, replies in (([3], 1), ([2], 2), ([0], 2), ([3, 5], 0)):
        dialogue = parse_dialogue({"turns": turns, "unscored": unscored}, "d")
        [cleaned] = clean_batch(rules, Batch([dialogue], None, "f", "", ""))
        assert (cleaned.turns, cleaned.replies) == (3, replies)
        assert len(parse_dialogue(json.loads(cleaned.line), "").reply_indices()) == replies


ASKED = {"from": "human", "value": "Tea?"}
YES, NO = {"from": "gpt", "value": "Yes."}, {"from": "gpt", "value": "No."}


@pytest.mark.parametrize(
    "value",
    [
        {"instruction": "Tea?", "input": "", "output": "Yes."},
        {"prompt": "Tea?", "completion": "Yes."},
        {"prompt": "Tea?", "chosen": "Yes.", "rejected": "No."},
        {"instruction": "Tea?", "chosen": "Yes.", "rejected": "No."},
        {"chosen": "\n\nHuman: Tea?\n\nAssistant: Yes.", "rejected": "\n\nHuman: Tea?\n\nAssistant: No."},
        {"conversations": [ASKED], "chosen": YES, "rejected": NO},
        {
            "prompt": "Tea?",
            "chosen": [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "Yes."}],
            "rejected": [],
        },
        {
            "prompt": [{"role": "user", "content": "Tea?"}],
            "chosen": [{"role": "assistant", "content": "Yes."}],
            "rejected": [],
        },
    ],
)
def test_instructions_and_preferences(tmp_path, value):
    for path in (jsonl(tmp_path / "p.jsonl", [value] * 2), write(tmp_path / "p.json", [value] * 2)):
        [dialogue, _], left_out = read(preferences, path)
        assert said(dialogue) == [("user", "Tea?"), ("assistant", "Yes.")]
        assert dialogue.reply_indices() == [1]
        assert left_out == ({"replies that were rejected": 2} if "chosen" in value else {})


def test_alpaca_with_history_and_system(tmp_path):
    value = {"instruction": "Sum", "input": "1 2", "output": "3", "history": [["Hi", "Hello"]], "system": "Be kind."}
    [dialogue], _ = read(preferences, write(tmp_path / "a.json", [value]))
    assert [text for _, text in said(dialogue)] == ["Hi", "Hello", "Sum\n1 2", "3"]
    assert dialogue.meta == {"system": "Be kind."}


@pytest.mark.parametrize("label", ["label", "kto_tag"])
@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "Tea?", "completion": "Yes."},
        {"instruction": "Tea?", "input": "", "output": "Yes."},
        {"messages": [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "Yes."}]},
        {"conversations": [ASKED, YES]},
    ],
)
def test_replies_that_are_not_wanted(tmp_path, label, value):
    [dialogue], left_out = read(
        preferences, jsonl(tmp_path / "p.jsonl", [value | {label: True}, value | {label: False}])
    )
    assert said(dialogue) == [("user", "Tea?"), ("assistant", "Yes.")]
    assert left_out == {"replies that are not wanted": 1}


def test_preferences_of_openai_and_ultrafeedback(tmp_path):
    asked, yes = {"role": "user", "content": "Tea?"}, [{"role": "assistant", "content": "Yes."}]
    system, call = {"role": "system", "content": "Be kind."}, {"role": "assistant", "content": None, "tool_calls": []}
    no = [{"role": "assistant", "content": "No."}]
    openai = {"input": {"messages": [system, asked]}, "preferred_output": [call, *yes], "non_preferred_output": no}
    completions = [
        {"response": "No.", "overall_score": 1.5},
        {"response": "Yes.", "overall_score": 8},
        {"response": "?"},
    ]
    for value, rejected in ((openai, 1), ({"instruction": "Tea?", "completions": completions}, 2)):
        [dialogue], left_out = read(preferences, jsonl(tmp_path / "p.jsonl", [value]))
        assert said(dialogue) == [("user", "Tea?"), ("assistant", "Yes.")]
        assert left_out["replies that were rejected"] == rejected
        assert dialogue.meta == ({"system": "Be kind."} if value is openai else {})


def old_message(name: str, text: str, human: bool) -> dict:
    return {"src": {"name": name, "is_human": human}, "text": text}


def new_turn(name: str, human: bool, minute: int, *texts: str) -> dict:
    candidates = [{"candidate_id": str(i), "raw_content": text} for i, text in enumerate(texts)]
    author = {"name": name, "author_id": "x"} | ({"is_human": True} if human else {})
    date = f"2024-01-02T03:{minute:02}:00.123456Z"
    primary = str(len(texts) - 1)
    return {"author": author, "candidates": candidates, "primary_candidate_id": primary, "create_time": date}


def test_character_ai_old_and_new(tmp_path):
    msgs = [old_message("Iris", "Hi", False), old_message("Ben", "Yo", True), old_message("Iris", "So?", False)]
    old = {"info": {"character": {"name": "Iris"}}, "histories": {"histories": [{"external_id": "h1", "msgs": msgs}]}}
    turns = [new_turn("Iris", False, 1, "Hi"), new_turn("Ben", True, 2, "Yo"), new_turn("Iris", False, 3, "no", "So?")]
    for value in (old, {"turns": turns}, {"chats": [{"chat_id": "c", "turns": turns[::-1]}]}, [{"turns": turns}]):
        [dialogue], left_out = read(characterai, write(tmp_path / "c.json", value))
        assert said(dialogue) == [("Iris", "Hi"), ("Ben", "Yo"), ("Iris", "So?")]
        assert dialogue.scored_speakers == ("Iris",)
        assert left_out == ({} if value is old else {"other candidates for a reply, and deleted messages": 1})


def test_character_ai_leaves_out_what_was_not_shown(tmp_path):
    msgs = [old_message("Iris", "Hi", False), old_message("Iris", "x", False) | {"is_alternative": True}]
    msgs += [old_message("Ben", "x", True) | {"deleted": "2024"}, old_message("Ben", "Yo", True)]
    flat = [{"src__name": m["src"]["name"], "src__is_human": m["src"]["is_human"], **m, "src": "7"} for m in msgs]
    for value in ({"histories": [{"msgs": msgs}]}, {"messages": flat, "has_more": False}):
        [dialogue], left_out = read(characterai, write(tmp_path / "c.json", value))
        assert said(dialogue) == [("Iris", "Hi"), ("Ben", "Yo")]
        assert dialogue.scored_speakers == ("Iris",)
        assert left_out == {"other candidates for a reply, and deleted messages": 2}


def test_characters_reasons_are_left_out(tmp_path):
    lines = [line("Ben", "<think>I do</think>", True), line("Iris", "<think>\nhm\n</think>\nYes"), line("Iris", None)]
    [dialogue], _ = read(sillytavern, jsonl(tmp_path / "Iris.jsonl", lines))
    assert said(dialogue) == [("Ben", "<think>I do</think>"), ("Iris", "Yes")]
    story = {"gamestarted": True, "prompt": "You: Hi\n", "actions": ["Iris: <think>hm</think>Yo"], "memory": None}
    [dialogue], _ = read(koboldcpp, write(tmp_path / "story.json", story))
    assert said(dialogue) == [("You", "Hi"), ("Iris", "Yo")]


INSTRUCT = {"opmode": "4", "instruct_starttag": "\\n<|user|>\\n", "instruct_endtag": "\\n<|bot|>\\n"}


@pytest.mark.parametrize(
    ("prompt", "actions", "settings", "speakers"),
    [
        ("\n{{[INPUT]}}\nHi", ["\n{{[OUTPUT]}}\n", "Hello"], {"opmode": "4"}, ["user", "assistant"]),
        ("\n<|user|>\nHi", ["\n<|bot|>\nHello"], INSTRUCT, ["user", "assistant"]),
        ("You: Hi", ["\nIris: Hello"], {"opmode": "3", "chatname": "You", "chatopponent": "Iris"}, ["You", "Iris"]),
        ("You: Hi\n", ["KoboldAI: Hello"], None, ["You", "KoboldAI"]),
    ],
)
def test_koboldcpp(tmp_path, prompt, actions, settings, speakers):
    value = {"gamestarted": True, "prompt": prompt, "memory": "A shop.", "actions": actions, "savedsettings": settings}
    [dialogue], _ = read(koboldcpp, write(tmp_path / "story.json", value))
    assert said(dialogue) == list(zip(speakers, ("Hi", "Hello"), strict=True))
    assert dialogue.scored_speakers == (speakers[1],)
    assert dialogue.meta == {"system": "A shop."}


def test_a_story_is_no_chat(tmp_path):
    value = {"gamestarted": True, "prompt": "Once upon a time", "actions": [" there was a cat."]}
    [bad] = koboldcpp.CORPUS.read(write(tmp_path / "story.json", value))
    assert "not a chat" in str(bad)


def test_who_is_silent_in_a_dialogue_is_not_scored_in_it():
    turns = [{"speaker": s, "text": s} for s in "abac"]
    dialogue = parse_dialogue({"turns": turns, "targets": ["b", "c"]}, "d")
    part = Dialogue("d", dialogue.turns[:2], scored_speakers=("b", "c"))
    [cleaned] = clean_batch(CleaningRules(2, 0, False, 0), Batch([part], None, "f", "", ""))
    assert parse_dialogue(json.loads(cleaned.line), "").scored_speakers == ("b",)


@pytest.mark.parametrize(
    "value",
    [
        {"instruction": "Tea?", "input": "", "response": "Green."},
        {"instruction": "Tea?", "context": "", "response": "Green.", "category": "x"},
        {"system_prompt": "", "question": "Tea?", "response": "Green."},
        {"INSTRUCTION": "Tea?", "RESPONSE": "Green."},
        {"question": "Tea?", "answer": "Green."},
        {"prompt": "Tea?", "generation": "Green."},
        {"instruction": "Tea?", "chosen_response": "Green.", "rejected_response": "None."},
        {"instruction": "Tea?", "input": "", "output": ["Green.", "None."]},
    ],
)
def test_fields_of_instructions_have_many_names(tmp_path, value):
    [dialogue], left_out = read(preferences, jsonl(tmp_path / "x.jsonl", [value]))
    assert said(dialogue) == [("user", "Tea?"), ("assistant", "Green.")]
    rejected = "None." in json.dumps(value)
    assert left_out == ({"replies that were rejected": 1} if rejected else {})


def test_what_an_instruction_is_about_and_the_system_are_read(tmp_path):
    value = {"instruction": "Who won?", "context": "Rome won.", "response": "Rome", "system_prompt": "Be kind."}
    [dialogue], _ = read(preferences, jsonl(tmp_path / "x.jsonl", [value]))
    assert said(dialogue) == [("user", "Who won?\nRome won."), ("assistant", "Rome")]
    assert dialogue.meta == {"system": "Be kind."}


@pytest.mark.parametrize(("name", "mark"), [("x.csv", ","), ("x.csv", ";"), ("x.tsv", "\t")])
def test_questions_and_answers_in_a_table(tmp_path, name, mark):
    rows = [("Prompt", "Response"), ("Tea?", "Green."), ("Milk?", "No.")]
    dialogues, _ = read(preferences, write(tmp_path / name, "".join(mark.join(row) + "\n" for row in rows)))
    assert [said(dialogue)[1] for dialogue in dialogues] == [("assistant", "Green."), ("assistant", "No.")]


def test_turns_of_characters_without_anything_about_the_chat(tmp_path):
    turns = [
        {"author": {"name": name}, "candidates": [{"raw_content": text}]} for name, text in (("A", "x"), ("B", "y"))
    ]
    [dialogue], _ = read(characterai, write(tmp_path / "x.json", [turns]))
    assert said(dialogue) == [("A", "x"), ("B", "y")]


@pytest.mark.parametrize(("wanted", "not_wanted"), [(1, 0), ("true", "false"), (True, False), (1.0, 0.0)])
def test_labels_of_replies_may_be_numbers_or_words(tmp_path, wanted, not_wanted):
    values = [{"prompt": "Tea?", "completion": "Green.", "label": wanted}]
    values += [{"prompt": "Tea?", "completion": "None.", "label": not_wanted}]
    [dialogue], left_out = read(preferences, jsonl(tmp_path / "x.jsonl", values))
    assert said(dialogue) == [("user", "Tea?"), ("assistant", "Green.")]
    assert left_out == {"replies that are not wanted": 1}
    rows = f"prompt,completion,label\nTea?,Green.,{wanted}\nTea?,None.,{not_wanted}\n"
    [dialogue], left_out = read(preferences, write(tmp_path / "x.csv", rows))
    assert left_out == {"replies that are not wanted": 1}
