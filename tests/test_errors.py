"""What is said of an error: one line, also where the error says nothing."""

import re
import tomllib
from pathlib import Path

import pytest

from gistchat.errors import EXTRA_OF, UserError, first_line, require


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError(""), "ValueError"),
        (OSError(), "OSError"),
        (ValueError(" \n\n "), "ValueError"),
        (ValueError("\n three"), "three"),
        (
            ValueError("Validation error for field 'x':\n    TypeError: not a number\n"),
            "Validation error for field 'x': TypeError: not a number",
        ),
        (ValueError("Failed:\n"), "Failed:"),
        ("", "no message"),
        ("x" * 500, "x" * 200),
    ],
)
def test_an_error_becomes_one_line(error, line):
    assert first_line(error) == line


def test_a_missing_package_is_named_with_the_extra_that_brings_it():
    with pytest.raises(UserError, match=r"no_such_package\.part is not installed: pip install 'gistchat\[judges\]'"):
        require("no_such_package.part", "judges")


def test_extras_that_messages_and_documents_name_exist():
    root = Path(__file__).parents[1]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    texts = [path.read_text() for path in (root / "gistchat").rglob("*.py")]
    named = {name for text in texts for name in re.findall(r"""\brequire\([\w".]+, "(\w+)"\)""", text)}
    named |= {name for text in texts for name in re.findall(r"gistchat\[(\w+)\]", text)} | set(EXTRA_OF.values())
    assert {"train", "hub", "judges", "paper"} <= named <= set(extras)
    assert any(package.startswith("sentencepiece") for package in extras["train"])
