"""What is written appears whole; what a person put there stays; gistchat's own temporary names are its own."""

import pytest

from gistchat.files import atomic_folder, atomic_text, previous_version, put_aside, recover_folder

NEIGHBOURS = ("out.part", "out.old", "out-before", "out.tmp", ".out", ".out.part", ".out.old")


def make_neighbours(folder, as_folders) -> None:
    """Files or folders that a person keeps beside `out`."""
    for name in NEIGHBOURS:
        if as_folders:
            (folder / name).mkdir()
            (folder / name / "mine.txt").write_text(name)
        else:
            (folder / name).write_text(name)


def neighbours(folder, as_folders) -> list[str]:
    return [(folder / name / "mine.txt" if as_folders else folder / name).read_text() for name in NEIGHBOURS]


@pytest.mark.parametrize("as_folders", [True, False])
def test_neighbours_of_a_folder_and_of_a_file_stay(tmp_path, as_folders):
    make_neighbours(tmp_path, as_folders)
    for text in ("one", "two"):  # the second replaces the first
        with atomic_folder(tmp_path / "out", "mark") as working:
            (working / "mark").write_text(text)
    assert (tmp_path / "out" / "mark").read_text() == "two"
    with atomic_text(tmp_path / "out.txt") as file:
        file.write("x")
    assert neighbours(tmp_path, as_folders) == list(NEIGHBOURS)
    assert len(list(tmp_path.iterdir())) == len(NEIGHBOURS) + 2


@pytest.mark.parametrize("kind", ["folder", "file", "folder of another program"])
def test_what_stands_at_a_folders_place_is_put_aside_unless_it_is_marked(tmp_path, kind, capsys):
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / ("mine.txt" if kind == "folder" else "config.json")).write_text("mine")
    with atomic_folder(out, "gistchat.json") as working:
        (working / "gistchat.json").write_text("{}")
    assert [path.name for path in out.iterdir()] == ["gistchat.json"]
    kept = tmp_path / "out-before"
    [text] = [path.read_text() for path in ([kept] if kind == "file" else kept.iterdir())]
    assert text == "mine"
    assert "out stood there before; kept as out-before" in capsys.readouterr().err.replace("\n", "")


def test_an_empty_folder_is_in_nobodys_way(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    with atomic_folder(tmp_path / "out", "mark") as working:
        (working / "mark").write_text("")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not capsys.readouterr().err


def test_names_of_what_is_put_aside_are_free(tmp_path):
    (tmp_path / "a-before").write_text("first")
    (tmp_path / "a-before-2").symlink_to("nowhere")
    (tmp_path / "a").write_text("third")
    assert put_aside(tmp_path / "a", "was changed").name == "a-before-3"
    assert (tmp_path / "a-before").read_text() == "first"
    assert (tmp_path / "a-before-3").read_text() == "third"


@pytest.mark.parametrize("moment", ["before the renames", "between the renames", "after the renames"])
def test_a_writer_that_died_at_any_moment_leaves_one_whole_version(tmp_path, moment):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mark").write_text("old")
    if moment == "between the renames":
        out.rename(previous_version(out))
    if moment == "after the renames":
        previous_version(out).mkdir()
        (previous_version(out) / "half removed").write_text("")
    recover_folder(out)
    assert (out / "mark").read_text() == "old"
    with atomic_folder(out, "mark") as working:
        (working / "mark").write_text("new")
    assert (out / "mark").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
