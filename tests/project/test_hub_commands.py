"""The documents' commands that need the hub, through one on loopback with tiny models."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS_HUB = re.compile(r"--from hub|--push|--(?:model|with) (?:gpt2(?!.*scratch)|DialoGPT|[A-Za-z]\w*/)")
NO_COMMANDS = ("LOG.md", "cli.md")  # what was once done, and the help of all options
FEW = ["train.steps=2", "train.batch_size=2", "train.evaluate_every=2", "train.validation_items=2", "train.samples=0"]
FEW += ["evaluate.items=2", "evaluate.reply_items=1", "evaluate.max_reply_tokens=4", "evaluate.resamples=50"]
FEW += ["evaluate.strategies=recent,summary", "evaluate.min_history=1", "data.max_turn_chars=60"]
FEW += ["train.max_tokens=128", "context.budget=40", "evaluate.base=false"]
FEW = [word for setting in FEW for word in ("--set", setting)]


def commands() -> list[list[str]]:
    """The words of each command, without its comment, once."""
    lines = [
        line.strip().partition("  #")[0].strip().replace("@REVISION", "@main")
        for document in DOCUMENTS
        if document.name not in NO_COMMANDS
        for line in document.read_text(encoding="utf-8").splitlines()
        if line.startswith("    gistchat ") and NEEDS_HUB.search(line)
    ]
    return [line.split() for line in dict.fromkeys(lines)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("documents")


def test_there_are_such_commands():
    said = [" ".join(words) for words in commands()]
    assert len(said) > 6
    assert any("--push" in command for command in said)
    assert any("philschmid/bart-large-cnn-samsum" in command for command in said)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_of_the_documents(hub, folder, words):
    hub.log_in()
    program, *words = words
    assert program == "gistchat"
    if words[0] in ("run", "train"):
        words += FEW
    elif "runs/demo" in words and not (folder / "runs" / "demo").is_dir():
        made = hub.gistchat("train", "demo", "--model", "gpt2", "--out", "runs/demo", *FEW, cwd=folder)
        assert made.returncode == 0, made.stderr
    if words[0] == "chat":
        words += ["--no-journal", "--max-reply-tokens", "4"]
    done = hub.gistchat(*words, cwd=folder, stdin="Hello there\n")
    assert done.returncode == 0, done.stderr
