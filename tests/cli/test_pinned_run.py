"""A run whose base changes on the hub afterwards: trained, run again and chatted with, by the commands."""

import json

import pytest
from hub_datasets import PERSONACHAT
from safetensors.torch import load, save

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture
def train(hub, tmp_path):
    def run(*more):
        words = ("train", "demo", "--model", SMOLLM2, "--corpus", "personachat", "--from", "hub", "--out", "run")
        quick = ("--set", "train.method=lora", "--set", "train.steps=1", "--set", "context.budget=32")
        return hub.gistchat(*words, *quick, *more, cwd=tmp_path)

    return run


def test_a_run_keeps_to_the_commit_that_it_was_trained_on(hub, tmp_path, train):
    commit = hub[SMOLLM2].at("main").oid
    first = train()
    assert first.returncode == 0, first.stderr
    noted = json.loads((tmp_path / "run/checkpoint/gistchat.json").read_text())["base"]
    assert noted == {"source": SMOLLM2, "identity": f"{SMOLLM2}@{commit}", "commit": commit}
    assert f"hub {PERSONACHAT}@{hub[f'datasets/{PERSONACHAT}'].at('main').oid} (train)" in first.stderr
    tensors = load(hub[SMOLLM2].file("model.safetensors"))
    changed = save({name: tensor + 1 for name, tensor in tensors.items()}, metadata={"format": "pt"})
    hub[SMOLLM2].commit({"model.safetensors": changed}, "Train more")
    again = train()
    assert again.returncode == 0, again.stderr
    assert "done before, skipped" in again.stderr.splitlines()[-1]
    assert f"{SMOLLM2} has changed on the hub since this was trained" in again.stderr
    hub.fault("busy", seconds=600)
    chat = hub.gistchat(
        "chat", "run", "--engine", "torch", cwd=tmp_path, stdin="Hi\n", TRANSFORMERS_VERBOSITY="warning"
    )
    assert chat.returncode == 0, chat.stderr
    assert not [line for line in chat.stderr.splitlines() if "warn" in line.lower() or "429" in line]
