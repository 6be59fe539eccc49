"""The cache that stages resume from: what was finished is there, what was torn or changed is not, and that is said."""

import json
import re

import pytest

from gistchat import resumable
from gistchat.errors import UserError
from gistchat.resumable import ResumableJsonl


def test_objects_come_back_by_their_key_and_the_last_counts(tmp_path):
    path = tmp_path / "deep" / "x.jsonl"
    stored = ResumableJsonl(path)
    assert (stored.get("a"), list(stored)) == (None, [])
    stored.append([{"key": "a", "text": "zwölf\u2028"}, {"key": "b", "text": "2"}])
    stored.append([{"key": "a", "text": "3"}])
    for reader in (stored, ResumableJsonl(path)):
        assert (reader.get("a"), reader.get("b")) == ({"key": "a", "text": "3"}, {"key": "b", "text": "2"})
        assert "a" in reader
        assert "c" not in reader


def test_a_line_that_was_cut_off_is_overwritten(tmp_path):
    path = tmp_path / "x.jsonl"
    ResumableJsonl(path).append({"key": str(i)} for i in range(3))
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole[:cut])
        stored = ResumableJsonl(path)
        finished = list(stored)
        assert finished == [str(i) for i in range(whole[:cut].count(b"\n"))]
        stored.append({"key": str(i)} for i in range(3) if str(i) not in stored)
        assert path.read_bytes() == whole


def test_lines_of_another_process_are_seen_when_asked_for(tmp_path):
    one, other = ResumableJsonl(tmp_path / "x.jsonl"), ResumableJsonl(tmp_path / "x.jsonl")
    one.append([{"key": "a"}])
    assert "a" not in other
    other.refresh()
    assert "a" in other
    other.append([{"key": "b"}])
    assert [json.loads(line)["key"] for line in (tmp_path / "x.jsonl").read_text().splitlines()] == ["a", "b"]


def test_what_another_process_added_since_the_last_look_is_not_cut_off(tmp_path):
    one, other = ResumableJsonl(tmp_path / "x.jsonl"), ResumableJsonl(tmp_path / "x.jsonl")
    for i in range(3):
        one.append([{"key": f"one {i}"}])
        other.append([{"key": f"other {i}"}])
    assert set(ResumableJsonl(tmp_path / "x.jsonl")) == {f"{who} {i}" for who in ("one", "other") for i in range(3)}


KEYS = [f"k{i}" for i in range(6)]
VALUES = [{"key": key, "text": f"zwölf Möwen {key}\u2028", "n": [1, 2]} for key in KEYS]


@pytest.fixture
def written(tmp_path):
    """Six lines, and their bytes."""
    path = tmp_path / "x.jsonl"
    ResumableJsonl(path).append(VALUES)
    return path, path.read_bytes().splitlines(keepends=True)


def opened(path, capsys):
    """The file anew, and what is said at that."""
    capsys.readouterr()
    resumable.say_once.cache_clear()
    return ResumableJsonl(path), capsys.readouterr().err


