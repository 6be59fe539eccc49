"""A run's folder with a checkpoint that this run did not make: used where it is what the run would make, else kept."""

import json
import shutil

import pytest
from conftest import make_dialogue, small_recipe

from gistchat.errors import UserError
from gistchat.files import file_hash, read_json, write_json
from gistchat.models.checkpoint import load_checkpoint
from gistchat.models.import_paper import import_checkpoint
from gistchat.pipeline import open_workspace, run_evaluate, run_train
from gistchat.train.loop import TrainingLoop


@pytest.fixture
def recipe(run_folder, tmp_path):
    """That of `run_folder`, on the same data."""
    return small_recipe(run_folder.parent / "talks.jsonl", tmp_path / "data")


class Began(Exception):
    """Training began."""


@pytest.fixture
def begins(monkeypatch):
    def run(self):
        raise Began

    monkeypatch.setattr(TrainingLoop, "run", run)


def copied(run_folder, folder):
    shutil.copytree(run_folder / "checkpoint", folder / "checkpoint")
    return folder / "checkpoint"


def hashes(folder):
    return {path.name: file_hash(path) for path in folder.iterdir()}


@pytest.mark.parametrize("how", ["checkpoint only", "with its history", "torn marker"])
def test_a_finished_checkpoint_of_this_recipe_is_used_as_it_is(run_folder, recipe, tmp_path, begins, capsys, how):
    folder = tmp_path / "copy"
    before = hashes(copied(run_folder, folder))
    if how == "with its history":
        shutil.copytree(run_folder / "train", folder / "train")
    if how == "torn marker":
        (folder / "trained.json").write_text("{")
    for said in ("is a finished checkpoint of this recipe and data; used as it is", "done before, skipped"):
        run_train(open_workspace(recipe, folder))
        assert said in capsys.readouterr().err.replace("\n", "")
    assert hashes(folder / "checkpoint") == before


def of_another_seed(checkpoint):
    metadata = read_json(checkpoint / "gistchat.json")
    write_json(checkpoint / "gistchat.json", {**metadata, "seed": 7})


def of_another_recipe(checkpoint):
    metadata = read_json(checkpoint / "gistchat.json")
    metadata["recipe"]["train"]["steps"] = 7
    write_json(checkpoint / "gistchat.json", metadata)


def of_other_data(checkpoint):
    metadata = read_json(checkpoint / "gistchat.json")
    metadata["data"]["sha256"]["train.jsonl"] = "0"
    write_json(checkpoint / "gistchat.json", metadata)


def of_an_older_version(checkpoint):
    metadata = read_json(checkpoint / "gistchat.json")
    write_json(checkpoint / "gistchat.json", {name: metadata[name] for name in metadata if name != "finished"})


def of_another_program(checkpoint):
    (checkpoint / "gistchat.json").unlink()


def damaged(checkpoint):
    (checkpoint / "model.safetensors").write_bytes(b"x")


def with_odd_metadata(checkpoint):
    (checkpoint / "gistchat.json").write_text("[3]")


def not_even_a_folder(checkpoint):
    shutil.rmtree(checkpoint)
    checkpoint.write_text("mine")


CHANGES = [
    of_another_seed,
    of_another_recipe,
    of_other_data,
    of_an_older_version,
    of_another_program,
    damaged,
    with_odd_metadata,
    not_even_a_folder,
]


@pytest.mark.parametrize("change", CHANGES)
def test_any_other_is_put_aside_before_training_begins(run_folder, recipe, tmp_path, begins, capsys, change):
    checkpoint = copied(run_folder, tmp_path / "copy")
    (checkpoint.parent / "checkpoint-before").mkdir()
    change(checkpoint)
    before = hashes(checkpoint) if checkpoint.is_dir() else checkpoint.read_text()
    with pytest.raises(Began):
        run_train(open_workspace(recipe, tmp_path / "copy"))
    kept = tmp_path / "copy" / "checkpoint-before-2"
    assert (hashes(kept) if kept.is_dir() else kept.read_text()) == before
    assert not checkpoint.exists()
    said = [line for line in capsys.readouterr().err.splitlines() if "checkpoint-before-2" in line]
    assert said == [f"{checkpoint} is not known as this run's; kept as checkpoint-before-2"]


def test_what_a_stopped_run_left_before_its_first_state_is_not_piled_up(run_folder, recipe, tmp_path, begins):
    checkpoint = copied(run_folder, tmp_path / "copy")
    metadata = read_json(checkpoint / "gistchat.json")
    write_json(checkpoint / "gistchat.json", {**metadata, "finished": False})
    for _ in range(2):
        with pytest.raises(Began):
            run_train(open_workspace(recipe, tmp_path / "copy"))
    assert sorted(path.name for path in (tmp_path / "copy").glob("checkpoint*")) == ["checkpoint"]


