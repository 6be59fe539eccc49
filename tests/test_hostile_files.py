"""No file of a stranger takes the memory, hangs, or ends in a traceback: one line says what is wrong with it."""

import itertools
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pyarrow
import pyarrow.parquet
import pytest

from gistchat.corpora.readers import CORPORA
from gistchat.corpora.sources import raw_records
from gistchat.dialogue.lines import json_lines
from gistchat.dialogue.turns import Dialogue, Malformed, Turn
from gistchat.errors import LONGEST_MESSAGE, UserError, shown
from gistchat.evaluate.external_predictions import read_texts
from gistchat.files import read_json
from gistchat.limits import LONGEST_LINE, MOST_NESTED, Nesting, is_too_deep
from gistchat.prepare import prepare as prepare_module
from gistchat.prepare.prepare import prepare
from gistchat.recipe.schema import DataConfig
from gistchat.stages import is_current

MUTATIONS = 90  # of each file; of about three dozen kinds


def test_damaged_and_hostile_files_give_a_value_or_one_line():
    program = Path(__file__).with_name("hostile_files.py")
    words = [sys.executable, str(program), str(MUTATIONS), "0"]
    # Threads of libraries would take the address space that is to be left for files.
    done = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=500
    )
    assert done.stdout.splitlines() == ["done"], done.stdout + done.stderr[-2000:]


def deep(count: int) -> bytes:
    return b"[" * count + b"]" * count


DEEP_FILES = {
    "list": ("a.json", b"[" + deep(3000) + b"]"),
    "list in an object": ("a.json", b'{"turns": ' + deep(3000) + b"}"),
    "objects": ("a.json", b'[{"messages": ' + b'{"a":' * 3000 + b"1" + b"}" * 3000 + b"}]"),
    "line": ("a.jsonl", b'{"turns": ' + deep(500) + b"}\n"),
    "id": ("a.jsonl", b'{"turns": [{"speaker": "a", "text": "b"}], "id": ' + deep(500) + b"}\n"),
    "split": ("a.jsonl", b'{"turns": [{"speaker": "a", "text": "b"}], "split": ' + deep(999) + b"}\n"),
    "never closed": ("a.json", b"[" * 3000),
}


@pytest.mark.parametrize("kind", DEEP_FILES)
@pytest.mark.parametrize("corpus", ["jsonl", "chat", "samsum", "triples"])
def test_deep_nesting_is_refused_by_name(tmp_path, kind, corpus):
    name, data = DEEP_FILES[kind]
    path = tmp_path / name
    path.write_bytes(data)
    try:
        found = [str(part) for part in CORPORA[corpus].read(path) if isinstance(part, Malformed)]
    except UserError as error:
        found = [str(error)]
    assert found
    assert all(text.startswith(str(path)) and len(text) < 300 for text in found)
    assert any("nested too deeply" in text or "expected a list" in text or "not valid JSON" in text for text in found)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize(
    ("text", "depth"),
    [
        (rb'{"a": [1, {"b": []}], "c": {}}', 4),
        (rb'["[[[[[[", "\"[[[[", "\\", ["]]]]"], "\\\"{{{{"]', 2),
        (rb'["\\\\", "\\\\\"[[[[[["]', 1),
        (rb"[" * 40 + rb"]" * 40, 40),
    ],
)
def test_nesting_is_told_piece_by_piece_whatever_strings_hold(monkeypatch, text, depth, size):
    for most in (depth, depth - 1):
        monkeypatch.setattr("gistchat.limits.MOST_NESTED", most)
        nesting = Nesting()
        pieces = [text[first : first + size] for first in range(0, len(text), size)]
        assert any([nesting.is_too_deep(piece) for piece in pieces]) is (most < depth)
        assert is_too_deep(text) is (most < depth)


def test_nesting_within_the_limit_is_read(tmp_path):
    path = tmp_path / "a.jsonl"
    value = json.loads(deep(MOST_NESTED - 1))
    path.write_bytes(
        orjson.dumps({"turns": [{"speaker": "a", "text": "b"}], "meta": {"x": json.loads(deep(90))}}) + b"\n"
    )
    assert isinstance(next(CORPORA["jsonl"].read(path)), Dialogue)
    path.with_suffix(".json").write_bytes(orjson.dumps([value]))
    assert read_json(path.with_suffix(".json")) == [value]
    many = [{"speaker": "a", "text": "[{"}] * 5000  # many brackets, but not in one another
    path.write_bytes(orjson.dumps({"turns": many}) + b"\n")
    assert isinstance(next(CORPORA["jsonl"].read(path)), Dialogue)


@pytest.mark.parametrize("text", ["1" * 6000, "[" + "1" * 6000 + "]", '{"a": -' + "9" * 5000 + "}"])
def test_numbers_of_thousands_of_digits_are_said_in_one_line(tmp_path, text):
    for name, read in (
        ("a.json", read_json),
        ("b.json", lambda path: list(CORPORA["chat"].read(path))),
        ("c.jsonl", read_texts),
        ("d.json", lambda path: list(CORPORA["triples"].read(path))),
    ):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(UserError) as error:
            read(path)
        assert str(error.value).startswith(str(path))
        assert len(str(error.value)) < 300
    (tmp_path / "c.jsonl").write_text(text)
    [(_, line)] = json_lines(tmp_path / "c.jsonl")
    assert isinstance(line, Malformed)
    assert shown(16**6000) == "a number of thousands of digits"


