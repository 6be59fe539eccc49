"""Tables: the order of their rows, the names of their columns."""

from pathlib import Path

import pytest

from gistchat.corpora import table
from gistchat.corpora.kinds import head_of
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed
from gistchat.errors import UserError


def read(path: Path, text: str, **options) -> list:
    path.write_text(text)
    return list(table.read(path, **options))


@pytest.mark.parametrize(
    ("early", "late", "date"),
    [
        ("2024-01-02T10:00:00+01:00", "2024-01-02T10:00:00Z", "2024-01-02 09:00:00"),
        ("02.01.2024 10:00", "10.01.2024 09:00", "2024-01-02 10:00:00"),
        ("1/2/2024 9:30 AM", "1/25/2024 1:00 PM", "2024-01-02 09:30:00"),
        ("2/1/2024", "25/1/2024", "2024-01-02 00:00:00"),
        ("Jan 2, 2024 10:00 PM", "Jan 10, 2024 9:00 AM", "2024-01-02 22:00:00"),
        ("1704189600", "1704189700", "2024-01-02 10:00:00"),
        ("2024/01/02 10:00", "2024/01/02 11:00", "2024-01-02 10:00:00"),
    ],
)
@pytest.mark.parametrize("column", ["date", "Datetime", "sent", "created_at", "Timestamp"])
def test_rows_are_ordered_by_a_date_column(tmp_path, column, early, late, date):
    rows = f'speaker,{column},text\nBen,"{late}",second\nAnn,"{early}",first\n'
    [dialogue] = read(tmp_path / "chat.csv", rows)
    assert [turn.text for turn in dialogue.turns] == ["first", "second"]
    assert (dialogue.id, dialogue.turns[0].date) == ("chat", date)


def test_a_table_without_an_order_says_so(tmp_path):
    note, dialogue = read(tmp_path / "t.csv", "speaker,text\na,x\nb,y\n")
    assert note == LeftOut(table.NO_ORDER, 0)
    assert [turn.text for turn in dialogue.turns] == ["x", "y"]


def test_columns_are_named_by_the_caller(tmp_path):
    rows = "Who;Said;When;Room\nAnn;two;2024-02-02;r\nBen;one;2024-02-01;r\nBen;hi;soon;s\n"
    columns = {"speaker": "Who", "text": "said", "date": "When", "dialogue": "Room"}
    one, bad = read(tmp_path / "t.csv", rows, columns=columns)
    assert isinstance(one, Dialogue)
    assert [turn.text for turn in one.turns] == ["one", "two"]
    assert isinstance(bad, Malformed)
    with pytest.raises(UserError, match="no column 'Whom' for the speaker; found: who, said"):
        read(tmp_path / "t.csv", rows, columns={"speaker": "Whom"})


def test_only_tables_of_turns_look_like_one(tmp_path):
    for header, expected in (("speaker,text", True), ("id,text", False), ("From,Date,Message", True), ("a,b", False)):
        (tmp_path / "t.csv").write_text(header + "\n1,2,3\n")
        assert table.looks_like(head_of(tmp_path / "t.csv")) == expected
