"""DialogSum (Chen et al. 2021; CC BY-NC-SA 4.0) and SAMSum (Gliwa et al. 2019; CC BY-NC-ND 4.0): with summaries.

JSONL, a JSON list or the hub's rows; in all a dialogue is one text of "Speaker: words" lines. The summary goes to
`meta["gold"]`.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.corpora.sources import records
from gistchat.corpora.transcript import parse_lines
from gistchat.dialogue.turns import Dialogue, Item, Malformed

PATTERNS = ("dialogsum*.jsonl", "*.parquet")
SAMSUM_PATTERNS = ("train.json", "val.json", "test.json", "samsum*.json", "*.parquet")
HUB = ("knkarthick/dialogsum",)
SAMSUM_HUB = ("knkarthick/samsum",)


def _read(corpus: str, path: Path) -> Iterator[Item]:
    for where, value in records(path):
        yield value if isinstance(value, Malformed) else _dialogue(value, where, corpus)


read = functools.partial(_read, "dialogsum")
read_samsum = functools.partial(_read, "samsum")


def _dialogue(value: Any, where: str, corpus: str) -> Dialogue | Malformed:
    try:
        name = value["fname"] if "fname" in value else value["id"]
        summaries = [value[key] for key in ("summary", "summary1", "summary2", "summary3") if value.get(key)]
        turns, _ = parse_lines((where, line) for line in value["dialogue"].splitlines() if line.strip())
        gold = [{"speaker": "", "text": summaries[0].strip()}] if summaries else []
        meta = {"gold": gold, "summaries": summaries} if summaries else {}
        return Dialogue(str(name), tuple(turns), corpus=corpus, meta=meta)
    except (KeyError, TypeError, AttributeError) as error:
        return Malformed(where, f"unexpected layout ({error!r})")
    except ValueError as error:
        return Malformed(where, str(error).split(": ", 1)[-1])
