"""Files that lack a part of a model: named when it is loaded, instead of random weights or five tokens in its place."""

import shutil

import pytest
import torch
from conftest import make_dialogue, small_recipe, train_tiny
from safetensors.torch import load_file, save_file

from gistchat.errors import UserError
from gistchat.files import file_hash, read_json, write_json
from gistchat.models.base import load_model, load_tokenizer, tokenizer_fingerprint
from gistchat.models.checkpoint import load_checkpoint
from gistchat.models.checkpoint_folder import METADATA, PACKAGED
from gistchat.models.export import export
from gistchat.models.resolve import resolve_base
from gistchat.models.scratch import scratch_base
from gistchat.recipe.schema import ModelConfig
from tools import model_card

LAYER = "transformer.h.1.mlp.c_fc.weight"


def change_weights(folder, change, name="model.safetensors"):
    weights = load_file(folder / name)
    change(weights)
    save_file(weights, folder / name, metadata={"format": "pt"})


@pytest.fixture
def base_folder(tiny_base, tmp_path):
    return shutil.copytree(tiny_base.source, tmp_path / "base")


def resolved(folder):
    return resolve_base(ModelConfig(name=str(folder)), 0)


CHANGES = {
    "a layer": (lambda w: w.pop(LAYER), rf"\(missing: {LAYER}\)"),
    "the tied embedding": (lambda w: w.pop("transformer.wte.weight"), r"\(missing: .*transformer\.wte\.weight"),
    "a block": (lambda w: [w.pop(n) for n in list(w) if ".h.1." in n], r"missing: transformer\.h\.1.* and 9 more\)"),
    "a shape": (lambda w: w.update({LAYER: torch.ones(3, 3)}), rf"\(of another shape: {LAYER}\)"),
    "all names": (lambda w: [w.update({f"x.{n}": w.pop(n)}) for n in list(w)], r"missing: .* and \d\d more"),
    "both": (
        lambda w: (w.pop(LAYER), w.update({"transformer.ln_f.bias": torch.ones(3)})),
        rf"\(missing: {LAYER}; of another shape: transformer\.ln_f\.bias\)",
    ),
}


@pytest.mark.parametrize(("change", "problem"), CHANGES.values(), ids=CHANGES)
def test_a_base_without_some_weights_is_refused_and_they_are_named(base_folder, change, problem, capfd):
    change_weights(base_folder, change)
    with pytest.raises(UserError, match=rf"base: these files do not hold the whole model .*{problem}"):
        load_model(resolved(base_folder))
    assert capfd.readouterr().err == ""


def test_weights_that_the_model_does_not_have_are_said(base_folder, capsys):
    change_weights(base_folder, lambda weights: weights.update({"classifier.weight": torch.ones(2)}))
    load_model(resolved(base_folder))
    assert "base: holds weights that the model does not have, left out: classifier.weight\n" in capsys.readouterr().err


def edit(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


TOKENIZER_CHANGES = {
    "normalizer": lambda folder: edit(folder / "tokenizer.json", '"normalizer": null', '"normalizer": {"type": "NFC"}'),
    "spaces": lambda folder: edit(folder / "tokenizer.json", '"add_prefix_space": false', '"add_prefix_space": true'),
    "settings": lambda folder: edit(folder / "tokenizer_config.json", "{", '{"model_max_length": 77, '),
    "configuration": lambda folder: edit(folder / "config.json", '"n_head": 2', '"n_head": 4'),
    "chat template": lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),
    "another chat template": lambda folder: (
        (folder / "additional_chat_templates").mkdir(),
        (folder / "additional_chat_templates" / "a.jinja").write_text("{{ messages }}"),
    ),
}


@pytest.mark.parametrize("change", TOKENIZER_CHANGES.values(), ids=TOKENIZER_CHANGES)
def test_a_base_is_another_one_when_its_tokenizer_configuration_or_template_is(base_folder, change):
    before = resolved(base_folder)
    fingerprint = tokenizer_fingerprint(load_tokenizer(before), before)
    assert resolved(base_folder) == before
    change(base_folder)
    after = resolved(base_folder)
    assert after.identity != before.identity
    assert tokenizer_fingerprint(load_tokenizer(after), after) != fingerprint  # so stored tokens and summaries go, too


