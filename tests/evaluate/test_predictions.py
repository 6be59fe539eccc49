"""Scores of a file of predictions: alignment, controls in their places, and the paper's own metric."""

import json

import numpy as np
import pytest
from conftest import gistchat

from gistchat.errors import UserError
from gistchat.evaluate import metrics
from gistchat.evaluate.external_predictions import read_texts, score_predictions

GOLD = [f"I think the {animal} was {place} the whole day." for animal in ("dog", "cat", "parrot", "horse", "fox")
        for place in ("in the garden", "near the river", "under our roof", "behind that wall")]  # fmt: skip
ASKED = [f"Where did you see it, number {i}?" for i in range(len(GOLD))]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def gold(tmp_path):
    return write_lines(tmp_path / "gold.jsonl", [{"id": str(i), "gold": text} for i, text in enumerate(GOLD)])


def near(text):
    return text.replace("I think", "Maybe")


def test_gold_beats_everything_and_controls_lose(tmp_path, gold):
    rows = [{"id": str(i), "reply": text, "last": last} for i, (text, last) in enumerate(zip(GOLD, ASKED, strict=True))]
    found = score_predictions(write_lines(tmp_path / "same.jsonl", rows), gold)
    results = found["results"]
    assert found["warnings"] == []
    for name in (name for name in metrics.against_gold() if name in metrics.METRICS):
        assert results["predictions"][name]["value"] == pytest.approx(100, abs=0.1)
        assert results["echo"][name]["value"] < results["shuffled gold"][name]["value"] < 95
        assert results["shuffled gold"][name]["minus predictions"]["high"] < 0


def test_rows_that_hold_both_are_read_for_what_each_file_is(tmp_path):
    rows = [{"id": None, "reply": near(text), "gold": text} for text in GOLD]
    path = write_lines(tmp_path / "both.jsonl", rows)
    assert 60 < score_predictions(path, path)["results"]["predictions"]["rouge1"]["value"] < 100


def test_lines_are_aligned_by_id_whatever_their_order(tmp_path, gold):
    rows = [{"id": str(i), "reply": near(text)} for i, text in enumerate(GOLD)]
    straight = score_predictions(write_lines(tmp_path / "a.jsonl", rows), gold)
    turned = score_predictions(write_lines(tmp_path / "b.jsonl", rows[::-1]), gold)
    for name in (name for name in metrics.against_gold() if name in metrics.METRICS):
        value = straight["results"]["predictions"][name]["value"]
        assert 60 < value < 100
        assert turned["results"]["predictions"][name]["value"] == pytest.approx(value)


@pytest.mark.parametrize(
    "fields",
    [
        lambda i, text: {"gold": [f"I saw number {i}.", text]},
        lambda i, text: {"references": [text, "I have no idea.", text]},
        lambda i, text: {"gold": f"I saw number {i}.", "golds": [text] if i % 2 else [text, "Who knows?"]},
        lambda i, text: {"gold": text, "reference": "I have no idea."},
    ],
)
def test_any_of_several_gold_replies_counts(tmp_path, fields):
    replies = write_lines(tmp_path / "p.jsonl", [{"id": str(i), "reply": text} for i, text in enumerate(GOLD)])
    rows = [{"id": str(i), **fields(i, text)} for i, text in enumerate(GOLD)]
    results = score_predictions(replies, write_lines(tmp_path / "gold.jsonl", rows))["results"]
    for name in (name for name in metrics.against_gold() if name in metrics.METRICS):
        assert results["predictions"][name]["value"] == pytest.approx(100, abs=0.1)
        assert results["shuffled gold"][name]["value"] < 95


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"gold": []}, "g.jsonl:1: 'gold' must be a text, or a list of texts"),
        ({"gold": ["x", 3]}, "g.jsonl:1: 'gold' must be a text, or a list of texts"),
        ({"references": {"a": "x"}}, "g.jsonl:1: 'references' must be a text, or a list of texts"),
        ({"text": ["x", "y"]}, "g.jsonl:1: 'text' must be a text$"),
    ],
)
def test_gold_replies_of_another_kind_are_named(tmp_path, row, message):
    replies = write_lines(tmp_path / "p.jsonl", [{"reply": "x"}])
    with pytest.raises(UserError, match=message):
        score_predictions(replies, write_lines(tmp_path / "g.jsonl", [row]))


