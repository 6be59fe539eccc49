"""A run that is killed, whenever that is, and started again ends as if nothing had happened, to the last bit."""

import dataclasses
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest
from conftest import make_dialogue, small_recipe
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

from gistchat.errors import UserError
from gistchat.files import file_hash, read_json
from gistchat.pipeline import open_workspace
from gistchat.recipe.schema import ModelConfig, Recipe
from gistchat.train.loop import ReplyTrainer
from gistchat.train.rows import choose_targets
from gistchat.train.states import changes, last_state, load_nested, random_states, save_nested, set_random_states
from gistchat.train.train import describe, train, weights_of

OPERATIONS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}  # what may change files, as Python audits it


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A GPT-2 so small, with a vocabulary of 300, that a step takes milliseconds; its dropout is on."""
    folder = tmp_path_factory.mktemp("base")
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([turn.text for i in range(20) for turn in make_dialogue(i).turns], vocab_size=300)
    bpe.save_model(str(folder))
    GPT2TokenizerFast.from_pretrained(folder, unk_token=None, bos_token="<|end|>", eos_token="<|end|>").save_pretrained(
        folder
    )
    config = GPT2Config(
        vocab_size=301, n_embd=32, n_layer=2, n_head=2, n_positions=512, bos_token_id=300, eos_token_id=300
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(base, tmp_path) -> Recipe:
    """Two epochs of thirteen steps, two forward passes a step, a state after every step."""
    (tmp_path / "talks.jsonl").write_bytes(b"".join(make_dialogue(i, turns=6).to_line() for i in range(14)))
    made = small_recipe(tmp_path / "talks.jsonl", tmp_path / "data")
    made.model = ModelConfig(name=str(base))
    made.train = dataclasses.replace(made.train, steps=0, epochs=2, evaluate_every=4, save_every=1, strategies=["last"])
    made.train = dataclasses.replace(made.train, batch_size=4, micro_batch=2, report_to=["none"])
    return made


def train_only(recipe: Recipe, folder: Path, force: bool = False) -> None:
    """Training without what follows it, so that the last states stay."""
    workspace = open_workspace(recipe, folder)
    targets = choose_targets(
        recipe.train, workspace.split("train"), workspace.split("validation"), 0, weights_of(recipe)
    )
    workspace.summarize([target.dialogue for target in targets.train + targets.validation])
    train(recipe, workspace.base, workspace.format, targets, workspace.stores, folder, {}, force)


def train_and_die(recipe: Recipe, folder: Path, operations: int, seconds: float) -> None:
    """In a process of its own: train, and be killed at so many file operations of the first saves, or so many seconds
    after the first step began."""
    left = operations
    saving = ReplyTrainer._maybe_log_save_evaluate

    def count(event: str, details: tuple) -> None:
        nonlocal left
        if left and event in OPERATIONS and str(details[0]).startswith(str(folder)):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    def counted(self, *args, **kwargs) -> None:
        sys.addaudithook(count)
        ReplyTrainer._maybe_log_save_evaluate = saving
        saving(self, *args, **kwargs)

    if operations:
        ReplyTrainer._maybe_log_save_evaluate = counted
    step = ReplyTrainer.training_step

    def timed(self, *args, **kwargs):
        ReplyTrainer.training_step = step
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return step(self, *args, **kwargs)

    if seconds:
        ReplyTrainer.training_step = timed
    train_only(recipe, folder)
    os._exit(0)


def run_apart(recipe: Recipe, folder: Path, operations: int = 0, seconds: float = 0) -> bool:
    """Whether the process was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["gistchat.pipeline", "gistchat.train.train", "transformers.models.gpt2.modeling_gpt2", "pytest"]
    )
    process = context.Process(target=train_and_die, args=(recipe, folder, operations, seconds))
    process.start()
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def end_of(folder: Path) -> dict:
    """Everything that a run ends with: hashes of all weights, optimizer and random states, losses, what was seen."""
    state = last_state(folder / "train")
    history = read_json(folder / "train" / "history.json")
    for entry in history["log"]:
        for name in ("train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss"):
            entry.pop(name, None)  # of the last start, not of the run
    return {
        "step": state.step,
        "seen": state.seen,
        "state": {path.name: file_hash(path) for path in sorted(state.folder.glob("*.safetensors"))},
        "best": {path.name: file_hash(path) for path in sorted((folder / "checkpoint").glob("*.safetensors"))},
        "history": history,
    }


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_killed_again_and_again_ends_to_the_bit_as_if_undisturbed(recipe, tmp_path, method):
    recipe.train.method = method
    recipe.train.lora_dropout = 0.1
    if method == "full":
        recipe.train.evaluate_every = 1  # so that the first save is of the best checkpoint, too
    calm, hurried = tmp_path / "calm", tmp_path / "hurried"
    assert not run_apart(recipe, calm)
    expected = end_of(calm)
    assert expected["step"] >= 20
    assert {"weights.safetensors", "optimizer.safetensors", "random-0.safetensors"} <= expected["state"].keys()
    killed = 0
    # A state takes 22 operations, a best checkpoint about as many: each of them is the last, some time.
    for operations in range(1, 50 if method == "full" else 27):
        killed += run_apart(recipe, hurried, operations=operations)
    assert killed >= 25
    rng = random.Random(method)
    killed = 0
    for _ in range(40):
        if killed == 20:
            break
        if run_apart(recipe, hurried, seconds=rng.uniform(0.01, 0.8)):
            killed += 1
        else:  # it came to its end before
            assert end_of(hurried) == expected
            shutil.rmtree(hurried)
    assert killed == 20
    run_apart(recipe, hurried)
    assert end_of(hurried) == expected


