"""Reads thousands of damaged and hostile files with every reader, in a process with little memory and time.

Run by `test_hostile_files.py`. Prints what went wrong, a line a case: anything but a value, a counted `Malformed`, or a
`UserError` of one line.
"""

import contextlib
import json
import pickle
import random
import re
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from gistchat.corpora.kinds import kind_of_file
from gistchat.corpora.readers import CORPORA
from gistchat.corpora.sources import estimate
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed
from gistchat.errors import UserError
from gistchat.evaluate.external_predictions import read_texts
from gistchat.evaluate.recall_files import read_collection
from gistchat.evaluate.recall_rows import read_results
from gistchat.files import read_json
from gistchat.prepare.clean import Batch, CleaningRules, clean_batch
from gistchat.recipe.load import load_recipe, recipe_from_dict
from gistchat.resumable import ResumableJsonl
from gistchat.stages import is_current

MEMORY = 1_500 * 2**20  # bytes of address space, libraries included
SECONDS = 1.5  # of processor time for one file
DEEP = 50_000

SAID = [("Ann", "Hi, I'm at www.example.com."), ("Ben", "Call 555-1234, or ann@example.org!"), ("Ann", "It 's late .")]
TURNS = [{"speaker": name, "text": text} for name, text in SAID]
MESSAGES = [
    {"role": role, "content": text} for role, (_, text) in zip(("system", "user", "assistant"), SAID, strict=True)
]
TEXTS = [text for _, text in SAID]


def _lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _arrow(rows: list[dict[str, Any]]) -> bytes:
    table = pyarrow.Table.from_pylist(rows)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


ROWS = [{"dialogue": "d1", "speaker": name, "text": text, "turn": i} for i, (name, text) in enumerate(SAID)]
DIALOGUE = {"id": "d1", "turns": TURNS, "split": "train", "targets": ["Ann"], "meta": {"gold": TURNS[:1]}}
MSC = {"dialog": [{"id": name, "text": text} for name, text in SAID], "previous_dialogs": [{"dialog": TURNS}]}
MSC |= {"personas": [["I run."], ["I sing."]], "metadata": {"initial_data_id": "x"}}
MSC_ROW = {
    "dialoug_id": 1,
    "session_id": 0,
    "speaker": ["A", "B"],
    "dialogue": TEXTS[:2],
    "persona1": [],
    "persona2": [],
}
PERSONA = {"train": [{"personality": ["I run."], "utterances": [{"history": TEXTS[:1], "candidates": TEXTS}]}]}
SUMMARISED = {"fname": "t1", "id": "t1", "dialogue": "Ann: Hi\nBen: Hello <edited>", "summary": "They greet."}
BST = {"personas": [["I run."], ["I sing."]], "dialog": [[0, "Hi"], [1, "Hello"]]}
BST |= {"free_turker_utterance": "a", "guided_turker_utterance": "b"}
CHITCHAT = {"c1": {"messages": [[{"sender": "s1", "text": "Hi"}], [{"sender": "s2", "text": "Yes"}]], "prompt": "p"}}
CSV = b'dialogue,speaker,text,turn\nd1,Ann,"Hi, you",0\nd1,Ben,Hello,1\n'
EMPATHETIC = b"conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags\n"
EMPATHETIC += b'hit:0_conv:1,1,sad,I lost it_comma_ oh,1,Hi,5|5,\nhit:0_conv:1,2,sad,I lost it,2,"Oh, no",5|5,\n'
EXPORT = "12/31/23, 9:15 PM - Ann: Hi\n12/31/23, 9:16 PM - Ben added Cem\n31.12.23, 21:17 - Ben: Ho <edited>\n"
PLAIN = "Ann: Hi\nBen: Look:\n```\nx = 1\n```\n- a list\n\nAnn: Bye\nBen: Bye\n---\n"
RECIPE = b'# r\nname = "r"\nseed = 3\n[train]\nsteps = 5\nstrategies = ["last", "recent"]\nlearning_rate = 1e-3\n'
RECIPE += b'[[data.mix]]\ncorpus = "msc"\nweight = 2\n[experiment]\nseeds = [1, 2]\n'
TRIPLES = [["They greet.", "Hi", "Hello"], [["", "a", "b"], ["s", "c", "d"]]]

