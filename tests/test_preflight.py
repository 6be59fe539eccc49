"""What recipes name is opened before the first training; all that cannot be had is said at once."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from conftest import TINY_TOML, gistchat
from safetensors.torch import load_file, save_file
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model
from transformers import PegasusConfig, PegasusForConditionalGeneration
from transformers.utils import import_utils

from gistchat import preflight
from gistchat.errors import UserError
from gistchat.memory.summarizers.seq2seq import Seq2SeqWriter
from gistchat.preflight import open_models
from gistchat.recipe.schema import Recipe

RECIPES = Path(__file__).parent.parent / "gistchat" / "recipes"


def save_pegasus(folder: Path) -> Path:
    """A random PEGASUS with the files of the true one: its tokenizer is a SentencePiece model alone."""
    folder.mkdir()
    vocabulary = sentencepiece_model.ModelProto()
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,:!?'0123456789"
    for number, (text, kind) in enumerate(
        [("<pad>", 3), ("</s>", 3), ("<unk>", 2), ("▁", 1), *((c, 1) for c in letters)]
    ):
        piece = vocabulary.pieces.add()
        piece.piece, piece.score, piece.type = text, -number / 10 if kind == 1 else 0, kind
    vocabulary.trainer_spec.model_type, vocabulary.trainer_spec.unk_id = 1, 2
    (folder / "spiece.model").write_bytes(vocabulary.SerializeToString())
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PegasusTokenizer"}))
    layers = {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    size = {"d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64}
    PegasusForConditionalGeneration(PegasusConfig(vocab_size=250, **layers, **size)).save_pretrained(folder)
    return folder


@pytest.fixture
def no_sentencepiece(monkeypatch):
    slow = importlib.import_module("transformers.convert_slow_tokenizer")
    monkeypatch.setattr(slow, "is_sentencepiece_available", lambda: False)
    _, error = import_utils.BACKENDS_MAPPING["sentencepiece"]
    monkeypatch.setitem(import_utils.BACKENDS_MAPPING, "sentencepiece", (lambda: False, error))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find(name) if name != "sentencepiece" else None)


def test_a_missing_tokenizer_library_is_named_with_its_extra(tmp_path, no_sentencepiece):
    folder = save_pegasus(tmp_path / "pegasus")
    said = r"this needs sentencepiece, which is not installed: pip install 'gistchat\[train\]'"
    with pytest.raises(UserError, match=rf"^summary\.model: {folder}: {said}$"):
        open_models({"": Recipe().change(summary={"method": "seq2seq", "model": str(folder)})})


def test_pegasus_reads_its_own_tokenizer(tmp_path):
    writer = Seq2SeqWriter(str(save_pegasus(tmp_path / "pegasus")), 12)
    assert writer.tokenizer.decode(writer.tokenizer("They met.")["input_ids"], skip_special_tokens=True) == "They met."
    assert writer.config.length_penalty == 1


VARIANTS = """
[experiment]
seeds = [0, 1]

[[experiment.variants]]
name = "first"

[[experiment.variants]]
name = "no model"
set = ["model.name=./nowhere", "model.init=pretrained"]

[[experiment.variants]]
name = "no summarizer"
set = ["summary.method=seq2seq", "summary.model=./nothing"]

[[experiment.variants]]
name = "no layout"
set = ["model.name=smollm2", "model.init=pretrained", "model.format=paper"]

