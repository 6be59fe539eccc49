"""A stage's output: done once, and never over what a person changed or put there."""

import json

import pytest

from gistchat.stages import changed_files, is_current, keep_changed, keep_foreign, mark_done, read_marker, remade


def make(folder, texts, key="k") -> None:
    with remade(folder / "done.json", key) as working:
        for name, text in texts.items():
            (working / name).write_text(text)


def files(folder) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != "done.json"}


def test_own_output_is_replaced_and_nothing_stays_of_it(tmp_path, capsys):
    make(tmp_path / "out", {"a": "1", "b": "2"})
    make(tmp_path / "out", {"a": "3", "b": "4"}, "other")
    assert files(tmp_path / "out") == {"a": "3", "b": "4"}
    assert is_current(tmp_path / "out" / "done.json", "other")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not capsys.readouterr().err


@pytest.mark.parametrize("key", ["k", "other"])
@pytest.mark.parametrize("edit", ["appended", "replaced", "emptied"])
def test_an_edit_is_put_aside_and_said_in_one_line(tmp_path, key, edit, capsys):
    make(tmp_path / "out", {"a": "1", "b": "2"})
    path = tmp_path / "out" / "a"
    edited = {"appended": "1 and more", "replaced": "x", "emptied": ""}[edit]
    path.write_text(edited)
    assert not is_current(tmp_path / "out" / "done.json", "k")
    assert changed_files(tmp_path / "out" / "done.json") == [path]
    make(tmp_path / "out", {"a": "1", "b": "2"}, key)
    assert files(tmp_path / "out") == {"a": "1", "a-before": edited, "b": "2"}
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"{path} was changed since gistchat wrote it; kept as a-before"
    assert is_current(tmp_path / "out" / "done.json", key)


@pytest.mark.parametrize("marker", [None, "{torn", "[]", '{"key": "k"}', '{"key": "k", "files": 3}', "[" * 100_000])
def test_what_no_marker_names_is_put_aside(tmp_path, marker, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("mine")
    if marker is not None:
        (tmp_path / "out" / "done.json").write_text(marker)
    assert read_marker(tmp_path / "out" / "done.json") == {"key": "", "files": {}}
    make(tmp_path / "out", {"a": "1"})
    assert files(tmp_path / "out") == {"a": "1", "a-before": "mine"}
    assert "a stood there before; kept as a-before" in capsys.readouterr().err


def test_what_is_the_same_already_is_not_put_aside(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("1")  # left by a process that was killed before it wrote its marker
    make(tmp_path / "out", {"a": "1"})
    assert files(tmp_path / "out") == {"a": "1"}


def test_the_marker_is_about_what_was_written_not_about_what_came_in_between(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    monkeypatch.setattr("gistchat.stages.sync_folder", lambda _: (folder / "a").write_text("another process's"))
    make(folder, {"a": "1"})
    assert not is_current(folder / "done.json", "k")


def test_an_error_leaves_everything_as_it_was(tmp_path):
    make(tmp_path / "out", {"a": "1"})
    (tmp_path / "out.part").write_text("mine")
    with pytest.raises(TypeError):  # after the first file
        make(tmp_path / "out", {"a": "half", "b": None}, "other")
    assert files(tmp_path / "out") == {"a": "1"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.part"]


def test_only_files_that_are_gone_are_not_put_aside(tmp_path, capsys):
    for name in "ab":
        (tmp_path / name).write_text(name)
    mark_done(tmp_path / "done.json", "k", [tmp_path / "a", tmp_path / "b"])
    (tmp_path / "a").unlink()
    (tmp_path / "b").write_text("edited")
    keep_changed(tmp_path / "done.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b-before", "done.json"]


@pytest.mark.parametrize("text", ["mine", "[1]", '{"other": 1}', "3", "[" * 100_000])
def test_a_json_file_that_gistchat_did_not_write_is_put_aside(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    keep_foreign(path, "results")
    assert not path.exists()
    assert (tmp_path / "x.json-before").read_text() == text
    path.write_text(json.dumps({"results": 1}))
    keep_foreign(path, "results")
    assert path.exists()
    keep_foreign(tmp_path / "none.json", "results")


@pytest.mark.parametrize("name", ["../mine", "sub/../../mine", "/ABSOLUTE/mine"])
def test_a_strangers_marker_reaches_no_file_elsewhere(tmp_path, name):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run" / "sub").mkdir(parents=True)
    files = {name.replace("/ABSOLUTE", str(tmp_path)): "0"}
    (tmp_path / "run" / "done.json").write_text(json.dumps({"key": "k", "files": files}))
    keep_changed(tmp_path / "run" / "done.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "run"]
    assert not is_current(tmp_path / "run" / "done.json", "k")