CORPUS_FILES = [
    ("jsonl", "a.jsonl", _lines(DIALOGUE, DIALOGUE | {"id": "d2"})),
    ("jsonl", "a.parquet", _parquet([{"id": "d1", "turns": TURNS}])),
    ("chat", "c.jsonl", _lines({"messages": MESSAGES}, {"conversations": [{"from": "human", "value": "Hi"}]})),
    ("chat", "c.json", json.dumps([{"messages": MESSAGES}]).encode()),
    ("chat", "one.json", json.dumps({"id": 1, "messages": MESSAGES}).encode()),
    ("chat", "c.parquet", _parquet([{"messages": MESSAGES}])),
    ("table", "t.csv", CSV),
    ("table", "t.tsv", CSV.replace(b",", b"\t")),
    ("table", "t.parquet", _parquet(ROWS)),
    ("table", "t.arrow", _arrow(ROWS)),
    ("transcript", "t.txt", PLAIN.encode()),
    ("whatsapp", "w.txt", EXPORT.encode()),
    ("triples", "x_summarized.json", json.dumps(TRIPLES).encode()),
    ("triples", "train_utters.json", json.dumps([TEXTS, TEXTS]).encode()),
    ("triples", "train_utters.pickle", pickle.dumps([TEXTS, TEXTS])),
    ("chitchat", "dataset.json", json.dumps(CHITCHAT).encode()),
    ("dailydialog", "dialogues_a.txt", b"Hi . __eou__ Hello ! __eou__\nYes __eou__ No __eou__\n"),
    ("dailydialog", "d.parquet", _parquet([{"dialog": TEXTS}])),
    ("empathetic_dialogues", "train.csv", EMPATHETIC),
    ("personachat", "v_self_original.txt", b"1 your persona: I run.\n2 Hi\tHello\n3 Yes\tNo\n1 a\tb\n"),
    ("personachat", "personachat.json", json.dumps(PERSONA).encode()),
    ("blended_skill_talk", "bst_val.json", json.dumps([BST]).encode()),
    ("msc", "train.txt", _lines(MSC, MSC)),
    ("msc", "m.jsonl", _lines(MSC_ROW, MSC_ROW | {"session_id": 1})),
    ("dialogsum", "dialogsum.dev.jsonl", _lines(SUMMARISED)),
    ("samsum", "samsum.json", json.dumps([SUMMARISED]).encode()),
]


def _read_corpus(name: str, path: Path) -> None:
    """As `prepare` does: estimated, guessed, read, cleaned and written."""
    corpus = CORPORA[name]
    with contextlib.suppress(UserError):
        kind_of_file(path)
    with contextlib.suppress(UserError):
        estimate(path, corpus.mark)
    entries = list(corpus.read(path))
    assert all(isinstance(entry, Dialogue | Malformed | LeftOut) for entry in entries)
    rules = CleaningRules(corpus.min_turns, corpus.max_turn_chars, True, 0, corpus.tokenised)
    clean_batch(rules, Batch(entries, None, path.stem, "", ""))


def _read_resumable(path: Path) -> None:
    lines = ResumableJsonl(path)
    for key in lines:
        lines.get(key)


def _read_metadata(path: Path) -> None:
    value = read_json(path)
    if isinstance(value, dict) and isinstance(value.get("recipe"), dict):
        recipe_from_dict(value["recipe"], str(path))


ASKED = [{"question": "Who?", "evidence": [1, "2"], "category": "a", "answerable": True}]
SESSION = [{"speaker": "Ann", "dia_id": "D1:1", "text": "Hi", "blip_caption": "a photo of a dog"}]
LOCOMO = {"sample_id": "conv-1", "conversation": {"session_1": SESSION, "session_1_date_time": "8 May"}}
LOCOMO |= {"qa": [{"question": "Who?", "evidence": ["D1:1; D1:2"], "category": 1}]}
ROW = {"strategy": "recent", "measure": "budget", "at": 96, "group": "all", "share": 0.5, "any_part": 0.5}
RESULTS = dict.fromkeys(("conversations", "turns", "questions", "unknown_ids"), 1) | {"kind": "gistchat recall"}
RESULTS |= dict.fromkeys(("index_seconds", "search_seconds", "seconds"), 0.5) | {"left_out": {}, "settings": {"a": 1}}
RESULTS |= dict.fromkeys(("file", "layout", "tokens_of"), "x") | {"rows": [ROW | {"low": 0, "high": 1, "n": 1}]}
METADATA = {"recipe": {"name": "r", "train": {"steps": 5}, "evaluate": {"budgets": [8]}}, "weights": {"a": "b"}}
OTHER_FILES: list[tuple[Callable[[Path], Any], str, bytes]] = [
    (load_recipe, "r.toml", RECIPE),
    (read_texts, "p.jsonl", _lines({"id": 1, "reply": "Hi"}, {"id": 2, "reply": "Ho", "context": TURNS})),
    (read_texts, "gold.jsonl", _lines({"id": 1, "gold": ["Hi", "Ha"]}, {"id": 2, "gold": "Ho"})),
    (read_texts, "paper.json", json.dumps({"context": ["s.  Hi"], "ans": ["Ho"]}).encode()),
    (read_collection, "own.jsonl", _lines({"id": "d1", "turns": TURNS, "questions": ASKED})),
    (read_collection, "locomo.json", json.dumps([LOCOMO]).encode()),
    (read_results, "recall.json", json.dumps(RESULTS).encode()),
    (_read_metadata, "gistchat.json", json.dumps(METADATA).encode()),
    (lambda path: is_current(path, "k"), "prepared.json", json.dumps({"key": "k", "files": {"a": "b"}}).encode()),
    (_read_resumable, "cache.jsonl", b'{"key": "a", "n": 1}\n{"key": "b", "n": [1]}\n'),
]

