"""Documents say what the software does: generated pages are current, and the README's commands are real."""

import itertools
import json
import re
import runpy
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from gistchat.cli import app
from gistchat.dialogue.turns import parse_dialogue
from gistchat.recipe.load import load_recipe, override

REPOSITORY = Path(__file__).parents[2]
PAGES = runpy.run_path(str(REPOSITORY / "tools" / "generate_docs.py"))["PAGES"]


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_current(name):
    assert (REPOSITORY / "docs" / name).read_text() == PAGES[name](), "run make docs"


def test_commands_in_the_documents_exist_with_these_options():
    commands = get_command(app).commands
    texts = [path.read_text() for path in [REPOSITORY / "README.md", *REPOSITORY.glob("docs/*.md")]]
    lines = [line for text in texts for line in re.findall(r"^ {4}(gistchat [^#\n]*)", text, re.M)]
    assert len(lines) > 5
    for line in lines:
        words = shlex.split(line)
        assert words[1] in commands, line
        command = commands[words[1]]
        command = getattr(command, "commands", {}).get(words[2] if len(words) > 2 else "", command)
        options = {name for parameter in command.params for name in (*parameter.opts, "--help")}
        assert {word for word in words if word.startswith("--")} <= options, line
        settings = [value for flag, value in itertools.pairwise(words) if flag == "--set"]
        override(load_recipe(REPOSITORY / "gistchat" / "recipes" / "demo.toml"), settings)


def test_the_documented_dialogue_is_one():
    text = (REPOSITORY / "docs" / "formats.md").read_text()
    [line] = re.findall(r'^ {4}(\{"id".*)$', text, re.M)
    assert parse_dialogue(json.loads(line), "x").id == "1"


def test_benchmark_page_is_made_of_its_results(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    page = runpy.run_path(str(REPOSITORY / "benchmarks" / "run.py"))["page"]
    results = json.loads((REPOSITORY / "benchmarks" / "results.json").read_text())
    assert (REPOSITORY / "docs" / "benchmarks.md").read_text() == page(results)
    for found in results:
        assert {"name", "unit", "baseline", "ours", "ratio", "bound"} <= found.keys()


def test_relative_links_lead_somewhere():
    for path in [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *REPOSITORY.glob("docs/*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


# What people wrote about the code as it is: not the log, which is of its time, and not what tools/findings.py wrote.
HAND_WRITTEN = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *REPOSITORY.glob("docs/*.md")]
HAND_WRITTEN = [path for path in HAND_WRITTEN if path.name not in ("LOG.md", "findings.md")]


def module(name: str) -> Path | None:
    """The file that a document calls so: by its path, by its path in the package, or by its bare name."""
    paths = [REPOSITORY / name, REPOSITORY / "gistchat" / name]
    if "/" not in name:
        paths += (REPOSITORY / "gistchat").rglob(name)
    return next((path for path in paths if path.exists()), None)


def test_modules_named_in_the_documents_exist():
    pages = {path.name: path.read_text() for path in HAND_WRITTEN}
    named = [(page, name) for page, text in pages.items() for name in re.findall(r"[`(\s]([a-z_0-9/]+\.py)\b", text)]
    assert len(named) > 50
    assert [(page, name) for page, name in named if module(name) is None] == []


def test_names_in_the_documents_are_in_the_modules_beside_them():
    texts = [re.sub(r"\s+", " ", path.read_text()) for path in HAND_WRITTEN]
    pairs = [pair for text in texts for pair in re.findall(r"`([A-Za-z_.]+)` (?:in |\()`([a-z_0-9/]+\.py)`", text)]
    assert len(pairs) > 30
    for names, name in pairs:
        source = module(name).read_text()
        for part in names.split("."):
            assert re.search(rf"^\s*((async )?def|class) {part}\b|^\s*{part}\b.* ?[=:]", source, re.M), (names, name)


def test_the_readme_has_every_package():
    rows = re.findall(r"^\| (`[a-z_]+/`.*?) \|", (REPOSITORY / "README.md").read_text(), re.M)
    listed = {name for row in rows for name in re.findall(r"`([a-z_]+)/`", row)}
    folders = {path.parent.name for path in REPOSITORY.glob("gistchat/*/*.*")} - {"__pycache__"}
    assert listed == folders
