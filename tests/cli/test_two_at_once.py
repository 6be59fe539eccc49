"""Two commands at one output: the second waits and says so, or is refused with one line; what is there stays."""

import contextlib
import json
import threading

import pytest
from conftest import gistchat, make_dialogue

from gistchat import experiment
from gistchat.evaluate import judge as judge_module
from gistchat.evaluate import summarizer_scores
from gistchat.locks import locked


@pytest.fixture
def at_work(monkeypatch):
    """Another that holds an output, until the command under test says that it waits; gives what is said."""
    said: list[str] = []

    @contextlib.contextmanager
    def hold(path):
        held, told = threading.Event(), threading.Event()

        def other() -> None:  # locks are each thread's own
            with locked(path):
                held.set()
                told.wait(60)

        monkeypatch.setattr("gistchat.locks.say", lambda message: (said.append(message), told.set()))
        thread = threading.Thread(target=other)
        thread.start()
        held.wait(10)
        try:
            yield said
        finally:
            told.set()
            thread.join()

    return hold


REFUSED = {
    "reply": ("out.jsonl", ["reply", "in.jsonl", "out.jsonl", "RUN"]),
    "reply over": ("out.jsonl", ["reply", "in.jsonl", "out.jsonl", "RUN", "--force"]),
    "export": ("out", ["export", "RUN", "out"]),
    "export to a file": ("out.gguf", ["export", "RUN", "out.gguf"]),
    "import": ("out", ["import-ckpt", "in.jsonl", "--out", "out"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_where_waiting_is_of_no_use_the_second_is_refused(name, run_folder, tmp_path, at_work):
    out, words = REFUSED[name]
    (tmp_path / "in.jsonl").write_bytes(make_dialogue(1).to_line())
    with at_work(tmp_path / out):
        done = gistchat(*(str(run_folder) if word == "RUN" else word for word in words), cwd=tmp_path)
    assert done.returncode == 1
    assert f"error: another process is writing to {out}" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


WAITING = {
    "prepare": ("out", ["prepare", "jsonl", "--from", "in.jsonl", "--out", "out"], "out/report.json"),
    "summarize --score": ("p/scores", ["summarize", "p", "--score", "--model", "BASE"], "p/scores/scores.json"),
    "evaluate --predictions": (
        "a.scores.json",
        ["evaluate", "--predictions", "a.jsonl", "--references", "b.jsonl"],
        "a.scores.json",
    ),
    "judge": (
        "r/judge.json",
        ["judge", "r", "--of", "a", "--against", "b", "--url", "http://127.0.0.1:9/v1", "--model", "m"],
        "r/judge.json",
    ),
}


@pytest.mark.parametrize("name", WAITING)
def test_elsewhere_it_waits_says_so_and_goes_on(name, tiny_base, tmp_path, at_work, monkeypatch):
    place, words, written = WAITING[name]
    (tmp_path / "in.jsonl").write_bytes(b"".join(make_dialogue(i).to_line() for i in range(12)))
    for letter, field in (("a", "reply"), ("b", "gold")):
        lines = [json.dumps({"id": str(i), field: f"the {letter} boat {i}"}) for i in range(3)]
        (tmp_path / f"{letter}.jsonl").write_text("\n".join(lines))
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "predictions.jsonl").write_text("")
    if name.startswith("summarize"):
        assert gistchat("prepare", "jsonl", "--from", "in.jsonl", "--out", "p", cwd=tmp_path).returncode == 0
    monkeypatch.setattr(judge_module, "parse_system", lambda text, rows: text)
    monkeypatch.setattr(judge_module, "judge", lambda *_: {"judge": "m"})
    monkeypatch.setattr("gistchat.cli.evaluate.judge_lines", lambda _: [], raising=False)
    monkeypatch.setattr(judge_module, "judge_lines", lambda _: [])
    monkeypatch.setattr(summarizer_scores, "score", lambda *_: {"rows": {}})
    monkeypatch.setattr(summarizer_scores, "score_table", lambda _: "")
    if name != "prepare":  # what a person has there stays
        (tmp_path / written).parent.mkdir(exist_ok=True)
        (tmp_path / written).write_text("mine")
    with at_work(tmp_path / place) as said:
        done = gistchat(*(tiny_base.source if word == "BASE" else word for word in words), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [line] = said
    assert line.startswith("waiting, for 60 minutes at most, for another process that is writing to ")
    json.loads((tmp_path / written).read_text())
    if name != "prepare":
        assert (tmp_path / f"{written}-before").read_text() == "mine"
    again = gistchat(*(tiny_base.source if word == "BASE" else word for word in words), cwd=tmp_path)
    assert "kept as" not in again.stderr  # gistchat's own is replaced


def test_a_comparison_waits_and_keeps_what_a_person_has_in_its_folder(tmp_path, at_work, monkeypatch):
    def write_report(folder, *_):
        (folder / "report.html").write_text("comparison")

    for name in ("analyse", "analyse_probe"):
        monkeypatch.setattr(experiment, name, lambda *_: {})
    monkeypatch.setattr(experiment, "write_report", write_report)
    out = tmp_path / "out"
    out.mkdir()
    for name in ("report.html", "metrics.json", "notes.txt"):
        (out / name).write_text("mine")
    with at_work(out) as said:
        experiment.compare([], out, "t", "recent", resamples=1)
    assert len(said) == 1
    texts = {path.name: path.read_text() for path in out.iterdir()}
    assert texts["report.html"] == "comparison"
    assert texts["report.html-before"] == texts["metrics.json-before"] == texts["notes.txt"] == "mine"
    experiment.compare([], out, "t", "recent", resamples=1)
    assert len(list(out.iterdir())) == len(texts)
