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
        ("1704189600000", "1704189700000", "2024-01-02 10:00:00"),
        ("1704189600000000", "1704189700000000", "2024-01-02 10:00:00"),
        ("2024-01-02 10:00:00 p.m.", "2024-01-03 09:00:00 AM", "2024-01-02 22:00:00"),
        ("Tue, 2 Jan 2024 11:00:00 +0100", "Tue, 02 Jan 2024 10:30:00 GMT", "2024-01-02 10:00:00"),
        ("2024-01-02 11:00:00 +0100", "2024-01-02 10:30:00 UTC", "2024-01-02 10:00:00"),
        ("02-Jan-2024 10:00", "10 Jan 2024 09:00", "2024-01-02 10:00:00"),
        ("02.01.24, 10:00 Uhr", "02.01.24, 11:00 Uhr", "2024-01-02 10:00:00"),
    ],
)
@pytest.mark.parametrize("column", ["date", "Datetime", "sent", "created_at", "Timestamp", "Zeitstempel", "Date/Time"])
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


@pytest.mark.parametrize(
    "header",
    [
        "Datum;Uhrzeit;Absender;Nachricht",
        "Fecha;Hora;Remitente;Mensaje",
        "Date;Heure;Auteur;Texte",
        "Date;Time;From;Text",
    ],
)
@pytest.mark.parametrize("above", ["", "sep=;\n", "\ufeff"])
def test_dates_and_times_in_two_columns(tmp_path, header, above):
    path = tmp_path / "t.csv"
    rows = "05.03.2024;21:16;Ben;Tea, green?\n05.03.2024;21:15;Ann;Hi\n"
    path.write_text(f"{above}{header}\n{rows}")
    assert table.looks_like(head_of(path))
    [dialogue] = table.read(path)
    assert [(turn.speaker, turn.text) for turn in dialogue.turns] == [("Ann", "Hi"), ("Ben", "Tea, green?")]
    assert [turn.date for turn in dialogue.turns] == ["2024-03-05 21:15:00", "2024-03-05 21:16:00"]


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (
            ("1/5/2024", "2/4/2024", "3/1/2024"),
            "2024-01-05 00:00:00",
        ),  # the month first, else the newest would be first
        (("05/01/2024", "04/02/2024", "01/03/2024"), "2024-01-05 00:00:00"),
        (("3/5/2024 9:15 PM",), "2024-03-05 21:15:00"),  # a clock of twelve hours
        (("3/5/2024 21:15",), "2024-05-03 21:15:00"),
        (("5.3.2024 9:15 PM",), "2024-03-05 21:15:00"),
    ],
)
def test_whether_the_month_comes_first_is_told_by_the_whole_column(tmp_path, dates, expected):
    rows = "".join(f"Ann,{date},{i}\n" for i, date in enumerate(dates))
    [dialogue] = read(tmp_path / "t.csv", f"speaker,date,text\n{rows}")
    assert [turn.text for turn in dialogue.turns] == [str(i) for i in range(len(dates))]
    assert dialogue.turns[0].date == expected


def test_newest_first_with_rows_of_one_moment(tmp_path):
    rows = "A,2,AI,yes\nA,2,Human,sure?\nA,1,AI,green\nA,1,Human,tea?\nB,1,AI,hello\nB,1,Human,hi\n"
    rows = rows.replace(",1,", ",2026-07-26T23:20:56,").replace(",2,", ",2026-07-26T23:21:56,")
    one, two = read(tmp_path / "t.csv", f"Conversation,Time,Author,Message\n{rows}")
    assert [turn.text for turn in one.turns] == ["tea?", "green", "sure?", "yes"]
    assert [turn.text for turn in two.turns] == ["hi", "hello"]
    assert [turn.speaker for turn in two.turns] == ["user", "assistant"]


def test_only_the_assistant_is_scored_where_all_speakers_are_roles(tmp_path):
    rows = "1,system,Be kind\n1,user,Hi\n1,tool,x\n1,assistant,Ho\n2,Ann,Hi\n2,assistant,Ho\n"
    _, left_out, roles, people = read(tmp_path / "t.csv", f"conversation_id,role,content\n{rows}")
    assert left_out == LeftOut("turns of tools", 1)
    assert (roles.scored_speakers, roles.meta) == (("assistant",), {"system": "Be kind"})
    assert [turn.text for turn in roles.turns] == ["Hi", "Ho"]
    assert people.scored_speakers is None


def test_rows_without_date_stay_behind_the_one_before(tmp_path):
    rows = "Ann,2024-01-02,c\nBen,,d\nAnn,2024-01-01,a\nBen,,b\nAnn,2024-01-03,e\n,2024-01-01,Ann left\n,,\n"
    left_out, dialogue = read(tmp_path / "t.csv", f"speaker,date,text\n{rows}")
    assert left_out == LeftOut(table.NOBODY, 1)
    assert [turn.text for turn in dialogue.turns] == ["a", "b", "c", "d", "e"]


def test_clock_times_alone_are_no_order(tmp_path):
    note, dialogue = read(tmp_path / "t.csv", "speaker,time,text\nAnn,23:59,a\nBen,00:01,b\n")
    assert note == LeftOut(table.NO_ORDER, 0)
    assert [turn.text for turn in dialogue.turns] == ["a", "b"]


def test_excels_separator_and_lines_in_cells(tmp_path):
    *_, dialogue = read(tmp_path / "t.csv", 'sep=;\nspeaker;text, as typed;text\nAnn;x;"a; ""b""\nc"\nBen;x;d\n')
    assert [turn.text for turn in dialogue.turns] == ['a; "b"\nc', "d"]
    assert str(
        next(entry for entry in read(tmp_path / "t.csv", "sep=;\nspeaker;text\nAnn\n") if isinstance(entry, Malformed))
    ) == (f"{tmp_path / 't.csv'}:3: expected 2 columns, found 1")


@pytest.mark.parametrize("column", ["createdAt", "SentAt", "timestamp_utc", "published_at", "UTC"])
def test_words_of_a_columns_name_may_stand_without_a_space(tmp_path, column):
    rows = f"speaker,{column},text\nBen,2024-01-02 11:00,second\nAnn,2024-01-02 10:00,first\n"
    [dialogue] = read(tmp_path / "chat.csv", rows)
    assert [turn.text for turn in dialogue.turns] == ["first", "second"]


def test_what_a_character_says_may_be_called_its_dialogue(tmp_path):
    _, dialogue = read(tmp_path / "film.csv", "Character,Dialogue\nAnn,Hi\nBen,Ho\n")
    assert [(turn.speaker, turn.text) for turn in dialogue.turns] == [("Ann", "Hi"), ("Ben", "Ho")]
    _, *two = read(tmp_path / "t.csv", "dialogue,name,text\n1,Ann,Hi\n2,Ben,Ho\n")
    assert [dialogue.id for dialogue in two] == ["1", "2"]
