"""Chats need neither torch nor what belongs to it: whoever only talks need not install them."""

import json
import os
import subprocess
import sys

import pytest
from conftest import make_dialogue

from gistchat.models.export import write_checkpoint_gguf

# In place of the installed command: importing one of these fails, as where it is not installed.
REFUSING = """
import sys

REFUSED = {"torch", "transformers", "peft", "accelerate", "tensorboard", "matplotlib", "sacrebleu", "rouge_score"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
import gistchat.cli

try:
    gistchat.cli.main()
finally:
    unneeded = {"openai", "huggingface_hub", "tokenizers", "datasets", "gguf"}
    print("imported:", *sorted(unneeded & sys.modules.keys()), file=sys.stderr)
"""


def run(*words, cwd, stdin=""):
    """The output, the errors, what was imported that need not be, and the exit code."""
    done = subprocess.run(
        [sys.executable, "-c", REFUSING, *map(str, words)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "120"},
    )
    *said, last = done.stderr.splitlines()
    assert last.startswith("imported:"), done.stderr
    return done.stdout, "\n".join(said), last.split()[1:], done.returncode


@pytest.fixture(scope="module")
def model_file(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "tiny.gguf"
    write_checkpoint_gguf(checkpoint, path, "f16")
    return path


def test_a_chat_with_the_packaged_adapter(tmp_path):
    words = ("chat", "--max-reply-tokens", "4", "--seed", "1")
    run(*words, cwd=tmp_path, stdin="")  # its adapter is converted, once
    shown, said, imported, code = run(*words, cwd=tmp_path, stdin="Hi\n/gist\n/pin I am Ann.\n/save x.jsonl\n")
    assert (code, imported) == (0, []), said
    assert "saved x.jsonl" in shown
    assert "torch" not in said
    assert shown.splitlines()[0].strip()


def test_a_chat_with_a_file_and_replies_to_a_file(model_file, tmp_path):
    words = (model_file, "--max-reply-tokens", "4", "--seed", "1")
    shown, said, imported, code = run("chat", *words, cwd=tmp_path, stdin="Hi\n")
    assert (code, imported) == (0, []), said
    assert shown.strip()
    (tmp_path / "in.jsonl").write_bytes(b"".join(make_dialogue(i).to_line() for i in range(2)))
    _, said, imported, code = run("reply", "in.jsonl", "out.jsonl", *words, cwd=tmp_path)
    assert (code, imported) == (0, []), said
    assert (tmp_path / "out.jsonl").read_text().count("\n") == 2


def test_recall_without_plots(tmp_path):
    turns = [{"speaker": "user", "text": "I live in Lisbon."}, {"speaker": "assistant", "text": "How nice!"}]
    asked = [{"question": "Where do I live?", "evidence": [1]}]
    (tmp_path / "own.json").write_text(json.dumps({"turns": turns, "questions": asked}))
    shown, said, imported, code = run("recall", "own.json", "--budgets", "64", "--out", "out", cwd=tmp_path)
    assert code == 0, said
    assert imported == []
    assert "100.0 [100.0, 100.0]" in shown
    assert "pip install 'gistchat[train]'" in said.splitlines()[-1]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["recall.json"]
    assert "100.0 [100.0, 100.0]" in run("recall", "out/recall.json", cwd=tmp_path)[0]


def test_a_run_that_was_converted_before(run_folder, tmp_path):
    from gistchat.engines.open import open_answerer

    open_answerer(run_folder)
    shown, said, imported, code = run("chat", run_folder, "--max-reply-tokens", "4", cwd=tmp_path, stdin="Hi\n")
    assert (code, imported) == (0, []), said
    assert shown.strip()


def test_what_needs_torch_says_how_to_get_it(model_file, run_folder, tmp_path):
    (tmp_path / "talks.jsonl").write_bytes(b"".join(make_dialogue(i).to_line() for i in range(20)))
    (tmp_path / "r.toml").write_text('[data]\ncorpus = "jsonl"\nsource = "talks.jsonl"\n')
    for words in (("train", "./r.toml"), ("run", "./r.toml"), ("chat", run_folder, "--engine", "torch")):
        _, said, _, code = run(*words, cwd=tmp_path, stdin="Hi\n")
        assert code == 1, said
        assert "Traceback" not in said
        assert "pip install 'gistchat[train]'" in said.splitlines()[-1]


def test_help_imports_little(tmp_path):
    for words in (("--help",), ("chat", "--help"), ("train", "--help"), ("--version",)):
        shown, said, imported, code = run(*words, cwd=tmp_path)
        assert (code, imported, said) == (0, [], "")
        assert "gistchat" in shown
