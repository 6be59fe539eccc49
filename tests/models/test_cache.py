"""Models that gistchat makes once and keeps: damage is mended once, and said."""

import os
from dataclasses import replace

import pytest

from gistchat.files import file_hash
from gistchat.models import checkpoint_gguf, packaged, scratch
from gistchat.models.base import load_model, load_tokenizer
from gistchat.models.cache import RECORD, made_once
from gistchat.models.resolve import resolve_base
from gistchat.recipe.schema import ModelConfig

FILES = {"model.safetensors": b"\x08\0\0\0\0\0\0\0{}      ", "tokenizer.json": b"{}", "chat_template.jinja": b"hi"}


@pytest.fixture
def made():
    """How often `make` was called."""
    return []


@pytest.fixture
def make(made):
    def make_files(folder):
        made.append(1)
        for name, content in FILES.items():
            (folder / name).write_bytes(content)

    return make_files


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != RECORD}


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-1])


def change_a_byte(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def remove(path):
    path.unlink()


@pytest.mark.parametrize("damage", [cut_off, change_a_byte, remove])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_and_everything_made_anew_once(tmp_path, make, made, name, damage, capsys):
    folder = tmp_path / "models" / "m"
    for _ in range(2):
        made_once(folder, "k", make)
    assert len(made) == 1
    damage(folder / name)
    for _ in range(3):
        made_once(folder, "k", make)
    assert len(made) == 2
    assert content(folder) == FILES
    assert capsys.readouterr().err.splitlines() == [f"{folder / name} is missing or damaged; making it anew"]
    assert [path.name for path in folder.parent.iterdir()] == ["m"]


def test_a_folder_without_a_record_is_taken_as_it_is_and_recorded(tmp_path, make, made, capsys):
    (tmp_path / "m").mkdir()
    make(tmp_path / "m")  # as older versions did
    made_once(tmp_path / "m", "k", make)
    assert len(made) == 1
    remove(tmp_path / "m" / "tokenizer.json")
    made_once(tmp_path / "m", "k", make)
    assert len(made) == 2
    assert "tokenizer.json is missing or damaged" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_one_without_a_record_that_is_cut_off_is_made_anew(tmp_path, make, made, name):
    (tmp_path / "m").mkdir()
    make(tmp_path / "m")
    cut_off(tmp_path / "m" / name)
    for _ in range(2):
        made_once(tmp_path / "m", "k", make)
    assert len(made) == 2
    assert content(tmp_path / "m") == FILES


def test_a_base_from_random_weights_is_mended(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scratch, "cache_dir", lambda: tmp_path)
    config = ModelConfig(name="gpt2", init="scratch", size="tiny")
    base = resolve_base(config, 3)
    folder = tmp_path / "models" / base.identity
    before = {path.name: file_hash(path) for path in folder.iterdir()}
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        cut_off(folder / name)
        assert resolve_base(config, 3) == base
        assert capsys.readouterr().err.count("is missing or damaged; making it anew") == 1
        assert {path.name: file_hash(path) for path in folder.iterdir()} == before
    load_model(base)
    load_tokenizer(base)
    assert not capsys.readouterr().err


def test_the_packaged_conversion_is_mended(tmp_path, monkeypatch, capsys):
    gguf = tmp_path / "m.gguf"
    gguf.write_bytes(b"x")

    def convert_to_files(_, __, folder):
        for name, data in FILES.items():
            (folder / name).write_bytes(data)

    monkeypatch.setattr(packaged, "_convert", convert_to_files)
    base = packaged.convert_gguf(gguf, tmp_path / "models")
    capsys.readouterr()
    cut_off(tmp_path / "models" / base.source / "tokenizer.json")
    assert packaged.convert_gguf(gguf, tmp_path / "models") == base
    assert "tokenizer.json is missing or damaged; making it anew" in capsys.readouterr().err
    packaged.convert_gguf(gguf, tmp_path / "models")
    assert not capsys.readouterr().err


def test_of_conversions_for_llama_cpp_those_that_were_used_last_are_kept(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_gguf, "cache_dir", lambda: tmp_path)
    versions = [{**checkpoint.metadata, "weights": {"model.safetensors": str(number)}} for number in range(10)]
    files = []
    for number, metadata in enumerate(versions):
        files.append(checkpoint_gguf.convert(replace(checkpoint, metadata=metadata)).model)
        os.utime(files[-1].parent, (number, number))
        if number == 7:
            assert checkpoint_gguf.converted_file(versions[0]) == files[0]  # it is in use again
    assert [file.is_file() for file in files] == [True, False, False, *[True] * 7]
