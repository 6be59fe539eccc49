"""Models by revision and commit, from the loopback hub: what is fetched, and what is said when it cannot be had."""

import json
import time
from dataclasses import asdict

import peft
import pytest
import torch
from safetensors.torch import load, save

from gistchat import hub as asking
from gistchat.errors import UserError
from gistchat.memory.summarizers.seq2seq import Seq2SeqWriter
from gistchat.models.base import load_model, load_tokenizer
from gistchat.models.checkpoint import load_checkpoint, save_checkpoint
from gistchat.models.hub import OFFLINE_HINT, fetched
from gistchat.models.resolve import resolve_base
from gistchat.prompts.formats import make_format
from gistchat.recipe.schema import ModelConfig, Recipe
from gistchat.train.train import prepare_model

SMOLLM2, PICKLED = "HuggingFaceTB/SmolLM2-135M-Instruct", "microsoft/DialoGPT-small"
GATED = "google/gemma-2-2b-it"


@pytest.fixture(autouse=True)
def _hub(hub_in_this_process, monkeypatch):
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.05)


def base_of(name, trained=None):
    return resolve_base(ModelConfig(name=name), 0, trained)


def weights_of(base):
    return load_model(base).get_input_embeddings().weight


def change_weights(repository, branch="main"):
    """Another version of a model; returns its commit."""
    tensors = load(repository.file("model.safetensors"))
    changed = save({name: tensor + 1 for name, tensor in tensors.items()}, metadata={"format": "pt"})
    return repository.commit({"model.safetensors": changed}, "Train more", branch)