def test_a_scratch_base_in_the_cache_that_lost_its_tokenizer_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr("gistchat.models.scratch.cache_dir", lambda: tmp_path)
    config = ModelConfig(name="gpt2", init="scratch", size="tiny")
    folder = tmp_path / "models" / scratch_base(config, 0).identity
    for name in ("tokenizer.json", "config.json", "model.safetensors"):
        before = file_hash(folder / name)
        (folder / name).unlink()
        scratch_base(config, 0)
        assert file_hash(folder / name) == before


@pytest.fixture
def checkpoint(run_folder, tmp_path):
    return shutil.copytree(run_folder / "checkpoint", tmp_path / "run" / "checkpoint")


def test_hashes_cover_every_file_of_a_checkpoint(checkpoint, tmp_path):
    (checkpoint / "notes.txt").write_text("A person may add files.")
    export(checkpoint, tmp_path / "exported")
    for folder in (checkpoint, tmp_path / "exported"):
        metadata = read_json(folder / METADATA)
        names = {path.name for path in folder.iterdir()} - {METADATA, "notes.txt"}
        assert {*metadata["weights"], *metadata["files"]} == names >= {"config.json", "tokenizer.json"}
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json", "model.safetensors"])
@pytest.mark.parametrize("how", ["missing", "edited", "cut"])
def test_a_checkpoint_with_a_file_missing_or_changed_is_refused(checkpoint, name, how):
    data = (checkpoint / name).read_bytes()
    if how == "missing":
        (checkpoint / name).unlink()
    else:
        (checkpoint / name).write_bytes(data[:-40] if how == "cut" else data + b" ")
    with pytest.raises(UserError, match=rf"{name}: missing or damaged \(its hash differs\)"):
        load_checkpoint(checkpoint.parent)


@pytest.fixture
def old_checkpoint(checkpoint):
    """As earlier versions wrote it: with hashes of the weights only."""
    metadata = read_json(checkpoint / METADATA)
    del metadata["files"]
    write_json(checkpoint / METADATA, metadata)
    return checkpoint


def test_a_checkpoint_of_an_earlier_version_loads_unless_something_is_missing(old_checkpoint):
    assert load_checkpoint(old_checkpoint).tokenizer("hello")["input_ids"]
    (old_checkpoint / "tokenizer.json").rename(old_checkpoint / "away")
    with pytest.raises(UserError, match="checkpoint: no tokenizer in this folder"):
        load_checkpoint(old_checkpoint)
    (old_checkpoint / "away").rename(old_checkpoint / "tokenizer.json")
    (old_checkpoint / "tokenizer_config.json").unlink()
    assert load_checkpoint(old_checkpoint).tokenizer("hello")["input_ids"]


def test_a_checkpoint_of_an_earlier_version_whose_configuration_has_more_layers_is_refused(old_checkpoint):
    edit(old_checkpoint / "config.json", '"n_layer": 2', '"n_layer": 3')
    with pytest.raises(UserError, match=r"do not hold the whole model \(missing: transformer\.h\.2.* more\)"):
        load_checkpoint(old_checkpoint)
    edit(old_checkpoint / "config.json", '"n_layer": 3', '"n_layer": 2')
    edit(old_checkpoint / "config.json", '"n_positions": 1024', '"n_positions": 512')
    with pytest.raises(UserError, match=r"of another shape: transformer\.wpe\.weight"):
        load_checkpoint(old_checkpoint)


def test_metadata_that_is_none(checkpoint):
    metadata = read_json(checkpoint / METADATA)
    for changed in ([], {}, {**metadata, "weights": 3}, {**metadata, "files": "x"}, {**metadata, "recipe": None}):
        write_json(checkpoint / METADATA, changed)
        with pytest.raises(UserError, match=r"gistchat\.json"):
            load_checkpoint(checkpoint)