@pytest.mark.parametrize("name", ["model.safetensors", "gistchat.json"])
@pytest.mark.parametrize("damage", ["gone", "cut off"])
def test_a_damaged_run_is_said_to_be_damaged(run_folder, recipe, tmp_path, begins, capsys, name, damage):
    shutil.copytree(run_folder, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(Began):
        run_train(open_workspace(recipe, tmp_path / "run"))
    said = capsys.readouterr().err.replace("\n", "")
    assert f"train: {path} is missing or damaged; training again" in said
    assert "another recipe" not in said
    assert (tmp_path / "run" / "checkpoint-before").is_dir()


def test_a_run_of_another_recipe_is_still_said_to_be_one(run_folder, recipe, tmp_path, begins, capsys):
    shutil.copytree(run_folder, tmp_path / "run")
    before = hashes(tmp_path / "run" / "checkpoint")
    with pytest.raises(Began):
        run_train(open_workspace(recipe.change(train={"steps": 9}), tmp_path / "run"))
    said = capsys.readouterr().err.replace("\n", "")
    assert "holds a run of another recipe or other data; training again" in said
    assert "missing or damaged" not in said
    assert hashes(tmp_path / "run" / "checkpoint-before") == before


def test_the_model_to_begin_with_is_not_trained_over(run_folder, recipe, tmp_path):
    checkpoint = copied(run_folder, tmp_path / "run")
    before = hashes(checkpoint)
    recipe = recipe.change(model={"name": str(checkpoint), "init": "pretrained"})
    with pytest.raises(UserError, match="is the model to begin with; give another --out"):
        run_train(open_workspace(recipe, tmp_path / "run"))
    assert hashes(checkpoint) == before


def test_folders_of_a_person_among_the_states_stay(run_folder, recipe, tmp_path, begins):
    for name in ("state-9", "state-old", "notes"):
        (tmp_path / "run" / "train" / name).mkdir(parents=True)
        (tmp_path / "run" / "train" / name / "mine.txt").write_text(name)
    copied(run_folder, tmp_path / "run")
    run_train(open_workspace(recipe, tmp_path / "run"))  # finished already: what it needs no more is removed
    of_another_seed(tmp_path / "run" / "checkpoint")
    (tmp_path / "run" / "trained.json").unlink()
    with pytest.raises(Began):
        run_train(open_workspace(recipe, tmp_path / "run"))
    mine = sorted(path.read_text() for path in (tmp_path / "run" / "train").glob("*/mine.txt"))
    assert mine == ["notes", "state-9", "state-old"]


def test_evaluation_keeps_edited_reports_and_a_folder_that_is_called_like_its_own(run_folder, recipe, tmp_path, capsys):
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "evaluation").mkdir()
    (tmp_path / "run" / "evaluation" / "mine.txt").write_text("mine")
    sizes = {"items": 2, "reply_items": 1, "rank_items": 0, "probe_items": 0, "base": False}
    recipe = recipe.change(evaluate={**sizes, "strategies": ["last"], "baseline": "last"})
    workspace = open_workspace(recipe, tmp_path / "run")
    values = run_evaluate(workspace)
    assert (tmp_path / "run" / "evaluation-before" / "mine.txt").read_text() == "mine"
    (tmp_path / "run" / "evaluation" / "notes.txt").write_text("notes")
    for name in ("report.html", "metrics.json", "predictions.jsonl"):
        path = tmp_path / "run" / name
        path.write_text(path.read_text() + "\n")
        edited = path.read_text()
        capsys.readouterr()
        assert json.dumps(run_evaluate(workspace)) == json.dumps(values)
        assert (tmp_path / "run" / f"{name}-before").read_text() == edited
        assert f"{name} was changed since gistchat wrote it; kept as {name}-before" in capsys.readouterr().err
    run_evaluate(open_workspace(recipe.change(evaluate={"max_reply_tokens": 3}), tmp_path / "run"))
    assert (tmp_path / "run" / "evaluation" / "notes.txt").read_text() == "notes"


def test_a_finished_checkpoint_says_so_and_an_imported_folder_is_not_taken(run_folder, recipe, tmp_path):
    assert load_checkpoint(run_folder).metadata["finished"] is True
    (tmp_path / "x" / "checkpoint").mkdir(parents=True)
    with pytest.raises(UserError, match="checkpoint exists; give another --out"):
        import_checkpoint(str(make_dialogue), tmp_path / "x")
