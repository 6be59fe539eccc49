"""Small datasets, each laid out as the true repository of that name."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

THINGS = ("dog", "cat", "river", "garden", "violin", "bicycle", "teacher", "mountain", "kitchen", "library")
SPLITS = ("train", "validation", "test")
PERSONACHAT, PERSONACHAT_JSON = "AlekseyKorshuk/persona-chat", "ada/personachat-json"
DAILYDIALOG, DAILYDIALOG_SCRIPT = "OpenRL/daily_dialog", "li2017dailydialog/daily_dialog"
SAMSUM, SEVERAL = "knkarthick/samsum", "ada/chats-of-two-kinds"
EMPTY = {"id": "13828807", "dialogue": "", "summary": "problem with visualization of the content"}


def turns(split: str, number: int, count: int) -> list[str]:
    """The turns of a dialogue that is like no other."""
    said = ("I saw a {} in the {} number {} .", "Did the {} belong to the {} of house {} ?")
    names = [(THINGS[(number + i) % 10], THINGS[(3 * number + i + len(split)) % 10]) for i in range(count)]
    return [said[i % 2].format(*names[i], 100 * len(split) + 10 * number + i) for i in range(count)]


def personas(split: str, number: int) -> dict[str, Any]:
    """A row of Persona-Chat: each reply with the history before it, as the last of several candidates."""
    said = turns(split, number, 8)
    utterances = [{"candidates": ["i like tea .", said[i]], "history": said[:i]} for i in range(1, 8, 2)]
    return {"personality": [f"i own a {THINGS[number % 10]} .", "i like to ski ."], "utterances": utterances}


def exchange(split: str, number: int) -> dict[str, Any]:
    """A row of DailyDialog."""
    return {"dialog": turns(split, number, 8), "act": [1, 2] * 4, "emotion": [0] * 8}


def chat(split: str, number: int) -> dict[str, Any]:
    """A row of SAMSum."""
    lines = [f"{('Ann', 'Ben')[i % 2]}: {text}" for i, text in enumerate(turns(split, number, 8))]
    return {"id": f"{len(split)}{number}", "dialogue": "\r\n".join(lines), "summary": "Ann and Ben talk about pets."}


def _rows(row: Callable[[str, int], dict[str, Any]], split: str, count: int = 12) -> list[dict[str, Any]]:
    return [row(split, number) for number in range(count)]


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def _csv(rows: list[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def _card(configurations: dict[str, dict[str, str]]) -> bytes:
    """A README that says which files are which split of which configuration."""
    lines = ["---", "license: cc-by-4.0", "configs:"]
    for name, files in configurations.items():
        lines += [f"- config_name: {name}", "  data_files:"]
        for split, path in files.items():
            lines += [f"  - split: {split}", f"    path: {path}"]
    return "\n".join([*lines, "---", "", "# Dialogues", ""]).encode()


def _data_files(row: Callable[[str, int], dict[str, Any]], splits: Sequence[str]) -> dict[str, bytes]:
    files = {f"data/{split}-00000-of-00001.parquet": parquet(_rows(row, split)) for split in splits}
    return {"README.md": _card({"default": {split: f"data/{split}-*" for split in splits}}), **files}


def persona_file() -> bytes:
    """Persona-Chat in one JSON file, `personachat_self_original.json`."""
    return json.dumps({"train": _rows(personas, "train"), "valid": _rows(personas, "valid", 6)}).encode()


def dataset_files() -> dict[str, dict[str, dict[str, bytes]]]:
    """Of each dataset, of each of its branches, the files."""
    script = b'"""The library runs no scripts any more."""\n'
    converted = {f"default/{split}/0000.parquet": parquet(_rows(exchange, split)) for split in SPLITS}
    samsum = {split: [*_rows(chat, split), *([EMPTY] if split == "train" else [])] for split in SPLITS}
    kinds = {"short": 4, "long": 8}
    several = {
        f"{kind}/{split}.jsonl": b"".join(
            json.dumps({"dialog": turns(split, number, count)}).encode() + b"\n" for number in range(12)
        )
        for kind, count in kinds.items()
        for split in SPLITS
    }
    places = {kind: {split: f"{kind}/{split}.jsonl" for split in SPLITS} for kind in kinds}
    lists = {f"{split}.json": json.dumps(_rows(personas, split)).encode() for split in SPLITS[:2]}
    return {
        PERSONACHAT: {"main": _data_files(personas, SPLITS[:2])},
        PERSONACHAT_JSON: {"main": lists},
        DAILYDIALOG: {"main": _data_files(exchange, SPLITS)},
        DAILYDIALOG_SCRIPT: {
            "main": {"README.md": b"# DailyDialog\n", "daily_dialog.py": script},
            "refs/convert/parquet": converted,
        },
        SAMSUM: {"main": {"README.md": b"# SAMSum\n", **{f"{name}.csv": _csv(rows) for name, rows in samsum.items()}}},
        SEVERAL: {"main": {"README.md": _card(places), **several}},
    }
