"""A run that is killed, whenever that is, and started again ends as if nothing had happened, to the last bit."""

import dataclasses
import itertools
import os
import random
import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch
from conftest import FORKS, make_dialogue, small_recipe
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

from gistchat.errors import UserError
from gistchat.files import file_hash, read_json, write_json
from gistchat.pipeline import open_workspace
from gistchat.recipe.schema import ModelConfig, Recipe
from gistchat.train import loop
from gistchat.train.rows import choose_targets
from gistchat.train.states import changes, last_state
from gistchat.train.train import describe, train, weights_of

# What may change files, as Python audits it. The latter come from shutil.rmtree, with names relative to a folder.
FILE_OPERATIONS = {"open", "os.rename", "os.mkdir", "shutil.rmtree"}
REMOVALS = {"os.remove", "os.rmdir"}


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
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(base, tmp_path) -> Recipe:
    """Two forward passes a step, a state after every step."""
    (tmp_path / "talks.jsonl").write_bytes(b"".join(make_dialogue(i, turns=6).to_line() for i in range(14)))
    recipe = small_recipe(tmp_path / "talks.jsonl", tmp_path / "data")
    steps = {"steps": 6, "batch_size": 4, "micro_batch": 2, "evaluate_every": 3, "save_every": 1}
    rest = {"validation_items": 2, "strategies": ["last"], "lora_dropout": 0.1, "samples": 0, "report_to": ["none"]}
    return dataclasses.replace(recipe, model=ModelConfig(name=str(base))).change(train={**steps, **rest})


def train_only(recipe: Recipe, folder: Path, force: bool = False) -> None:
    """Training without what follows it, so that the last states stay."""
    workspace = open_workspace(recipe, folder)
    targets = choose_targets(
        recipe.train, workspace.split("train"), workspace.split("validation"), 0, weights_of(recipe)
    )
    workspace.summarize([target.dialogue for target in targets.train + targets.validation])
    train(recipe, workspace.base, workspace.format, targets, workspace.stores, folder, {}, force)


def end_of(folder: Path) -> dict:
    """Everything that a run ends with: all weights, optimizer and random states, losses, what was seen."""
    state = last_state(folder / "train")
    return {
        "step": state.step,
        "seen": state.seen,
        "state": {path.name: flat(torch.load(path)) for path in sorted(state.folder.glob("*.pt"))},
        "best": {path.name: file_hash(path) for path in sorted((folder / "checkpoint").glob("*.safetensors"))},
        "history": read_json(folder / "train" / "history.json"),
    }


