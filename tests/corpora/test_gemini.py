"""Gemini's questions and answers in Google's Takeout."""

import json

import pytest

from gistchat.corpora import gemini
from gistchat.corpora.kinds import head_of
from gistchat.dialogue.turns import Dialogue, LeftOut


def activity(title, minute, html=None, **rest):
    value = {"header": "Gemini Apps", "title": title, "time": f"2024-01-15T10:{minute:02}:00.000Z"}
    return value | {"products": ["Gemini Apps"]} | ({"safeHtmlItem": [{"html": html}]} if html else {}) | rest


def read(path, values):
    path.write_text(json.dumps(values))
    assert gemini.looks_like(head_of(path))
    found = list(gemini.read(path))
    said = [[(turn.speaker, turn.text) for turn in entry.turns] for entry in found if isinstance(entry, Dialogue)]
    return said, {entry.what: entry.count for entry in found if isinstance(entry, LeftOut)}


@pytest.mark.parametrize(
    ("prefix", "product"),
    [
        ("Prompted ", "Gemini Apps"),
        ("Asked ", "Bard"),
        ("送信したメッセージ: ", "Gemini アプリ"),
        ("Has dicho: ", "Apps de Gemini"),
        ("", "Gemini"),
    ],
)
def test_every_question_is_a_dialogue(tmp_path, prefix, product):
    html = "<p>It is <b>green</b> &amp; hot.</p><ul><li>One</li><li>Two</li></ul>"
    values = [activity(f"{prefix}Tea?", 5, html, header=product, products=[product]), activity("Cleared feedback", 1)]
    said, left_out = read(tmp_path / "MyActivity.json", values)
    assert said == [[("user", "Tea?"), ("assistant", "It is green & hot.\n- One\n- Two")]]
    assert left_out == {"questions without an answer, and other activities": 1}


def test_questions_of_one_conversation_are_one_dialogue(tmp_path):
    link = {"titleUrl": "https://gemini.google.com/app/c/abc"}
    values = [
        activity("Prompted Second?", 9, "<p>Two</p>", **link),
        activity("Prompted Other?", 5, "<p>O</p>", titleUrl=None, attachedFiles=["a.png"]),
        activity("Prompted First?", 1, "<p>One</p>", **link),
        {"header": "Search", "title": "Searched for gemini", "time": "x", "products": ["Search"]},
    ]
    said, left_out = read(tmp_path / "MyActivity.json", values)
    assert [[text for _, text in dialogue] for dialogue in said] == [
        ["First?", "One", "Second?", "Two"],
        ["Other?", "O"],
    ]
    assert left_out == {"attached files and pictures": 1, "activities of other services": 1}


def test_other_activities_are_not_of_this_kind(tmp_path):
    path = tmp_path / "MyActivity.json"
    path.write_text(json.dumps([{"header": "Search", "title": "Searched for x", "time": "x", "products": ["Search"]}]))
    assert not gemini.looks_like(head_of(path))
