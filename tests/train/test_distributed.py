"""Two real processes (gloo) train as one does."""

import json

import pytest
from conftest import TINY_TOML, gistchat, torchrun

from gistchat.models.base import load_model, load_tokenizer

SETTINGS = ["--set", "train.batch_size=4", "--set", "train.method=full", "--set", "train.learning_rate=1e-2"]


@pytest.fixture
def folder(tiny_base, tiny_folder):
    """tiny.toml on a base without dropout, which each process would draw for itself."""
    model = load_model(tiny_base)
    for name in ("attn_pdrop", "embd_pdrop", "resid_pdrop"):
        setattr(model.config, name, 0.0)
    model.save_pretrained(tiny_folder / "base")
    load_tokenizer(tiny_base).save_pretrained(tiny_folder / "base")
    recipe = TINY_TOML.replace('name = "gpt2"\ninit = "scratch"\nsize = "tiny"', 'name = "./base"')
    (tiny_folder / "tiny.toml").write_text(recipe)
    return tiny_folder


def curve(run):
    log = json.loads((run / "train" / "history.json").read_text())["log"]
    return [entry.get("loss", entry.get("eval_loss")) for entry in log if "loss" in entry or "eval_loss" in entry]


def test_two_processes_train_as_one_does(folder):
    one = gistchat("train", "tiny.toml", "--out", "one", *SETTINGS, cwd=folder)
    assert one.returncode == 0, one.stderr
    # Two micro-batches each, so that gradients are also accumulated before they are averaged.
    two = torchrun(folder, "train", "tiny.toml", "--out", "two", *SETTINGS, "--set", "train.micro_batch=1")
    assert two.returncode == 0, two.stderr
    assert "checkpoint: two/checkpoint" in two.stdout
    assert two.stdout.count("checkpoint:") == 1  # one of the processes speaks
    assert len(curve(folder / "one")) == 8
    assert curve(folder / "two") == pytest.approx(curve(folder / "one"), rel=1e-4)


def test_sharding_on_a_processor_is_refused_and_not_left_out_in_silence(folder):
    done = gistchat("train", "tiny.toml", "--out", "x", "--set", "train.fsdp=full_shard", cwd=folder)
    assert done.returncode == 1
    assert "train.fsdp needs GPUs" in done.stderr