[[experiment.variants]]
name = "no prompt"
set = ["summary.method=llm", "summary.prompt=none.txt"]
"""


def test_all_that_cannot_be_had_is_said_before_the_first_training(tiny_folder):
    (tiny_folder / "several.toml").write_text(TINY_TOML + VARIANTS)
    done = gistchat("run", "several.toml", cwd=tiny_folder)
    assert (done.returncode, done.stdout) == (1, "")
    opened, _, problems = done.stderr.partition("error: ")
    assert problems == (
        "4 of these cannot be had: (1) no-model-seed0: model.name: ./nowhere: no such folder; "
        "(2) no-summarizer-seed0: summary.model: ./nothing: no such folder; "
        "(3) no-layout-seed0: model.name: model.format 'paper' uses token types, which only GPT-2 models (DialoGPT "
        "among them) have; use speaker-tokens; "
        "(4) no-prompt-seed0: summary.prompt: none.txt: cannot be read as a prompt (No such file or directory)\n"
    )
    assert "open: model.name gpt2 (1 of 7)" in opened
    assert "open: summary.model ./nothing" in opened
    assert not (tiny_folder / "runs" / "several" / "first-seed0").exists()


def test_data_and_items_are_looked_at_before_the_first_training(tiny_folder):
    variants = VARIANTS.partition('\n\n[[experiment.variants]]\nname = "no model"')[0]
    for name, setting, problem in (
        ("data", "data.source=gone.jsonl", "gone.jsonl: no such file or folder"),
        ("items", "evaluate.min_history=50", "min_history"),
    ):
        more = f'\n\n[[experiment.variants]]\nname = "other"\nset = ["{setting}", "data.folder=other-{name}"]\n'
        (tiny_folder / "several.toml").write_text(TINY_TOML + variants + more)
        done = gistchat("run", "several.toml", cwd=tiny_folder)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1].startswith("error: other-seed0: ")
        assert problem in done.stderr.splitlines()[-1]
        assert not (tiny_folder / "runs" / "several" / "first-seed0" / "checkpoint").exists()


def test_weights_that_are_not_whole_are_found_without_loading_them(tmp_path, tiny_base, monkeypatch):
    shutil.copytree(tiny_base.source, tmp_path / "base")
    recipe = Recipe().change(model={"name": str(tmp_path / "base")})
    devices = []
    read = preflight.read_model
    monkeypatch.setattr(preflight, "read_model", lambda *a, **more: devices.append(model := read(*a, **more)) or model)
    open_models({"": recipe})
    assert {parameter.device.type for parameter in devices[0].parameters()} == {"meta"}
    path = tmp_path / "base" / "model.safetensors"
    weights = load_file(path)
    weights.pop("transformer.h.1.mlp.c_fc.weight")
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"model\.name: .*not hold the whole model \(missing: transformer\.h\.1\.mlp"):
        open_models({"": recipe})


def test_one_run_opens_its_models_once_and_a_finished_one_none(tiny_folder):
    first = gistchat("run", "tiny.toml", cwd=tiny_folder)
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("open: ") == 1
    assert first.stderr.index("open: model.name gpt2 (1 of 1)") < first.stderr.index("prepare: ")
    assert "open: " not in gistchat("run", "tiny.toml", cwd=tiny_folder).stderr


def paper_recipe(folder: Path, *variants: str) -> Path:
    """The paper's recipe, of these variants or of all, for tiny models."""
    text = (RECIPES / "paper.toml").read_text()
    head, *blocks = text.split("[[experiment.variants]]\n")
    blocks = [block for block in blocks if not variants or block.split('"')[1] in variants]
    path = folder / "paper.toml"
    path.write_text("[[experiment.variants]]\n".join([head, *blocks]))
    return path


FEW = ["train.steps=2", "train.batch_size=2", "train.micro_batch=0", "train.validation_items=2"]
FEW += ["train.evaluate_every=2", "evaluate.items=4", "evaluate.reply_items=2", "evaluate.rank_items=0"]
FEW += ["evaluate.max_reply_tokens=6", "evaluate.resamples=100"]


def test_the_papers_recipe_says_at_once_that_a_package_is_missing(hub_in_this_process, tmp_path, no_sentencepiece):
    done = gistchat("run", "paper", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: pegasus-seed0: summary.model: google/pegasus-xsum: this needs sentencepiece, which is not installed: "
        "pip install 'gistchat[train]'"
    )
    opened = [line.split(" (")[0] for line in done.stderr.splitlines() if line.startswith("open: ")]
    assert list(dict.fromkeys(opened)) == [
        "open: model.name gpt2",
        "open: summary.model philschmid/bart-large-cnn-samsum",
        "open: summary.model google/pegasus-xsum",
    ]
    assert not (tmp_path / "runs").exists()


def test_the_papers_recipe_runs_from_the_hub(hub, tmp_path):
    settings = [word for setting in FEW for word in ("--set", setting)]
    done = hub.gistchat("run", paper_recipe(tmp_path), *settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.index("open: summary.model philschmid") < done.stderr.index("--- run 1 of ")
    rows = [json.loads(line) for line in (tmp_path / "runs/paper/bart-seed0/predictions.jsonl").open()]
    assert len([row for row in rows if row["strategy"] == "summary" and row["gist"]]) == 4


def test_what_is_gated_or_gone_is_said_before_the_first_training(hub, tmp_path):
    text = paper_recipe(tmp_path, "TextRank").read_text()
    for name, setting in (("gated", "model.name=google/gemma-2-2b-it"), ("gone", "summary.model=ada/nothing")):
        text += f'\n[[experiment.variants]]\nname = "{name}"\nset = ["model.format=auto", "{setting}"]\n'
    (tmp_path / "paper.toml").write_text(text)
    done = hub.gistchat("run", "./paper.toml", cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: 2 of these cannot be had: (1) gated-seed0: model.name: ")
    assert "google/gemma-2-2b-it" in last
    assert "(2) gone-seed0: summary.model: " in last
    assert not (tmp_path / "runs").exists()