@pytest.fixture(scope="module")
def adapter_run(tmp_path_factory):
    """A trained LoRA run on a base in a folder, to be read only."""
    folder = tmp_path_factory.mktemp("adapter")
    (folder / "talks.jsonl").write_bytes(b"".join(make_dialogue(i).to_line() for i in range(20)))
    tiny = resolve_base(ModelConfig(name="gpt2", init="scratch", size="tiny"), 0)
    shutil.copytree(tiny.source, folder / "base")
    recipe = small_recipe(folder / "talks.jsonl", folder / "data").change(
        model={"name": str(folder / "base"), "init": "pretrained"},
        train={"method": "lora", "lora_rank": 2, "steps": 1, "evaluate_every": 1, "save_every": 1},
    )
    train_tiny(recipe, folder / "run")
    return folder


@pytest.fixture
def adapter(adapter_run, tmp_path):
    """A copy of its checkpoint; changes to it are hidden from the hashes."""
    folder = shutil.copytree(adapter_run / "run" / "checkpoint", tmp_path / "adapter")
    load_checkpoint(folder)
    metadata = read_json(folder / METADATA)
    assert "adapter_config.json" in metadata["files"]
    write_json(folder / METADATA, {**metadata, "weights": {}, "files": {}})
    return folder


def first(weights, part):
    return next(name for name in sorted(weights) if part in name)


ADAPTER_CHANGES = {
    "a matrix": (lambda w: w.pop(first(w, "lora_A")), r"the adapter lacks weights \(.*lora_A\.weight\)"),
    "rows of new tokens": (
        lambda w: w.pop(first(w, "trainable_tokens_delta")),
        r"lacks weights \(.*trainable_tokens_delta",
    ),
    "most": (lambda w: [w.pop(n) for n in sorted(w)[2:]], r"lacks weights \(.* and \d+ more\)"),
    "a shape": (
        lambda w: w.update({first(w, "lora_B"): torch.ones(5, 2)}),
        r"weights are of another shape .*lora_B\.weight\)",
    ),
}


@pytest.mark.parametrize(("change", "problem"), ADAPTER_CHANGES.values(), ids=ADAPTER_CHANGES)
def test_an_adapter_without_some_weights_is_refused(adapter, change, problem, capfd):
    change_weights(adapter, change, "adapter_model.safetensors")
    with pytest.raises(UserError, match=problem):
        load_checkpoint(adapter)
    assert capfd.readouterr().err == ""


def test_an_adapter_with_another_configuration_is_refused(adapter):
    config = read_json(adapter / "adapter_config.json")
    write_json(adapter / "adapter_config.json", {**config, "r": 3})
    with pytest.raises(UserError, match="of another shape"):
        load_checkpoint(adapter)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot load the checkpoint"):
        load_checkpoint(adapter)


def test_an_adapter_on_a_base_that_has_changed_since_is_said(adapter_run, adapter, capsys):
    recipe = read_json(adapter / METADATA)["recipe"]
    other = shutil.copytree(adapter_run / "base", adapter.parent / "other")
    edit(other / "tokenizer_config.json", "{", '{"model_max_length": 77, ')
    metadata = read_json(adapter / METADATA)
    recipe["model"]["name"] = str(other)
    write_json(adapter / METADATA, {**metadata, "recipe": recipe})
    load_checkpoint(adapter)
    assert "an adapter of another version of the model" in capsys.readouterr().err


def test_the_packaged_adapter_loads_and_what_its_tool_writes_has_the_hashes(adapter_run, tmp_path, monkeypatch):
    load_checkpoint(PACKAGED)
    monkeypatch.setattr(model_card, "PACKAGED", tmp_path / "packed")
    model_card.pack(adapter_run / "run" / "checkpoint")
    metadata = read_json(tmp_path / "packed" / METADATA)
    assert set(metadata["weights"]) == {"adapter_model.safetensors"}
    assert set(metadata["files"]) == {"adapter_config.json"}
    load_checkpoint(tmp_path / "packed")
    write_json(tmp_path / "packed" / "adapter_config.json", {})
    with pytest.raises(UserError, match=r"adapter_config\.json: missing or damaged"):
        load_checkpoint(tmp_path / "packed")