def test_a_prediction_is_one_text(tmp_path, gold):
    with pytest.raises(UserError, match=r"p.jsonl: a prediction is one text, and '0' has several"):
        score_predictions(write_lines(tmp_path / "p.jsonl", [{"id": "0", "gold": ["x", "y"]}]), gold)


def test_a_metric_that_prefers_a_control_is_warned_of(tmp_path, gold):
    rows = [{"id": str(i), "reply": "Yes.", "last": last} for i, last in enumerate(ASKED)]
    found = score_predictions(write_lines(tmp_path / "a.jsonl", rows), gold)
    assert any(
        line.startswith("rouge1: the predictions are below the control 'shuffled gold'") for line in found["warnings"]
    )


def test_the_papers_files_and_its_metric(tmp_path, capsys):
    spaced = [text.replace(".", " .") for text in GOLD]
    (tmp_path / "gt.json").write_text(json.dumps({"ans": [*spaced, "left over ."]}))
    contexts = [f"a summary of it  {last}" for last in ASKED]
    (tmp_path / "model.json").write_text(json.dumps({"context": contexts, "ans": [near(text) for text in GOLD]}))
    assert read_texts(tmp_path / "model.json")[3].last == ASKED[3]
    done = gistchat("evaluate", "--predictions", "model.json", "--references", "gt.json", "--old-rouge", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "rouge1_old" in done.stdout
    assert "references left over: 1" in done.stderr
    found = json.loads((tmp_path / "model.scores.json").read_text())
    assert found["items"] == len(GOLD)
    assert found["results"]["predictions"]["rouge1_old"]["value"] > found["results"]["echo"]["rouge1_old"]["value"]


def test_metrics_by_hand():
    one = metrics.unigram_f1(["The cat, it sat!"], ["a cat sat down"])
    assert float(one(np.ones((1, 1)))[0]) == pytest.approx(100 * 2 * 2 / 6)
    repeated = metrics.self_repetition(["a b c a b c", "x y z"])
    assert float(repeated(np.ones((1, 2)))[0]) == pytest.approx(100 * 1 / 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": "1", "reply": "x"}\n{"id": "1", "reply": "y"}\n', "'1' is there twice"),
        ('{"id": "1", "reply": "x"}\n{half\n', "p.jsonl:2: "),
        ('{"id": "1", "answer": "x"}\n', "p.jsonl:1: none of the fields"),
        ('{"id": "99", "reply": "x"}\n', "no reference for 1 predictions, such as '99'"),
        ('{"reply": "x"}\n' * 30, "they do not align"),
        ('{"reply": "x"}\n{"id": "1", "reply": "y"}\n', "some replies have an id"),
        ("", "no reply in it"),
        ('{"context": ["a"], "ans": []}', "1 contexts and 0 answers"),
        ('{"context": null, "ans": ["a"]}', "'ans' and 'context' must be lists of strings"),
    ],
)
def test_files_that_do_not_fit_are_one_clear_line(tmp_path, gold, content, message):
    (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(UserError, match=message):
        score_predictions(tmp_path / "p.jsonl", gold)
    done = gistchat("evaluate", "--predictions", "p.jsonl", "--references", "gold.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.splitlines()[-1][:6]) == (1, "", "error:")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "p.scores.json").exists()
    with pytest.raises(UserError, match="no such file"):
        score_predictions(tmp_path / "none.jsonl", gold)


@pytest.mark.parametrize(
    ("prediction", "reference", "message"),
    [
        ({"reply": None, "gold": "a"}, {"gold": "a"}, r"p\.jsonl:1: 'reply' is null"),
        ({"prediction": None, "references": ["a"]}, {"gold": "a"}, r"p\.jsonl:1: 'prediction' is null"),
        ({"reply": "a"}, {"gold": None, "reply": "a"}, r"g\.jsonl:1: 'gold' is null"),
    ],
)
def test_no_gold_reply_stands_in_for_a_missing_one(tmp_path, prediction, reference, message):
    for name, value in (("p", prediction), ("g", reference)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(value))
    with pytest.raises(UserError, match=message):
        score_predictions(tmp_path / "p.jsonl", tmp_path / "g.jsonl")
