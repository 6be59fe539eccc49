"""The predictions as data for the item browser of a report: every text once, as many items as there is room for."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gistchat.evaluate import metrics
from gistchat.evaluate.analysis import Row, place_of, system_of

ROOM = 4_000_000  # bytes of a page for its items; the whole page stays below five million


@dataclass(frozen=True)
class Embedded:
    """The items of a page.

    Attributes:
        data: JSON that can stand in a script element: no text in it ends the element or begins another.
        items, rows: how many are in it.
        all_items, all_rows: how many there are.
    """

    data: str
    items: int
    rows: int
    all_items: int
    all_rows: int


class Texts:
    """Texts by number; turns stand in the contexts and prompts of many rows."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.size = 0

    def number(self, text: str) -> int:
        if text not in self.numbers:
            self.numbers[text] = len(self.numbers)
            self.size += len(script_json(text).encode()) + 1
        return self.numbers[text]

    def drop(self, number: int) -> None:
        """Forget the texts from this number on."""
        for text in list(self.numbers)[number:]:
            del self.numbers[text]


def embed(rows: Sequence[Row], room: int = ROOM) -> Embedded:
    """As many items as fit into so many bytes, those with replies first, the seeds taking turns."""
    by_item: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        by_item.setdefault(place_of(row), []).append(row)
    systems = list(dict.fromkeys(system_of(row) for row in rows))
    texts = Texts()
    items: list[list[Any]] = []
    left = room - len(script_json(systems))
    for group in _in_order(by_item):
        before, size = len(texts.numbers), texts.size
        item = _item(group, texts, systems)
        left -= len(script_json(item)) + 1 + texts.size - size
        if left < 0:
            texts.drop(before)
            break
        items.append(item)
    data = script_json({"systems": systems, "texts": list(texts.numbers), "items": items})
    embedded = sum(len(item[-1]) for item in items)
    return Embedded(data, len(items), embedded, len(by_item), len(rows))


def script_json(value: Any) -> str:
    """JSON for a script element, which no sign in it can end."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _in_order(by_item: dict[tuple[int, str], list[Row]]) -> list[list[Row]]:
    """Items with replies before others, the first item of each seed before the second."""
    places: dict[tuple[bool, int], int] = {}
    keys = []
    for (seed, _), group in by_item.items():
        silent = all(row["reply"] is None for row in group)
        place = places[silent, seed] = places.get((silent, seed), -1) + 1
        keys.append((silent, place, seed))
    return [group for _, group in sorted(zip(keys, by_item.values(), strict=True), key=lambda pair: pair[0])]


def _item(group: Sequence[Row], texts: Texts, systems: Sequence[Any]) -> list[Any]:
    first = group[0]
    about = [first["id"], first["dialogue"], first["turn"], first.get("seed", 0)]
    asked = first["context"][-1]["text"]
    shared = _shared_words(group)
    rows = [_row(row, texts, systems.index(system_of(row)), f1) for row, f1 in zip(group, shared, strict=True)]
    return [*about, texts.number(asked), texts.number(first["gold"]), rows]


def _row(row: Row, texts: Texts, system: int, f1: float | None) -> list[Any]:
    """What the page's script reads by place: texts by number, then figures."""
    context = [[int(turn["role"] == "user"), texts.number(turn["text"])] for turn in row["context"][:-1]]
    shown = [row["gist"], *(turn["text"] for turn in row["context"])]
    reply = row["reply"]
    return [
        system,
        texts.number(row["gist"]) if row["gist"] else None,
        context,
        [texts.number(part) for part in _parts(row["prompt"], shown)],
        None if reply is None else texts.number(reply),
        _rounded(None if row.get("nats") is None else row["nats"] / row["gold_tokens"]),
        row.get("rank"),
        _rounded(f1),
        row.get("candidates"),
        row["prompt_tokens"],
        row.get("reused_tokens"),
        row.get("reply_tokens"),
        _rounded(row.get("seconds")),
    ]


def _shared_words(group: Sequence[Row]) -> list[float | None]:
    """F1 of each reply's words with the gold reply's, in percent; None where there is no reply."""
    answered = [row for row in group if row["reply"] is not None]
    f1 = metrics.unigram_f1([row["reply"] for row in answered], [row["gold"] for row in answered])
    percents = iter(f1(np.eye(len(answered))))
    return [None if row["reply"] is None else float(next(percents)) for row in group]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _parts(prompt: str, shown: Sequence[str]) -> list[str]:
    """The prompt cut at the texts that stand in it anyway; joined, they are the prompt."""
    parts, place = [], 0
    for text in shown:
        start = prompt.find(text, place) if text else -1
        if start >= 0:
            parts += [prompt[place:start], text]
            place = start + len(text)
    return [part for part in (*parts, prompt[place:]) if part]
