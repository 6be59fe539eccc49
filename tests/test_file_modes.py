"""Who may read what is written: what the user's umask says, whichever library wrote it."""

import contextlib
import os
import stat

import pytest
from conftest import talk

from gistchat.chat import session_file
from gistchat.files import atomic_folder
from gistchat.models import scratch
from gistchat.models.export import export
from gistchat.recipe.schema import ModelConfig


@contextlib.contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder):
    """Of files and of folders, but for locks."""
    paths = [folder, *(path for path in folder.rglob("*") if not path.name.endswith(".lock"))]
    return {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()}, {
        stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_dir()
    }


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_models_and_conversations_are_by_the_umask(session, run_folder, tmp_path, monkeypatch, mask):
    monkeypatch.setattr(scratch, "cache_dir", lambda: tmp_path / "written" / "cache")
    talk(session, 1)
    with umask(mask):
        (tmp_path / "written").mkdir()
        export(run_folder, tmp_path / "written" / "export")
        scratch.scratch_base(ModelConfig(name="gpt2", init="scratch", size="tiny"), seed=3)
        session_file.save(session, tmp_path / "written" / "c.jsonl")
        session_file.export_text(session, tmp_path / "written" / "c.txt")
    assert len(list((tmp_path / "written").rglob("model.safetensors"))) == 2
    assert modes(tmp_path / "written") == ({0o666 & ~mask}, {0o777 & ~mask})


def test_a_whole_run_is_by_the_umask(run_folder):
    mask = os.umask(0)
    os.umask(mask)
    files, _ = modes(run_folder.parent)
    assert files == {0o666 & ~mask}


def test_files_of_others_below_a_folder_are_no_executables(tmp_path):
    with umask(0o027), atomic_folder(tmp_path / "made", "a.txt") as folder:
        (folder / "deep").mkdir()
        for name in ("private", "deep/private"):
            (folder / name).touch(mode=0o600)
        (folder / "program").touch(mode=0o700)
    assert modes(tmp_path / "made") == ({0o640}, {0o750})