CHANGED = {
    "a word": lambda line: line.replace("Möwen".encode(), b"Hunde"),
    "a letter": lambda line: line.replace(b"zw", b"Zw"),
    "a number": lambda line: line.replace(b"[1, 2]", b"[1, 3]"),
    "a space": lambda line: line.replace(b"[1, 2]", b"[1,2]"),
    "its key": lambda line: line.replace(b'"k2"', b'"k9"'),
    "its checksum": lambda line: line.replace(b'"checksum": "', b'"checksum": "0')[:-4] + b'"}\n',
    "no checksum": lambda line: line[: line.index(b', "checksum"')] + b"}\n",
    "cut off": lambda line: line[:20] + b"\n",
    "cut in a letter": lambda line: line[: line.index(b"\xb6")] + b"\n",
    "cut at its front": lambda line: line[5:],
    "zeros": lambda line: line[:15] + bytes(20) + line[35:],
    "Latin-1": lambda line: line.decode().replace("\u2028", "").encode("latin-1"),
    "UTF-16": lambda line: line.decode().encode("utf-16")[:-1],
    "control characters": lambda line: line.replace(b"M", b"\x1b"),
    "rubbish": lambda line: b"rubbish\n",
    "another object": lambda line: b'{"id": "x"}\n',
    "not an object": lambda line: b"[1]\n",
    "nested": lambda line: b'{"key": "k2", "a": ' + b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_a_line_that_was_changed_does_not_count_and_is_made_again_once(written, change, capsys):
    path, lines = written
    changed = change(lines[2])
    path.write_bytes(b"".join([*lines[:2], changed, *lines[3:]]))
    stored, said = opened(path, capsys)
    assert re.match(rf"{re.escape(str(path))}:3: (a line is|this and 1 other lines are) damaged, edited or", said)
    assert said.count("\n") == 1
    assert [key for key in KEYS if key not in stored] == ["k2"]
    stored.append([VALUES[2]])
    assert path.with_name("x.jsonl.damaged").read_bytes() == changed
    stored, said = opened(path, capsys)
    assert said == ""
    assert [stored.get(key) for key in KEYS] == VALUES


HARMLESS = {
    "swapped": lambda lines: lines[::-1],
    "twice": lambda lines: [*lines, *lines[:3], lines[0]],
    "Windows": lambda lines: [line.replace(b"\n", b"\r\n") for line in lines],
    "byte order mark": lambda lines: [b"\xef\xbb\xbf", *lines],
    "blank lines": lambda lines: [b"\n", *lines[:2], b"  \n\n", *lines[2:]],
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_what_an_editor_does_to_lines_without_changing_them_is_harmless(written, change, capsys):
    path, lines = written
    path.write_bytes(b"".join(change(lines)))
    stored, said = opened(path, capsys)
    assert said == ""
    assert [stored.get(key) for key in KEYS] == VALUES


def test_a_file_in_another_encoding_or_of_a_version_without_checksums_is_made_again(written, capsys):
    path, lines = written
    old = "".join(json.dumps(value) + "\n" for value in VALUES)
    for content in (
        b"".join(lines).decode().encode("utf-16"),
        old.encode(),
        old.encode("utf-16-le"),
        bytes(3000) + b"\n",
    ):
        path.write_bytes(content)
        stored, said = opened(path, capsys)
        assert f"{path}:1: " in said
        assert list(stored) == []
        stored.append(VALUES)
        assert [ResumableJsonl(path).get(key) for key in KEYS] == VALUES
    assert path.with_name("x.jsonl.damaged").read_bytes().startswith(b"\xff\xfe")


def test_two_processes_set_a_damaged_line_aside_once(written):
    path, lines = written
    path.write_bytes(b"".join([*lines[:2], b"rubbish\n", *lines[3:]]))
    one, other = ResumableJsonl(path), ResumableJsonl(path)
    one.append([VALUES[2]])
    other.append([{"key": "new"}])
    assert path.with_name("x.jsonl.damaged").read_bytes() == b"rubbish\n"
    for stored in (one, other, ResumableJsonl(path)):
        stored.refresh()
        assert [stored.get(key) for key in [*KEYS, "new"]] == [*VALUES, {"key": "new"}]


def test_a_line_that_changes_while_the_file_is_open_is_named(written):
    path, lines = written
    stored = ResumableJsonl(path)
    path.write_bytes(b"".join(lines).replace("Möwen k4".encode(), b"Hunde k4" + b" "))
    with pytest.raises(UserError, match=r"x\.jsonl:5: the line was changed or damaged just now"):
        stored.get("k4")
    assert stored.get("k3") == VALUES[3]


def test_a_file_that_another_program_cut_or_deleted_is_read_anew(written):
    path, lines = written
    stored = ResumableJsonl(path)
    path.write_bytes(b"".join(lines[:2]))
    stored.append([VALUES[5]])
    assert list(ResumableJsonl(path)) == list(stored) == ["k0", "k1", "k5"]
    path.unlink()
    stored.append([VALUES[0]])
    assert path.read_bytes() == lines[0]
    assert list(stored) == ["k0"]
