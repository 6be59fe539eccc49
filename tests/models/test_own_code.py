"""Models and data sets that come with Python code: it is never run, and nobody is asked."""

import ast
import io
import json
import shutil
from pathlib import Path

import pytest
from conftest import gistchat

import gistchat as package
from gistchat.corpora import hub
from gistchat.errors import UserError
from gistchat.evaluate.model_metrics import bertscores, mauves
from gistchat.memory.summarizers.seq2seq import Seq2SeqWriter
from gistchat.models.base import Base, load_model, load_tokenizer
from gistchat.models.checkpoint import load_checkpoint
from gistchat.models.checkpoint_folder import METADATA, hashes_of
from gistchat.models.import_paper import import_checkpoint

CLASSES = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM")
FIRST_TURN = "y\n"  # what a person says to the bot, and a consent to the library's question


@pytest.fixture(autouse=True)
def stdin(monkeypatch, tmp_path):
    """Standard input with a first turn in it, which nobody may read; and a place for downloaded code to be copied."""
    turns = io.StringIO(FIRST_TURN)
    monkeypatch.setattr("sys.stdin", turns)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    yield turns
    assert turns.read() == FIRST_TURN


def with_code(folder: Path, part: str, known: bool = False) -> Path:
    """Give a model's folder code that writes a file beside it.

    Args:
        part: what the code is for: model, tokenizer or both.
        known: leave the model of a type that transformers knows itself.
    """
    (folder / "evil.py").write_text(
        f"from pathlib import Path\nPath({str(folder.parent / 'ran')!r}).write_text('')\nclass Evil: pass\n"
    )
    if part in ("model", "both"):
        path = folder / "config.json"
        config = json.loads(path.read_text()) | {"auto_map": dict.fromkeys(CLASSES, "evil.Evil")}
        path.write_text(json.dumps(config if known else config | {"model_type": "evil"}))
    if part in ("tokenizer", "both"):
        path = folder / "tokenizer_config.json"
        config = json.loads(path.read_text()) | {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
        if not known:
            config["tokenizer_class"] = "Evil"
        path.write_text(json.dumps(config))
    if (path := folder / METADATA).exists():  # a stranger gives the hashes of what he sends
        path.write_text(json.dumps(json.loads(path.read_text()) | hashes_of(folder)))
    return folder


LOADERS = {
    "tokenizer": lambda folder: load_tokenizer(Base(str(folder), "")),
    "weights": lambda folder: load_model(Base(str(folder), "")),
    "seq2seq": lambda folder: Seq2SeqWriter(str(folder), 12),
    "BERTScore": lambda folder: bertscores(["a"], ["b"], str(folder)),
    "MAUVE": lambda folder: mauves({1: (["a"] * 100, ["b"] * 100)}, str(folder), 0),
    "import-ckpt": lambda folder: import_checkpoint(str(folder), folder.parent / "imported"),
}


@pytest.mark.parametrize("part", ["model", "both"])
@pytest.mark.parametrize("loader", LOADERS)
def test_a_model_that_needs_its_own_code_is_refused(loader, part, tiny_base, tmp_path):
    folder = with_code(shutil.copytree(tiny_base.source, tmp_path / "model"), part)
    with pytest.raises(UserError, match="needs Python code of its own") as error:
        LOADERS[loader](folder)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", ["model", "tokenizer", "both"])
def test_a_model_that_transformers_knows_is_loaded_without_its_code(part, tiny_base, tmp_path):
    folder = with_code(shutil.copytree(tiny_base.source, tmp_path / "model"), part, known=True)
    assert load_model(Base(str(folder), "")).config.model_type == "gpt2"
    assert load_tokenizer(Base(str(folder), ""))("hello")["input_ids"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", ["model", "tokenizer", "both"])
def test_a_strangers_run_does_not_run_its_code(part, run_folder, tmp_path):
    run = shutil.copytree(run_folder, tmp_path / "run")
    with_code(run / "checkpoint", part)
    done = gistchat("chat", "run", cwd=tmp_path, stdin="y\ny\n")
    assert not (tmp_path / "checkpoint" / "ran").exists()
    assert not (run / "ran").exists()
    if part != "tokenizer":  # a tokenizer has a form that transformers reads without code
        assert done.returncode == 1
        assert done.stdout == ""
        assert [line for line in done.stderr.splitlines() if "needs Python code of its own" in line] == [
            done.stderr.strip()
        ]
    else:
        assert "Evil" not in done.stdout


def test_only_lora_adapters_are_read(run_folder, tiny_base, tmp_path):
    run = shutil.copytree(run_folder, tmp_path / "run")
    code = {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "hi", "num_virtual_tokens": 2}
    code |= {"tokenizer_name_or_path": tiny_base.source, "tokenizer_kwargs": {"trust_remote_code": True}}
    config = {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "inference_mode": False, **code}
    (run / "checkpoint" / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"adapter_config.json: an adapter of type .*PROMPT_TUNING"):
        load_checkpoint(run)


@pytest.mark.parametrize("name", ["data.py", "chitchat.py", "loader.py"])
def test_a_data_set_with_a_script_does_not_run_it(name, tmp_path):
    folder = tmp_path / name.removesuffix(".py")
    folder.mkdir()
    (folder / name).write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).write_text('')\n")
    with pytest.raises(UserError) as error:
        hub.load("chitchat", [str(folder)])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_every_loader_of_transformers_says_that_no_code_is_run():
    missing = []
    for path in Path(package.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called = ast.unparse(node.func)
            if not (called.startswith("Auto") and called.endswith(".from_pretrained")):
                continue
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if words.get("trust_remote_code") != "False":
                missing.append(f"{path.name}:{node.lineno}: {called}")
    assert not missing
