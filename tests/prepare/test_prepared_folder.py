"""The folder that prepare writes: two processes at once, edits by hand, files of other origin, what is beside it."""

from collections import Counter

import pytest
from conftest import FORKS, gistchat, make_dialogue

from gistchat.dialogue.jsonl import load_dialogues
from gistchat.dialogue.turns import SPLITS
from gistchat.errors import UserError
from gistchat.files import file_hash, read_json
from gistchat.prepare import prepare as prepare_module
from gistchat.prepare.prepare import prepare
from gistchat.recipe.schema import DataConfig


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in" / "talks.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"".join(make_dialogue(i, turns=2).to_line() for i in range(600)))
    return path


def config(source, **changes) -> DataConfig:
    return DataConfig(corpus="jsonl", source=str(source), **changes)


def _prepare_at_once(barrier, results, source, out, seed) -> None:
    barrier.wait()
    report, new = prepare(config(source, seed=seed), out)
    results.put((seed, report["kept"], new))


@pytest.mark.parametrize("seeds", [(0, 0, 0), (0, 1, 2)])
def test_processes_that_prepare_one_folder_at_once_leave_one_whole_result(source, tmp_path, seeds):
    barrier, results, out = FORKS.Barrier(3), FORKS.Queue(), tmp_path / "out"
    workers = [FORKS.Process(target=_prepare_at_once, args=(barrier, results, source, out, seed)) for seed in seeds]
    for worker in workers:
        worker.start()
    got = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(30)
    assert {kept for _, kept, _ in got} == {600}
    # With one seed, the first prepares and the others find it done; with three, each prepares over the one before.
    assert Counter(new for _, _, new in got) == ({True: 1, False: 2} if seeds[1] == 0 else {True: 3})
    dialogues = [dialogue.id for split in SPLITS for dialogue in load_dialogues(out / f"{split}.jsonl")]
    assert len(dialogues) == len(set(dialogues)) == 600
    assert [prepare(config(source, seed=seed), out)[1] for seed in set(seeds)].count(False) >= (seeds[1] == 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("edit", [b"", b"one\n", "appended"])
def test_an_edited_split_is_kept_aside_and_made_anew(source, tmp_path, seed, edit, capsys):
    out = tmp_path / "out"
    prepare(config(source), out)
    path = out / "test.jsonl"
    edited = path.read_bytes() + b"more\n" if edit == "appended" else edit
    path.write_bytes(edited)
    capsys.readouterr()
    report, new = prepare(config(source, seed=seed), out)
    assert new
    assert (out / "test.jsonl-before").read_bytes() == edited
    assert len(load_dialogues(path)) == report["splits"]["test"]["dialogues"]
    said = [line for line in capsys.readouterr().err.splitlines() if "before" in line]
    assert said == [f"{path} was changed since gistchat wrote it; kept as test.jsonl-before"]
    assert not prepare(config(source, seed=seed), out)[1]  # what was put aside is not in the way
    prepare(DataConfig(corpus="jsonl", source=str(out)), tmp_path / "again")  # nor read as data
    assert read_json(tmp_path / "again" / "report.json")["read"] == 600


@pytest.mark.parametrize("name", ["train.jsonl", "report.json", "prepared.json"])
def test_files_that_a_person_has_there_are_kept(source, tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text('"mine"')
    (out / "notes.txt").write_text("mine, too")
    prepare(config(source), out)
    if name != "prepared.json":
        assert (out / f"{name}-before").read_text() == '"mine"'
    assert (out / "notes.txt").read_text() == "mine, too"
    assert not prepare(config(source), out)[1]


@pytest.mark.parametrize("name", ["out.part", "out.old", "out.tmp"])
def test_what_is_beside_the_folder_stays(source, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").write_text("mine")
    prepare(config(source), tmp_path / "out")
    assert (tmp_path / name / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("split", SPLITS)
def test_what_was_written_is_counted_before_it_is_marked_done(source, tmp_path, split, monkeypatch):
    prepare(config(source), tmp_path / "out")
    before = {path.name: file_hash(path) for path in (tmp_path / "out").iterdir()}

    def lose_a_line(working, *_):
        path = working / f"{split}.jsonl"
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))

    monkeypatch.setattr(prepare_module, "_audit", lose_a_line)
    with pytest.raises(UserError, match=rf"{split}\.jsonl has \d+ lines where \d+ were written"):
        prepare(config(source, audit="report"), tmp_path / "out")
    assert {path.name: file_hash(path) for path in (tmp_path / "out").iterdir()} == before


def test_the_command_says_what_it_kept(source, tmp_path):
    words = ["prepare", "jsonl", "--from", str(source), "--out", "out"]
    assert gistchat(*words, cwd=tmp_path).returncode == 0
    (tmp_path / "out" / "train.jsonl").write_text("edited\n")
    done = gistchat(*words, cwd=tmp_path)
    assert done.returncode == 0
    assert "out/train.jsonl was changed since gistchat wrote it; kept as train.jsonl-before" in done.stderr
    assert "done before" not in done.stdout