@pytest.mark.parametrize("place", ["9" * 6000, "²", "nan", "1e999"])
def test_places_of_turns_that_are_no_numbers_spoil_their_own_dialogue(tmp_path, place):
    table = tmp_path / "t.csv"
    table.write_text(f"dialogue,speaker,text,turn\na,A,x,{place}\na,B,y,2\nb,A,x,1\n")
    assert isinstance(list(CORPORA["table"].read(table))[1], Dialogue)
    rows = tmp_path / "e.csv"
    rows.write_text(f"conv_id,utterance_idx,prompt,utterance\nc1,{place},p,x\nc2,1,p,y\n")
    bad, good = CORPORA["empathetic_dialogues"].read(rows)
    assert isinstance(bad, Malformed)
    assert str(bad).startswith(f"{rows}:2: utterance_idx")
    assert len(str(bad)) < 300
    assert good.id == "c2"


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


LONG = "x" * 1_000_000
BOMBS = {
    "texts": pyarrow.table({"dialogue": ["d"] * 600, "speaker": ["a", "b"] * 300, "text": [LONG] * 600}),
    "lists": pyarrow.table({"dialogue": ["d"], "speaker": ["a"], "text": ["x"], "turns": [[LONG] * 600]}),
    "turns": pyarrow.table({"turns": [[{"speaker": "a", "text": LONG}]] * 600}),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_parquet_file_cannot_unpack_to_fill_the_memory(tmp_path, bomb):
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(BOMBS[bomb], path, compression="zstd")
    assert path.stat().st_size < 10_000
    before = peak()
    with pytest.raises(UserError, match=r"t.parquet: unpacks to over 200 times its size"):
        list(CORPORA["table"].read(path))
    assert peak() - before < 200 * 2**20


def test_parquet_of_equal_short_texts_is_read(tmp_path):
    path = tmp_path / "t.parquet"
    rows = 50_000
    columns = {
        "dialogue": [str(i // 2) for i in range(rows)],
        "speaker": ["a", "b"] * (rows // 2),
        "text": ["Hi!"] * rows,
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=7_003)
    dialogues = list(CORPORA["table"].read(path))
    assert sum(isinstance(entry, Dialogue) for entry in dialogues) == rows // 2
    assert dialogues[-1].turns == (Turn("a", "Hi!"), Turn("b", "Hi!"))


def test_a_pickle_cannot_ask_for_room_that_its_size_does_not_need(tmp_path):
    path = tmp_path / "a_utters.pickle"
    for place in (b"r\xff\xff\xff\x7f", b"p2000000000\n"):
        path.write_bytes(b"\x80\x02]" + place + b".")
        before = peak()
        with pytest.raises(UserError, match=r"refused as a pickle .* places"):
            list(CORPORA["triples"].read(path))
        assert peak() - before < 50 * 2**20


def test_a_dialogue_that_could_not_be_read_again_is_malformed(tmp_path):
    path = tmp_path / "t.csv"
    row = f"d,%s,{'x' * 1_000_000}\n"
    path.write_text(
        "dialogue,speaker,text\n" + "".join(row % "ab"[i % 2] for i in range(LONGEST_LINE // 1_000_000 + 1))
    )
    with pytest.raises(UserError, match=r"bytes long; at most 33,554,432 would be read again"):
        prepare(DataConfig(corpus="table", source=str(path)), tmp_path / "out")


def test_batches_of_long_lines_are_small(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    line = orjson.dumps({"turns": [{"speaker": "a", "text": "x" * 100_000}]}) + b"\n"
    path.write_bytes(line * 400)
    source = prepare_module.Source(path)
    part = prepare_module.Part("jsonl", CORPORA["jsonl"], [source], None, {})
    sizes = [sum(len(raw) for _, raw in batch.entries) for batch in prepare_module._batches(part, "")]
    assert sum(sizes) == 400 * (len(line) - 1)
    assert max(sizes) < 10_000_000


def test_a_marker_cannot_name_a_device_that_never_ends(tmp_path):
    for name in ("/dev/zero", "a" * 5000, "\0"):
        (tmp_path / "prepared.json").write_text(json.dumps({"key": "k", "files": {name: "x"}}))
        assert not is_current(tmp_path / "prepared.json", "k")
    (tmp_path / "prepared.json").write_bytes(deep(3000))
    assert not is_current(tmp_path / "prepared.json", "k")


def test_messages_are_never_longer_than_a_screen():
    assert len(str(UserError("x" * 10**6))) < LONGEST_MESSAGE + 10
    assert len(shown("x" * 10**6)) < 200


def test_replies_too_long_to_score_are_named(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"reply": "ok"}) + "\n" + json.dumps({"reply": "word " * 6000}) + "\n")
    with pytest.raises(UserError, match=r"p.jsonl: reply 2 has 6,000 words; up to 5,000 can be scored"):
        read_texts(path)


def test_raw_records_of_a_list_are_read_one_by_one(tmp_path):
    """The check of nesting looks at pieces only, so that a file is never in memory."""
    path = tmp_path / "a.json"
    path.write_bytes(b"[" + b",".join([b'{"a": "' + b"[" * 1000 + b'"}'] * 5000) + b"]")
    started = time.process_time()
    assert len(list(itertools.islice(raw_records(path), 10))) == 10
    assert time.process_time() - started < 0.5
