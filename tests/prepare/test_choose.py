"""What of people's chats becomes dialogues: gaps, names, dates, splits by time."""

import json
import random
from datetime import datetime, timedelta

import pytest

from gistchat.dialogue.jsonl import load_dialogues
from gistchat.dialogue.turns import SPLITS, Dialogue, Turn
from gistchat.errors import UserError
from gistchat.prepare.choose import divide
from gistchat.prepare.prepare import prepare
from gistchat.recipe.schema import DataConfig, MixConfig

BEGIN = datetime(2024, 3, 5, 9)


def export(messages) -> str:
    """A WhatsApp export of (hours since the beginning, name, text)."""
    stamped = [(BEGIN + timedelta(hours=hours), name, text) for hours, name, text in messages]
    return "".join(f"{moment:%d.%m.%y, %H:%M} - {name}: {text}\n" for moment, name, text in stamped)


def sessions(count, turns=6, hours=24.0, seed=0):
    rng = random.Random(seed)
    return [
        (session * hours + turn / 60, "Ben" if turn % 2 else "Ann", f"session {session}, word {rng.randrange(10**6)}")
        for session in range(count)
        for turn in range(turns)
    ]


def prepared(tmp_path, text, name="chat.txt", corpus="whatsapp", **settings):
    (tmp_path / name).write_text(text)
    out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
    report, _ = prepare(DataConfig(corpus=corpus, source=str(tmp_path / name), **settings), out)
    return {split: list(load_dialogues(out / f"{split}.jsonl")) for split in SPLITS}, report


def all_of(splits):
    return [dialogue for split in SPLITS for dialogue in splits[split]]


def test_a_dialogue_ends_at_a_gap_and_not_at_midnight(tmp_path):
    evening = [(14.9, "Ann", "still up?"), (15.05, "Ben", "yes"), (15.2, "Ann", "good"), (15.3, "Ben", "night")]
    morning = [(24, "Ann", "awake?"), (24.1, "Ben", "no"), (27, "Ann", "and now?"), (27.2, "Ben", "yes")]
    splits, _ = prepared(tmp_path, export([*evening, *morning]))
    assert sorted(len(dialogue.turns) for dialogue in all_of(splits)) == [4, 4]
    assert [turn.date for turn in splits["train"][0].turns][:2] == ["2024-03-05 23:54:00", "2024-03-06 00:03:00"]
    splits, _ = prepared(tmp_path, export([*evening, *morning]), gap=2)
    assert sorted(len(dialogue.turns) for dialogue in all_of(splits)) == [2, 2, 4]
    splits, _ = prepared(tmp_path, export([*evening, *morning]), gap=0)
    assert [len(dialogue.turns) for dialogue in all_of(splits)] == [8]


def test_the_latest_dialogues_are_held_out_whatever_the_order_of_the_file(tmp_path):
    messages = sessions(40)
    splits, _ = prepared(tmp_path, export(messages))
    dates = {split: [dialogue.turns[0].date for dialogue in splits[split]] for split in SPLITS}
    assert [len(dates[split]) for split in SPLITS] == [34, 2, 4]
    assert max(dates["train"]) < min(dates["validation"]) < max(dates["validation"]) < min(dates["test"])
    newest_first, _ = prepared(tmp_path, export(messages[::-1]))
    texts = [[turn.text for turn in dialogue.turns] for dialogue in splits["test"]]
    assert [[turn.text for turn in dialogue.turns] for dialogue in newest_first["test"]] == texts


def test_a_turn_without_a_date_stays_with_the_one_before_it():
    turns = [("2024-01-01", "a"), ("", "b"), ("2024-01-03", "d"), ("not a date", "e"), ("2024-01-01 01:00", "c")]
    chat = Dialogue("x", tuple(Turn("Ann", text, date) for date, text in turns))
    assert [[turn.text for turn in part.turns] for part in divide(chat, 4)] == [["a", "b", "c"], ["d", "e"]]


def test_one_long_chat_fills_three_splits(tmp_path):
    messages = [(minute / 60, "Ben" if minute % 2 else "Ann", f"word {minute}") for minute in range(400)]
    splits, report = prepared(tmp_path, export(messages))
    assert [len(splits[split]) for split in SPLITS] == [17, 1, 2]
    last = [int(dialogue.turns[-1].text.split()[1]) for split in SPLITS for dialogue in splits[split]]
    assert last[17] > max(last[:17])
    assert max(last) == last[19] == 399
    assert sum(len(dialogue.turns) for dialogue in all_of(splits)) == 400
    assert len({dialogue.id for dialogue in all_of(splits)}) == 20
    assert "too few dialogues for three splits: divided into 20, one after another" in report["left_out"]
    assert report["read"] == report["kept"] == 20
    whole, _ = prepared(tmp_path, export(messages), gap=0)
    assert [len(whole[split]) for split in SPLITS] == [1, 0, 0]


