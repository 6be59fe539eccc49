"""DialogSum (Chen et al. 2021; CC BY-NC-SA 4.0) and SAMSum (Gliwa et al. 2019; CC BY-NC-ND 4.0): with summaries.

DialogSum is JSONL, SAMSum a JSON list; in both a dialogue is one text of "Speaker: words" lines. The summary goes to
`meta["gold"]`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.corpora.transcript import parse_lines
from gistchat.dialogue import Dialogue, Malformed, json_lines
from gistchat.storage import read_json

PATTERNS = ("dialogsum*.jsonl",)
SAMSUM_PATTERNS = ("train.json", "val.json", "test.json", "samsum*.json")


def read(path: Path) -> Iterator[Dialogue | Malformed]:
    for where, value in json_lines(path):
        yield value if isinstance(value, Malformed) else _dialogue(value, where, "fname", "dialogsum")


def read_samsum(path: Path) -> Iterator[Dialogue | Malformed]:
    for number, value in enumerate(read_json(path)):
        yield _dialogue(value, f"{path}: entry {number}", "id", "samsum")


def _dialogue(value: Any, where: str, name: str, corpus: str) -> Dialogue | Malformed:
    try:
        text = value["dialogue"]
        summaries = [value[key] for key in ("summary", "summary1", "summary2", "summary3") if value.get(key)]
        turns = parse_lines((where, line) for line in text.splitlines() if line.strip())
        gold = [{"speaker": "", "text": summaries[0].strip()}] if summaries else []
        meta = {"gold": gold, "summaries": summaries} if summaries else {}
        return Dialogue(str(value[name]), tuple(turns), corpus=corpus, meta=meta)
    except (KeyError, TypeError, AttributeError) as error:
        return Malformed(where, f"unexpected layout ({error!r})")
    except ValueError as error:
        return Malformed(where, str(error).split(": ", 1)[-1])
