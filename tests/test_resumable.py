"""The cache that stages resume from: what was finished is there, what was torn is not, what is damaged is named."""

import json

import pytest

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


@pytest.mark.parametrize("line", ["rubbish", '{"id": "x"}', '{"key": "x', "[1]"])
def test_lines_without_a_key_are_named(tmp_path, line):
    path = tmp_path / "x.jsonl"
    path.write_text('{"key": "a"}\n' + line + "\n")
    with pytest.raises(UserError, match=r"x\.jsonl:2: a line without its key"):
        ResumableJsonl(path)


def test_a_damaged_value_is_named_when_it_is_read(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"key": "a"}\n{"key": "b", "text": \n')
    stored = ResumableJsonl(path)
    assert stored.get("a") == {"key": "a"}
    with pytest.raises(UserError, match=r"x\.jsonl:2: not valid JSON"):
        stored.get("b")
