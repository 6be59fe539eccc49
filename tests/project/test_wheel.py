"""What is built and installed, with no source tree around, does what a user does first."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from conftest import TINY_TOML, make_dialogue

ROOT = Path(__file__).parents[2]


def succeed(*words, cwd=None):
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }  # it may name a source tree
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    succeed(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    return next(folder.glob("gistchat-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The `gistchat` of a fresh environment; its libraries are those of this one, as tests have no network."""
    environment = tmp_path_factory.mktemp("environment")
    succeed(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    succeed(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel)
    own = Path(succeed(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A path in a .pth file: the .pth files there, such as that of an editable installation, are not followed.
    (own / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin" / "gistchat"


def test_the_wheel_holds_what_is_no_code(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    source = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gistchat").rglob("*") if path.is_file()}
    assert {name for name in source if "__pycache__" not in name} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "tools"))]


def test_a_recipe_runs_from_the_wheel_in_an_empty_folder(installed, tmp_path):
    where = succeed(installed.with_name("python"), "-c", "import gistchat; print(gistchat.__file__)", cwd=tmp_path)
    assert where.startswith(str(installed.parents[1]))
    assert "gistchat" in succeed(installed, "--version", cwd=tmp_path)
    assert "demo" in succeed(installed, "recipes", cwd=tmp_path)
    (tmp_path / "talks.jsonl").write_bytes(b"".join(make_dialogue(i).to_line() for i in range(20)))
    (tmp_path / "tiny.toml").write_text(TINY_TOML)
    assert "perplexity" in succeed(installed, "run", "./tiny.toml", cwd=tmp_path)
    assert (tmp_path / "runs" / "tiny" / "report.html").exists()
    (tmp_path / "in.jsonl").write_bytes(make_dialogue(1).to_line())
    succeed(installed, "reply", "in.jsonl", "out.jsonl", "runs/tiny", "--max-reply-tokens", "4", cwd=tmp_path)
    assert (tmp_path / "out.jsonl").read_text().count("\n") == 1


def test_a_shipped_recipe_is_found_by_its_name(installed, tmp_path):
    done = subprocess.run(
        [installed, "run", "demo", "--set", "data.sources=nowhere.json"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "did you mean data.source?" in done.stderr
    assert "Traceback" not in done.stderr