def test_a_table_that_is_one_chat_is_divided_at_its_gaps(tmp_path):
    stamped = [(BEGIN + timedelta(hours=hours), name, text) for hours, name, text in sessions(9)]
    stamped.insert(12, (stamped[11][0] + timedelta(hours=8), "Ann", "anyone?"))  # alone, so with those that follow
    rows = "".join(f"{moment:%Y-%m-%d %H:%M},{name},{text.replace(',', '')}\n" for moment, name, text in stamped)
    splits, _ = prepared(tmp_path, f"date,name,message\n{rows}", "chat.csv", "table")
    assert [len(splits[split]) for split in SPLITS] == [7, 1, 1]
    assert sorted(len(dialogue.turns) for dialogue in all_of(splits)) == [6] * 9  # "anyone?" is joined to the next
    assert splits["test"][0].turns[0].text.startswith("session 8")


def test_a_short_chat_is_not_cut(tmp_path):
    splits, _ = prepared(tmp_path, export([(i / 60, "AB"[i % 2], f"word {i}") for i in range(29)]))
    assert [len(splits[split]) for split in SPLITS] == [1, 0, 0]


def test_ids_are_unique_across_files(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "_chat.txt").write_text(export(sessions(4, seed=name)))
    prepare(DataConfig(corpus="whatsapp", source=str(tmp_path / "in")), tmp_path / "out")
    ids = [dialogue.id for split in SPLITS for dialogue in load_dialogues(tmp_path / "out" / f"{split}.jsonl")]
    assert len(ids) == len(set(ids)) == 12


def test_whose_replies_are_learned(tmp_path):
    splits, report = prepared(tmp_path, export(sessions(10)), answer_as=["Ann"])
    assert {dialogue.scored_speakers for dialogue in all_of(splits)} == {("Ann",)}
    assert sum(counts["replies"] for counts in report["splits"].values()) == 20
    with pytest.raises(UserError, match=r"data\.answer_as \(--as\): 'Eve' does not speak; there are: Ann, Ben"):
        prepared(tmp_path, export(sessions(10)), answer_as=["Eve"])


def test_whose_turns_are_kept(tmp_path):
    messages = [
        (hours, {2: "Eve", 4: "Eve"}.get(i % 6, name), text) for i, (hours, name, text) in enumerate(sessions(6))
    ]
    splits, report = prepared(tmp_path, export(messages), speakers=["Ann", "Ben"])
    assert {turn.speaker for dialogue in all_of(splits) for turn in dialogue.turns} == {"Ann", "Ben"}
    assert report["left_out"] == {"turns by other speakers (--speakers)": 12}
    assert report["speakers"]["Eve"] == 0
    with pytest.raises(UserError, match=r"'Max' does not speak; there are: Ann, Eve, Ben|there are: Ann, Ben, Eve"):
        prepared(tmp_path, export(messages), speakers=["Max"])


def test_names_are_taken_as_the_file_and_as_the_report_write_them(tmp_path):
    number = "+49 170 1234567"
    messages = [(hours, number if name == "Ben" else name, text) for hours, name, text in sessions(5)]
    splits, report = prepared(tmp_path, export(messages))
    shown = next(name for name in report["speakers"] if name.startswith("person "))
    assert number not in json.dumps(report["speakers"])
    for name in (number, shown):
        splits, report = prepared(tmp_path, export(messages), answer_as=[name])
        assert {dialogue.scored_speakers for dialogue in all_of(splits)} == {(shown,)}
        splits, report = prepared(tmp_path, export(messages), rename=[f"{name}=Ben"])
        assert report["speakers"] == {"Ann": 15, "Ben": 15}


def test_two_names_of_one_person_become_one(tmp_path):
    messages = [(hours, "Annie" if hours > 48 and name == "Ann" else name, text) for hours, name, text in sessions(5)]
    _, report = prepared(tmp_path, export(messages), rename=["Annie=Ann", " Ben = Benjamin "])
    assert report["speakers"] == {"Ann": 15, "Benjamin": 15}


def test_what_was_said_before_a_day_is_left_out(tmp_path):
    splits, report = prepared(tmp_path, export(sessions(10)), from_date="2024-03-11")
    assert min(turn.date for dialogue in all_of(splits) for turn in dialogue.turns).startswith("2024-03-11")
    assert report["left_out"] == {"turns before --from-date": 36}
    undated = "\n\n".join("Ann: hi\nBen: oh, hello" for _ in range(3))
    with pytest.raises(UserError, match="no dialogue is left"):
        prepared(tmp_path, undated, corpus="transcript", from_date="2024-03-11")