def stopped_after(recipe: Recipe, folder: Path, monkeypatch, step: int) -> None:
    """Train up to a step, as if Ctrl-C had come."""
    original = ReplyTrainer.training_step

    def interrupted(self, *args, **kwargs):
        self.interrupted = self.interrupted or self.state.global_step == step - 1
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(ReplyTrainer, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_only(recipe, folder)


def test_a_damaged_state_is_named_and_the_one_before_it_used(recipe, tmp_path, monkeypatch, capsys):
    train_only(recipe, tmp_path / "calm")
    run = tmp_path / "run"
    stopped_after(recipe, run, monkeypatch, 9)
    assert sorted(path.name for path in (run / "train").glob("state-*")) == ["state-8", "state-9"]
    weights = run / "train" / "state-9" / "optimizer.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    (run / "train" / "unfinished" / "checkpoint-10").mkdir(parents=True)
    train_only(recipe, run)
    said = capsys.readouterr().err.replace("\n", "")
    assert "state-9 is damaged (optimizer.safetensors differs from what was written); not used" in said
    assert "checkpoint-10 was cut off while being written; not used" in said
    assert f"resuming from {run / 'train' / 'state-8'}" in said
    assert end_of(run) == end_of(tmp_path / "calm")


def test_a_recipe_that_changed_is_refused_unless_forced(recipe, tmp_path, monkeypatch, capsys):
    stopped_after(recipe, tmp_path / "run", monkeypatch, 5)
    recipe.train.learning_rate, recipe.train.epochs = 3e-4, 3
    with pytest.raises(
        UserError, match=r"(?s)train\.epochs: 2 -> 3\n.*train\.learning_rate: 0\.0 -> 0\.0003\n.*--force"
    ):
        train_only(recipe, tmp_path / "run")
    train_only(recipe, tmp_path / "run", force=True)
    assert "going on from" in capsys.readouterr().err
    history = read_json(tmp_path / "run" / "train" / "history.json")
    assert history["steps"] > 26
    rates = {entry["step"]: entry["learning_rate"] for entry in history["log"] if "learning_rate" in entry}
    assert 2e-4 < rates[6] < 3e-4 < 3.1e-4 < rates[4]  # the new rate, on the new schedule


def test_a_run_that_had_stopped_early_is_not_trained_further(recipe, tmp_path):
    recipe.train.patience, recipe.train.evaluate_every, recipe.train.save_every = 2, 2, 2
    recipe.train.learning_rate, recipe.train.schedule = 0.3, "constant"
    train_only(recipe, tmp_path / "run")  # killed here, before what follows
    expected = end_of(tmp_path / "run")
    assert expected["step"] < 26
    train_only(recipe, tmp_path / "run")
    found = end_of(tmp_path / "run")
    losses = [
        [entry["eval_loss"] for entry in end.pop("history")["log"] if "eval_loss" in entry] for end in (found, expected)
    ]
    assert losses[0] == losses[1]
    assert found == expected


def test_how_a_batch_is_cut_is_no_change(recipe):
    before = describe(recipe)
    recipe.train.micro_batch, recipe.train.save_every = 1, 3
    assert not list(changes(before, describe(recipe)))
    recipe.train.batch_size = 8
    assert list(changes(before, describe(recipe))) == ["train.batch_size: 4 -> 8"]


def test_other_examples_than_before_are_noticed(recipe, tmp_path, monkeypatch):
    stopped_after(recipe, tmp_path / "run", monkeypatch, 5)
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "talks.jsonl").write_bytes(b"".join(make_dialogue(i, turns=6).to_line() for i in range(1, 15)))
    with pytest.raises(UserError, match="the examples themselves"):
        train_only(recipe, tmp_path / "run")


def test_nested_states_come_back_as_they_were(tmp_path):
    states = random_states()
    save_nested(tmp_path / "s", states)
    drawn = random.random()
    set_random_states(load_nested(tmp_path / "s"))
    assert random.random() == drawn
    assert json.dumps(load_nested(tmp_path / "s")["python"]) == json.dumps(states["python"])
    (tmp_path / "s").write_bytes(b"no")
    with pytest.raises(UserError, match="not a saved state"):
        load_nested(tmp_path / "s")
