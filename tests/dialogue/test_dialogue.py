import pytest

from gistchat.dialogue.jsonl import load_dialogues, read_jsonl, write_jsonl
from gistchat.dialogue.turns import Dialogue, Malformed, Turn
from gistchat.errors import UserError

GOOD = '{"id": "a", "turns": [{"speaker": "x", "text": "hi"}, {"speaker": "y", "text": "yo"}]}'


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"turns": [', "not valid JSON at column"),
        (b"[1, 2]", "expected an object with 'turns'"),
        (b'{"id": "a", "text": "hi"}', "missing field 'turns' (found: id, text)"),
        (b'{"turns": []}', "at least one turn"),
        (b'{"turns": [{"speaker": "x", "text": "  "}, {"speaker": "y", "text": "b"}]}', "'text' of turn 1 is empty"),
        (b'{"turns": [{"speaker": "x", "text": "a"}, {"text": "b"}]}', "turn 2 has no 'speaker'"),
        (b'{"turns": [{"speaker": "x", "text": 5}, {"speaker": "y", "text": "b"}]}', "'text' of turn 1 must be a str"),
        (b'{"turns": [{"speaker": "x", "text": "a"}], "meta": {"gold": "b"}}', "'gold' in 'meta' must be a list"),
        (GOOD.replace('"a"', '"a", "split": "dev"').encode(), "'split' must be one of train, validation, test"),
        (GOOD.replace('"a"', '"a", "targets": ["X"]').encode(), "'targets' names X, who does not speak"),
        (b"[" * 100_000, "nested too deeply: at most 100 brackets in one another"),
        (GOOD.replace("hi", "caf\xe9").encode("latin-1"), "not UTF-8 (byte 0xe9 at column"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_the_rest_is_read(tmp_path, line, problem):
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n" + line + b"\n\n" + GOOD.encode() + b"\n")
    first, bad, last = read_jsonl(path)
    assert isinstance(bad, Malformed)
    assert str(bad).startswith(f"{path}:2: ")
    assert problem in str(bad)
    assert first.turns == last.turns == (Turn("x", "hi"), Turn("y", "yo"))
    with pytest.raises(UserError, match=r"d\.jsonl:2: "):
        load_dialogues(path)


def test_dialogues_come_back_as_written(tmp_path):
    turns = (Turn("x", "hi ‘you’ 👋"), Turn("y", 'a "quote"\tand\\slash'))
    dialogue = Dialogue("1", turns, "c", "test", ("y",), {"k": [1]})
    write_jsonl(tmp_path / "d.jsonl", [dialogue])
    assert load_dialogues(tmp_path / "d.jsonl") == [dialogue]


def test_only_replies_of_targets_to_another_speaker_are_scored():
    turns = tuple(Turn(speaker, str(i)) for i, speaker in enumerate("xyxyy"))
    assert Dialogue("1", turns).reply_indices() == [1, 2, 3]
    assert Dialogue("1", turns, scored_speakers=("y",)).reply_indices() == [1, 3]
