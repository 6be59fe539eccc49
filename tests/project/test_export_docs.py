"""The documents say how everyone's exports are had."""

from pathlib import Path

import pytest

from gistchat.corpora.readers import CORPORA

DOCUMENT = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [name for name, corpus in CORPORA.items() if corpus.looks_like])
def test_each_kind_has_a_line_with_how_to_export_it_and_a_command(kind):
    [line] = [line for line in DOCUMENT.splitlines() if line.startswith(f"| `{kind}`")]
    _, export, command, *_ = line.strip("|").split(" | ")
    assert len(export) > 10
    assert command.startswith("`gistchat prepare ")
