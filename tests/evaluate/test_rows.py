"""What an evaluation left is read as it was left, or the file is named."""

import json

import pytest

from gistchat.errors import UserError
from gistchat.evaluate.judge import judge_run
from gistchat.evaluate.rows import MARKER, read_metrics, read_rows, write_rows
from gistchat.files import write_json
from gistchat.stages import mark_done

ROWS = [{"id": f"d{i}#2", "dialogue": f"d{i}", "model": "tuned", "strategy": "last", "gold": "Grüße"} for i in range(5)]


@pytest.fixture
def run(tmp_path):
    """The files of an evaluation."""
    for name in ("predictions.jsonl", "probe.jsonl"):
        write_rows(tmp_path / name, ROWS)
    write_json(tmp_path / "metrics.json", {"resamples": 100, "results": []})
    files = [tmp_path / name for name in ("predictions.jsonl", "probe.jsonl", "metrics.json")]
    mark_done(tmp_path / MARKER, "key", files)
    return tmp_path


def by_line(change):
    return lambda data: b"".join(change(data.splitlines(keepends=True)))


CHANGES = {
    "a word": lambda data: data.replace("Grüße".encode(), b"Hallo", 1),
    "a space": lambda data: data.replace(b": ", b":  ", 1),
    "a line twice": by_line(lambda lines: [*lines, lines[0]]),
    "a line less": by_line(lambda lines: lines[:-1]),
    "swapped lines": by_line(lambda lines: [lines[1], lines[0], *lines[2:]]),
    "Windows": lambda data: data.replace(b"\n", b"\r\n"),
    "empty": lambda data: b"",
}
BROKEN = {
    "cut off": (lambda data: data[:-30], 5),
    "byte order mark": (lambda data: b"\xef\xbb\xbf" + data, 1),
    "UTF-16": (lambda data: data.decode().encode("utf-16"), 1),
    "Latin-1": (lambda data: data.decode().encode("latin-1"), None),
    "zeros": (lambda data: data[:100] + bytes(50) + data[150:], 2),
    "rubbish": (by_line(lambda lines: [*lines[:2], b"rubbish\n", *lines[2:]]), 3),
    "nested": (by_line(lambda lines: [*lines, b"[" * 100_000 + b"\n"]), 6),
}
ROW_OF_NO_EVALUATION = {
    "a number": b"5\n",
    "a list": b"[]\n",
    "without fields": b"{}\n",
    "of another kind": b'{"id": "x", "reply": "Yes."}\n',
}


@pytest.mark.parametrize("name", ["predictions.jsonl", "probe.jsonl"])
def test_rows_come_back_as_they_were_left(run, name, capsys):
    assert read_rows(run / name) == ROWS
    assert read_metrics(run)["resamples"] == 100
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["predictions.jsonl", "probe.jsonl"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_was_changed_is_named(run, name, change):
    (run / name).write_bytes(change((run / name).read_bytes()))
    with pytest.raises(UserError, match=rf"{name}: changed or damaged since it was written"):
        read_rows(run / name)


@pytest.mark.parametrize(("change", "line"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("marked", [True, False])
def test_a_file_that_cannot_be_read_is_named_with_its_line(run, change, line, marked):
    if not marked:
        (run / MARKER).unlink()
    path = run / "predictions.jsonl"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=rf"predictions\.jsonl:{line or 1}: not valid JSON") as error:
        read_rows(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("row", ROW_OF_NO_EVALUATION.values(), ids=ROW_OF_NO_EVALUATION)
def test_lines_that_are_no_rows_are_named(run, row):
    (run / MARKER).unlink()
    with (run / "predictions.jsonl").open("ab") as file:
        file.write(row)
    with pytest.raises(UserError, match=r"predictions\.jsonl:6: not a row of an evaluation"):
        read_rows(run / "predictions.jsonl")


@pytest.mark.parametrize("marker", [None, "", "[]", '{"key": "k"}', '{"key": "k", "files": {}}', '{"files": 3}'])
def test_that_a_file_cannot_be_checked_is_said(run, marker, capsys):
    """As of runs of earlier versions, or a file that was copied alone."""
    (run / MARKER).unlink() if marker is None else (run / MARKER).write_text(marker)
    assert read_rows(run / "probe.jsonl") == ROWS
    assert "probe.jsonl: used unchecked, as evaluated.json has no hash of it\n" in capsys.readouterr().err


def test_missing_files_are_named(run):
    (run / "probe.jsonl").unlink()
    with pytest.raises(UserError, match=r"probe\.jsonl: no such file"):
        read_rows(run / "probe.jsonl")
    (run / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"metrics\.json: no such file"):
        read_metrics(run)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"resamples": "many"}', '{"resamples": 100'])
@pytest.mark.parametrize("marked", [True, False])
def test_metrics_that_are_none(run, content, marked):
    if not marked:
        (run / MARKER).unlink()
    (run / "metrics.json").write_text(content)
    with pytest.raises(UserError, match=r"metrics\.json.*(not valid JSON|changed or damaged|not the metrics)"):
        read_metrics(run)


def test_a_judge_refuses_predictions_that_were_edited(run):
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    rows[3]["gold"] = "Edited."
    write_rows(run / "predictions.jsonl", rows)
    with pytest.raises(UserError, match=r"predictions\.jsonl: changed or damaged"):
        judge_run(run, "tuned last", "tuned hybrid", "http://127.0.0.1:9/v1", "m")