def error_of(name):
    with pytest.raises(UserError) as caught:
        weights_of(base_of(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_branch_a_tag_and_a_commit_are_read_or_refused(hub):
    repository = hub[SMOLLM2]
    first = repository.at("main").oid
    repository.tag("v1")
    second = change_weights(repository)
    old = weights_of(base_of(f"{SMOLLM2}@v1"))
    for name, commit in ((f"{SMOLLM2}@{first}", first), (SMOLLM2, second), (f"{SMOLLM2}@main", second)):
        base = base_of(name)
        assert (base.source, base.commit, base.identity) == (SMOLLM2, commit, f"{SMOLLM2}@{commit}")
        assert torch.equal(weights_of(base), old) == (commit == first)
    assert "has no such branch, tag or commit" in error_of(f"{SMOLLM2}@v2")
    assert "has no such branch, tag or commit" in error_of(f"{SMOLLM2}@{'0' * 40}")


def test_what_was_fetched_is_read_at_once_whatever_the_hub_answers(hub, capsys):
    expected = weights_of(base_of(SMOLLM2))
    for kind in ("busy", "down"):
        hub.fault(kind, seconds=600)
        hub.requests.clear()
        start = time.monotonic()
        base = base_of(SMOLLM2)
        load_tokenizer(base)
        assert torch.equal(weights_of(base), expected)
        assert (time.monotonic() - start < 3, len(hub.requests)) == (True, 1)
        hub.mend()
    with hub.offline():
        start = time.monotonic()
        assert torch.equal(weights_of(base_of(SMOLLM2)), expected)
        assert time.monotonic() - start < 3
    hub.requests.clear()
    load_model(base)
    assert hub.requests == []  # a commit never changes
    assert capsys.readouterr().err == ""


def test_a_busy_hub_is_asked_again_and_that_is_said(hub, capsys):
    hub.fault("busy", times=1)
    hub.fault("down", times=2)
    weights_of(base_of(SMOLLM2))
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "the hub is busy (429); trying again in 1 s"
    assert [line.split(";")[0] for line in said[1:]] == ["the hub is busy (503)"] * 2


def test_refusals_are_told_apart_and_the_network_is_blamed_only_for_itself(hub):
    page = f"{hub.endpoint}/{GATED}"
    gated = error_of(GATED)
    assert gated.endswith(f": it is gated: ask for access at {page}, then log in with hf auth login")
    hub.log_in()
    assert error_of(GATED).endswith(f": it is gated: ask for access at {page}; your account has none yet")
    hub.token_path.write_text("hf_nobody")
    assert "the hub does not take your login: log in again with hf auth login" in error_of(SMOLLM2)
    hub.token_path.unlink()
    assert "no such model on the hub, or a private one: check the name" in error_of("ada/nothing")
    hub.fault("busy", seconds=600)
    assert "too many requests from here (429): try again in 600 s" in error_of(SMOLLM2)
    hub.mend()
    hub.fault("down")
    assert "the hub is out of order (503): try again later" in error_of(SMOLLM2)
    hub.mend()
    with hub.offline():
        assert error_of(SMOLLM2).endswith(OFFLINE_HINT)
    assert "network" not in gated


def test_a_slow_hub_is_waited_for_no_longer_than_its_clients_limit(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT", 1)
    hub.fault("slow", seconds=30)
    start = time.monotonic()
    assert "the hub did not answer within 1 s; HF_HUB_ETAG_TIMEOUT=60 waits longer" in error_of(SMOLLM2)
    assert time.monotonic() - start < 10


def test_weights_are_fetched_once_in_one_format_and_no_other_host_is_asked(hub):
    folder = fetched(PICKLED)
    load_model(base_of(PICKLED))
    both = "openai-community/gpt2"
    fetched(both)
    for name in (PICKLED, both):
        sent = hub.downloads(name)
        assert len(sent) == len(set(sent))
        kinds = {path.rpartition(".")[2] for path in sent} & {"bin", "safetensors", "h5", "msgpack", "ot", "onnx"}
        assert kinds == {"bin" if name == PICKLED else "safetensors"}
    assert hub.asked_outside() == []
    assert hub.home.as_posix() in folder


def adapter(hub, folder, base):
    """A LoRA checkpoint of a base, as a run writes it."""
    recipe = Recipe().change(model={"name": base.source, "format": "chat-template"}, train={"method": "lora"})
    prompt_format = make_format("chat-template", load_tokenizer(base))
    model = prepare_model(load_model(base), recipe, prompt_format)
    noted = {"source": base.source, "identity": base.identity, "commit": base.commit}
    save_checkpoint(folder, model, prompt_format, recipe, {"base": noted} if base.commit else {})
    return recipe


def test_an_adapter_is_loaded_with_the_commit_that_it_was_trained_on(hub, tmp_path, capsys):
    base = base_of(SMOLLM2)
    before = weights_of(base)
    adapter(hub, tmp_path / "lora", base)
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (SMOLLM2, base.commit)
    hub[SMOLLM2].commit({"README.md": b"Better words"}, "Words")
    assert torch.equal(load_checkpoint(tmp_path / "lora").model.get_input_embeddings().weight, before)
    assert "has changed" not in capsys.readouterr().err  # words about it are not it
    newer = change_weights(hub[SMOLLM2])
    assert torch.equal(load_checkpoint(tmp_path / "lora").model.get_input_embeddings().weight, before)
    said = capsys.readouterr().err
    assert f"{SMOLLM2} has changed on the hub since this was trained" in said
    assert base.commit[:12] in said
    assert newer[:12] in said
    plain = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "lora")  # any other program finds it, too
    assert torch.equal(plain.get_input_embeddings().weight, before)


def test_a_base_that_was_noted_without_a_commit_is_still_the_same(hub):
    trained = {"source": SMOLLM2, "identity": SMOLLM2}
    assert asdict(base_of(SMOLLM2, trained)) == {"source": SMOLLM2, "identity": SMOLLM2, "files": "", "commit": ""}
    assert weights_of(base_of(SMOLLM2, trained)).shape[0] > 0
    assert base_of(PICKLED, trained).commit  # what another model was trained on is of no account


def test_a_summarizer_is_named_with_a_revision(hub):
    repository = hub["google-t5/t5-small"]
    repository.tag("v1")
    repository.commit({"model.safetensors": b"", "pytorch_model.bin": b""}, "Spoil")
    assert Seq2SeqWriter("google-t5/t5-small@v1", 10).model.config.model_type == "t5"
