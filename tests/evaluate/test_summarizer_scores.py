"""Scores of summarizers: against references, for truth, and for facts told long ago."""

import dataclasses
import json

import pytest
from conftest import gistchat, make_dialogue

from gistchat.dialogue.turns import Turn
from gistchat.evaluate import summarizer_scores as score_module
from gistchat.evaluate.planted_dialogues import DISTANCES, FACTS, planted_dialogue, remembered
from gistchat.evaluate.summarizer_scores import BASELINES, score, score_table
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prompts.token_count import token_counter
from gistchat.recipe.schema import ContextConfig, SummaryConfig


@pytest.fixture(scope="module")
def count():
    return token_counter(gpt2_tokenizer())


def with_reference(number):
    dialogue = make_dialogue(number, turns=10)
    gold = [{"speaker": "", "text": f"{dialogue.turns[0].text} {dialogue.turns[1].text}"}]
    return dataclasses.replace(dialogue, meta={"gold": gold})


def methods(*names):
    return {name: SummaryConfig(method=name) for name in names}


def test_planted_dialogues_tell_facts_once_and_early():
    for number in range(20):
        one = planted_dialogue(number)
        assert len(one.turns) == one.planted + max(DISTANCES)
        assert len(set(one.answers)) == FACTS
        told = " ".join(turn.text for turn in one.turns[: one.planted])
        later = " ".join(turn.text for turn in one.turns[one.planted :])
        assert remembered(one.answers, told) == FACTS
        assert remembered(one.answers, later) == 0
    assert planted_dialogue(3) == planted_dialogue(3) != planted_dialogue(4)
    assert remembered(("4", "Rex"), "I have 14 dogs, rex!") == 1


def test_the_latest_turns_alone_forget_and_the_first_sentences_do_not(tmp_path, count):
    values = score([make_dialogue(0)], methods("lead", "recent"), ContextConfig(budget=96), count, tmp_path, 5)
    rows = values["rows"]
    assert rows["latest turns only"]["rolled 50"]["value"] == rows["latest turns only"]["rolled 200"]["value"] == 0
    assert rows["lead"]["picked 200"]["value"] > 60
    assert rows["lead"]["rolled 200"]["value"] >= 20
    assert rows["recent"]["picked 200"]["value"] == 0


def test_rouge_and_truth_of_what_is_picked(tmp_path, count):
    dialogues = [with_reference(i) for i in range(8)]
    values = score(dialogues, methods("lead", "recent"), ContextConfig(budget=64), count, tmp_path, 0)
    rows = values["rows"]
    assert set(rows) == {*BASELINES, "lead", "recent"}
    for row in rows.values():
        assert row["faithful"]["value"] == 100  # nothing is made up where sentences are taken over
        assert 0 < row["length"]["value"] < 100
        for name in ("rouge1", "rouge2", "rougeL"):
            assert 0 <= row[name]["low"] <= row[name]["value"] + 1e-4  # resamples are 32-bit floats
            assert row[name]["value"] <= row[name]["high"] + 1e-4 <= 100 + 1e-3
    assert rows["lead"]["rougeL"]["low"] > rows["recent"]["rougeL"]["high"]  # the references are of the first turns
    lines = score_table(values).splitlines()
    assert lines[4].startswith("| lead")
    without = score([make_dialogue(0)], methods("lead"), ContextConfig(), count, tmp_path, 0)
    assert "rouge1" not in without["rows"]["lead"]


def test_baselines_take_whole_turns():
    turns = [Turn("a", "x" * n) for n in (5, 9, 1, 7, 8)]
    assert [len(turn.text) for turn in BASELINES["lead-3"](turns)] == [5, 9, 1]
    assert [len(turn.text) for turn in BASELINES["longest-3"](turns)] == [9, 7, 8]


def test_scoring_goes_on_where_it_was_stopped(tmp_path, count, monkeypatch):
    dialogues = [with_reference(i) for i in range(5)]
    monkeypatch.setattr(score_module, "CHUNK", 2)
    whole = score(dialogues, methods("lead"), ContextConfig(), count, tmp_path, 0)
    [path] = tmp_path.glob("scored-lead-*.jsonl")
    path.write_bytes(path.read_bytes()[:-30])  # torn in the last line
    asked = []
    made = score_module.make_summarizer

    def counting(*arguments):
        summarizer = made(*arguments)
        update = summarizer.update
        summarizer.update = lambda jobs: asked.extend(jobs) or update(jobs)
        return summarizer

    monkeypatch.setattr(score_module, "make_summarizer", counting)
    again = score(dialogues, methods("lead"), ContextConfig(), count, tmp_path, 0)
    assert len(asked) == 1
    for values in (whole, again):
        for row in values["rows"].values():
            row.pop("seconds")
    assert again == whole


def test_score_from_the_command_line(tmp_path):
    path = tmp_path / "talks.jsonl"
    path.write_bytes(b"".join(with_reference(i).to_line() for i in range(6)))
    prepared = gistchat("prepare", "jsonl", "--from", "talks.jsonl", "--out", "p", cwd=tmp_path)
    assert prepared.returncode == 0, prepared.stderr
    words = ["--score", "--method", "lead,textrank", "--planted", "2", "--items", "4", "--tokens", "50"]
    done = gistchat("summarize", "p", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "| textrank |" in done.stdout
    assert "| lead-3 |" in done.stdout
    values = json.loads((tmp_path / "p" / "scores" / "scores.json").read_text())
    assert (values["dialogues"], values["planted"], values["budget"]) == (4, 2, 50)