TOKEN = re.compile(rb'"[^"\n]*"|\d+|\w+|[^\w\s]')
HOSTILE = [
    b"[" * DEEP,
    b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP,
    b"[" * 500 + b"]" * 500,
    b"a." * 3000 + b"a = 1",
    b"9" * 6000,
    b"0x" + b"f" * 3000,
    b"1e999",
    b"-1",
    b"NaN",
    b"0.5",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b'"\\ud800"',
    "²".encode(),
    b"\0",
    b"\xff\xfe\x80",
    b"\n",
    b"\r\n\r\n",
    b'"',
    b"a-" * 30_000,
    b"1-1-" * 10_000,
    b"@" * 30_000,
    b" " * 50_000,
    b"\n" * 20_000,
    b"<" * 20_000,
    b"x" * 300_000,
]


def _damaged(data: bytes, draw: random.Random, number: int) -> bytes:
    """One way of many in which a file is damaged; the first ones are each hostile piece once in place of a token."""
    tokens = [match.span() for match in TOKEN.finditer(data)]
    if number < len(HOSTILE):
        start, end = draw.choice(tokens)
        return data[:start] + HOSTILE[number] + data[end:]
    if number < 2 * len(HOSTILE):  # inside of a token, such as a text between its quotes
        place = sum(draw.choice(tokens)) // 2
        return data[:place] + HOSTILE[number - len(HOSTILE)] + data[place:]
    place, other = sorted(draw.choices(range(len(data)), k=2))
    kind = draw.randrange(5)
    if kind == 0:
        return data[:place]
    if kind == 1:
        flipped = bytearray(data)
        for _ in range(draw.randint(1, 4)):
            flipped[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        return bytes(flipped)
    if kind == 2:
        return data[:place] + data[other:]
    if kind == 3:
        return data[:other] + data[place:other] * draw.randint(1, 50) + data[other:]
    start, end = draw.choice(tokens)
    first, last = draw.choice(tokens)
    return data[:start] + data[first:last] + data[end:]


class TooSlow(BaseException):
    """Not an Exception, so that no reader takes it for one of its own."""


def _problem(read: Callable[[Path], Any], path: Path) -> str:
    """What went wrong; empty where nothing did."""
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        read(path)
    except UserError as error:
        text = str(error)
        return "" if "\n" not in text and len(text) < 2100 else f"a message of several lines: {text[:300]!r}"
    except TooSlow:
        return f"takes over {SECONDS} s"
    except BaseException as error:
        return repr(error)[:300]
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return ""


def cases() -> Iterator[tuple[str, Callable[[Path], Any], str, bytes]]:
    for name, file, data in CORPUS_FILES:
        yield name, lambda path, name=name: _read_corpus(name, path), file, data
    for read, file, data in OTHER_FILES:
        yield getattr(read, "__name__", "read"), read, file, data


def main(mutations: int, seed: int) -> None:
    def stop(*_: Any) -> None:
        raise TooSlow

    signal.signal(signal.SIGVTALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        for name, read, file, data in cases():
            path = Path(folder) / file
            path.write_bytes(data)
            if problem := _problem(read, path):
                print(f"{name} {file} whole: {problem}")
            draw = random.Random(f"{seed} {file}")
            for number in range(mutations):
                path.write_bytes(_damaged(data, draw, number))
                if problem := _problem(read, path):
                    print(f"{name} {file} {number}: {problem}", flush=True)
    print("done")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