def flat(value) -> object:
    """The same with lists for tensors, so that == compares them bit by bit."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return {name: flat(item) for name, item in value.items()} if isinstance(value, dict) else value


class Killed(BaseException):
    """Stands for SIGKILL: raised from the first fatal operation on, so that no clean-up can touch a file either."""


class Assassin:
    """Lets no file operation below a folder happen from the `left`-th on, counted from the first save."""

    def __init__(self) -> None:
        self.folder, self.left, self.dead = "", 0, False
        sys.addaudithook(self.watch)  # such hooks stay as long as the process

    def watch(self, event: str, details: tuple) -> None:
        if not self.folder:
            return
        if event in REMOVALS or (event in FILE_OPERATIONS and str(details[0]).startswith(self.folder)):
            self.left -= 1
            if self.left <= 0:
                self.dead = True
                raise Killed

    def kills(self, recipe: Recipe, folder: Path, operations: int, monkeypatch) -> bool:
        """Train, and die at the so many-th file operation of the first validation and save; whether it came to that."""
        validate, save = loop.TrainingLoop.validate, loop.TrainingLoop.save_state
        self.dead = False

        def armed(method):
            def start_counting(self_):
                if not self.folder:
                    self.folder, self.left = str(folder), operations
                method(self_)

            return start_counting

        with monkeypatch.context() as patch:
            patch.setattr(loop.TrainingLoop, "validate", armed(validate))
            patch.setattr(loop.TrainingLoop, "save_state", armed(save))
            try:
                train_only(recipe, folder)
            except Killed:
                pass
            finally:
                self.folder = ""
        return self.dead


@pytest.fixture(scope="module")
def assassin() -> Assassin:
    return Assassin()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_killed_at_every_file_operation_ends_to_the_bit_as_if_undisturbed(
    recipe, tmp_path, method, assassin, monkeypatch
):
    every = 1 if method == "full" else 3  # with "full" the best checkpoint is saved, too
    recipe = recipe.change(train={"method": method, "steps": 14, "evaluate_every": every})
    calm, hurried = tmp_path / "calm", tmp_path / "hurried"
    train_only(recipe, calm)
    expected = end_of(calm)
    operations = 1
    # A state that has its name before the kill is one step less to go, so there are enough of them to die once at each
    # operation of a first save, and of later ones, which remove an older state.
    while assassin.kills(recipe, hurried, operations, monkeypatch):
        operations += 1
    assert operations > (55 if method == "full" else 25)
    assert end_of(hurried) == expected


def train_and_die(recipe: Recipe, folder: Path, seconds: float) -> None:
    """In a process of its own: be killed so many seconds after the first step began."""
    step = loop.TrainingLoop.optimizer_step

    def timed(self):
        loop.TrainingLoop.optimizer_step = step
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return step(self)

    loop.TrainingLoop.optimizer_step = timed
    train_only(recipe, folder)
    os._exit(0)


def test_a_process_killed_at_random_moments_ends_to_the_bit_as_if_undisturbed(recipe, tmp_path):
    recipe = recipe.change(train={"steps": 30})
    train_only(recipe, tmp_path / "calm")
    rng = random.Random(0)
    killed = 0
    for _ in range(3):
        process = FORKS.Process(target=train_and_die, args=(recipe, tmp_path / "run", rng.uniform(0.02, 0.3)))
        process.start()
        process.join(120)
        assert process.exitcode in (0, -signal.SIGKILL)
        killed += process.exitcode != 0
    assert killed >= 2
    train_only(recipe, tmp_path / "run")
    assert end_of(tmp_path / "run") == end_of(tmp_path / "calm")


def stop_after(recipe: Recipe, folder: Path, monkeypatch, step: int) -> None:
    """Train up to a step, as if Ctrl-C had come."""
    original = loop.TrainingLoop.optimizer_step

    def interrupted(self):
        result = original(self)
        if self.step == step:
            self.accelerator.set_trigger()
        return result

    with monkeypatch.context() as patch:
        patch.setattr(loop.TrainingLoop, "optimizer_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_only(recipe, folder)


def test_a_damaged_state_is_named_and_the_one_before_it_used(recipe, tmp_path, monkeypatch, capsys):
    train_only(recipe, tmp_path / "calm")
    run = tmp_path / "run"
    stop_after(recipe, run, monkeypatch, 5)
    assert sorted(path.name for path in (run / "train").glob("state-*")) == ["state-4", "state-5"]
    path = run / "train" / "state-5" / "training.pt"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    (run / "train" / "unfinished").mkdir()
    train_only(recipe, run)
    said = capsys.readouterr().err.replace("\n", "")
    assert "state-5 is damaged (training.pt differs from what was written); not used" in said
    assert "unfinished was cut off while being written; not used" in said
    assert f"resuming from {run / 'train' / 'state-4'}" in said
    assert end_of(run) == end_of(tmp_path / "calm")


def test_a_state_of_an_older_layout_is_named_and_training_begins_again(recipe, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    stop_after(recipe, run, monkeypatch, 1)
    manifest = run / "train" / "state-1" / "manifest.json"
    write_json(manifest, {name: value for name, value in read_json(manifest).items() if name not in ("layout", "log")})
    train_only(recipe, run)
    said = capsys.readouterr().err.replace("\n", "")
    assert "state-1 was written by another version of gistchat; not used" in said
    assert "resuming" not in said
    assert last_state(run / "train").step == 6


def test_a_recipe_that_changed_is_refused_unless_forced(recipe, tmp_path, monkeypatch, capsys):
    stop_after(recipe, tmp_path / "run", monkeypatch, 3)
    recipe = recipe.change(train={"learning_rate": 3e-4, "steps": 9})
    with pytest.raises(
        UserError, match=r"(?s)train\.learning_rate: 0\.0 -> 0\.0003\n.*train\.steps: 6 -> 9\n.*--force"
    ):
        train_only(recipe, tmp_path / "run")
    train_only(recipe, tmp_path / "run", force=True)
    assert "going on from" in capsys.readouterr().err
    history = read_json(tmp_path / "run" / "train" / "history.json")
    assert history["steps"] == 9
    rates = {entry["step"]: entry["learning_rate"] for entry in history["log"] if "learning_rate" in entry}
    assert rates[4] == pytest.approx(3e-4 * 6 / 7)  # the new rate, on the new schedule
    assert rates[3] == 1e-3


def test_a_run_that_had_stopped_early_is_not_trained_further(recipe, tmp_path, monkeypatch):
    rising = itertools.count(1)  # when a real loss rises depends on the processor's sums
    monkeypatch.setattr(loop, "score_replies", lambda *_: [100.0 * next(rising)])
    intervals = {"patience": 2, "evaluate_every": 2, "save_every": 5, "steps": 26}
    recipe = recipe.change(train=intervals)
    train_only(recipe, tmp_path / "run")  # killed here, before what follows
    expected = end_of(tmp_path / "run")
    assert expected["step"] == 6
    train_only(recipe, tmp_path / "run")
    assert end_of(tmp_path / "run") == expected


def test_how_a_batch_is_cut_is_no_change(recipe):
    before = describe(recipe)
    recipe = recipe.change(train={"micro_batch": 1, "save_every": 3})
    assert not list(changes(before, describe(recipe)))
    recipe = recipe.change(train={"batch_size": 8})
    assert list(changes(before, describe(recipe))) == ["train.batch_size: 4 -> 8"]


def test_other_examples_than_before_are_noticed(recipe, tmp_path, monkeypatch):
    stop_after(recipe, tmp_path / "run", monkeypatch, 2)
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "talks.jsonl").write_bytes(b"".join(make_dialogue(i, turns=6).to_line() for i in range(1, 15)))
    with pytest.raises(UserError, match="the examples themselves"):
        train_only(recipe, tmp_path / "run")