def test_names_become_numbers_everywhere(tmp_path):
    messages = [
        (0, "Ann Smith", "I am Ann Smith, call me ann."),
        (0.1, "Ben", "Hi Ann! Annual leave?"),
        (0.2, "Ann Smith", "@Ben yes, Ben's idea"),
        (0.3, "Ben", "With Eve?"),
        (30, "Eve", "Hi"),
        (30.1, "Ben", "Hello Eve"),
    ]
    splits, report = prepared(tmp_path, export(messages), "Chat with Ann.txt", anonymise=True)
    lines = [f"{turn.speaker}: {turn.text}" for dialogue in all_of(splits) for turn in dialogue.turns]
    assert lines == [
        "Person 1: I am Person 1, call me Person 1.",
        "Person 2: Hi Person 1! Annual leave?",
        "Person 1: Person 2 yes, Person 2's idea",
        "Person 2: With Person 3?",
        "Person 3: Hi",
        "Person 2: Hello Person 3",
    ]
    assert not {name for dialogue in all_of(splits) for name in ("Ann", "Ben") if name in dialogue.id}
    assert report["speakers"] == {"Person 2": 3, "Person 1": 2, "Person 3": 1}


def test_earlier_and_short_names_become_numbers_too(tmp_path):
    messages = [
        (0, "Ann", "Hi Cy!"),
        (0.1, "Cy", "Hi Annie, a cy pres?"),
        (0.2, "Annie", "你好李雷"),
        (0.3, "李雷", "Hm"),
    ]
    splits, report = prepared(tmp_path, export(messages), rename=["Annie=Ann"], anonymise=True)
    texts = [turn.text for turn in all_of(splits)[0].turns]
    assert texts == ["Hi Person 2!", "Hi Person 1, a cy pres?", "你好Person 3", "Hm"]
    assert "Annie" not in json.dumps(report)


def test_who_is_renamed_speaks(tmp_path):
    with pytest.raises(UserError, match="'Anni' does not speak; there are: Ann, Ben"):
        prepared(tmp_path, export([(0, "Ann", "Hi"), (0.1, "Ben", "Ho")]), rename=["Anni=Ann"])


def test_where_nothing_is_left_what_was_left_out_is_said(tmp_path):
    with pytest.raises(UserError, match=r"no dialogue is left.*; left out: 2 turns before --from-date"):
        prepared(tmp_path, export([(0, "Ann", "Hi"), (0.1, "Ben", "Ho")]), from_date="2030-01-01")


def test_a_system_message_is_cleaned_like_turns(tmp_path):
    messages = [
        {"role": "system", "content": "Ask me at ann@example.org.\n\nBe  kind. "},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
    ]
    text = json.dumps({"messages": messages}) + "\n"
    splits, _ = prepared(tmp_path, text, "a.jsonl", "chat", scrub="yes")
    [dialogue] = all_of(splits)
    assert dialogue.preamble == "Ask me at [email].\n\nBe  kind."
    assert dialogue.scored_speakers == ("assistant",)


def test_messages_in_a_row_stay_lines_if_that_is_asked_for(tmp_path):
    text = export([(0, "Ann", "one"), (0.01, "Ann", "two"), (0.02, "Ben", "three")])
    for keep, first in ((False, "one two"), (True, "one\ntwo")):
        splits, _ = prepared(tmp_path, text, keep_lines=keep)
        assert [turn.text for turn in splits["train"][0].turns] == [first, "three"]


def test_a_mix_divides_and_holds_out_each_part(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "chat.txt").write_text(export(sessions(10)))
    talks = [
        {"messages": [{"role": "user", "content": f"Hi {i}"}, {"role": "assistant", "content": "Hm"}]} for i in range(9)
    ]
    (tmp_path / "in" / "talks.jsonl").write_text("".join(json.dumps(talk) + "\n" for talk in talks))
    place = str(tmp_path / "in")
    report, _ = prepare(DataConfig(mix=[MixConfig("whatsapp", place), MixConfig("chat", place)]), tmp_path / "out")
    assert report["corpora"] == {"whatsapp": {"read": 10, "kept": 10}, "chat": {"read": 9, "kept": 9}}
    assert [counts["dialogues"] for counts in report["splits"].values()] == [15, 2, 2]


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_chat_in_several_files_is_one_chat(tmp_path, newest_first):
    """As Facebook writes them: the newest message first, in the first of the files."""
    folder = tmp_path / "inbox" / "ann_1"
    folder.mkdir(parents=True)
    messages = [
        {
            "sender_name": "Ann" if i % 2 else "Ben",
            "timestamp_ms": 1709629200000 + i // 2 * 60_000,
            "content": f"word {i}",
        }
        for i in range(30)
    ]
    for number, part in enumerate((messages[20:], messages[10:20], messages[:10]), 1):
        value = {
            "participants": [{"name": "Ann"}, {"name": "Ben"}],
            "messages": part[::-1] if newest_first else part,
            "title": "Ann",
            "thread_path": "inbox/ann_1",
        }
        (folder / f"message_{number}.json").write_text(json.dumps(value))
    prepare(DataConfig(corpus="facebook", source=str(tmp_path / "inbox"), gap=0), tmp_path / "out")
    [dialogue] = load_dialogues(tmp_path / "out" / "train.jsonl")
    assert [turn.text for turn in dialogue.turns] == [f"word {i}" for i in range(30)]
