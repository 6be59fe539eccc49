"""DailyDialog (Li et al. 2017; CC BY-NC-SA 4.0): a dialogue a line, every turn ended by `__eou__`; or hub rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.corpora.sources import records
from gistchat.dialogue.lines import text_lines
from gistchat.dialogue.text_repair import separate_sentences
from gistchat.dialogue.turns import Dialogue, Item, Malformed, Turn

PATTERNS = ("dialogues_*.txt", "dailydialog_*.txt", "*.parquet")
HUB = ("OpenRL/daily_dialog", "li2017dailydialog/daily_dialog@refs/convert/parquet")
END_OF_TURN = "__eou__"


def read(path: Path) -> Iterator[Item]:
    if path.suffix == ".txt":
        for where, line in text_lines(path):
            yield line if isinstance(line, Malformed) else _of_line(path, where, line)
    else:
        for where, row in records(path):
            yield row if isinstance(row, Malformed) else _of_row(path, where, row)


def _of_line(path: Path, where: str, line: str) -> Dialogue | Malformed:
    *texts, rest = line.split(END_OF_TURN)
    if rest.strip():
        return Malformed(where, f"the last turn does not end in {END_OF_TURN}: a truncated line?")
    return _dialogue(f"{path.stem}-{where.rsplit(':', 1)[1]}", texts)


def _of_row(path: Path, where: str, row: Any) -> Dialogue | Malformed:
    try:
        return _dialogue(f"{path.stem}-{where.rsplit(' ', 1)[1]}", row["dialog"])
    except (KeyError, TypeError) as error:
        return Malformed(where, f"unexpected layout ({error!r})")


def _dialogue(name: str, texts: list[str]) -> Dialogue:
    turns = tuple(Turn("AB"[i % 2], separate_sentences(text)) for i, text in enumerate(texts))
    return Dialogue(name, turns, corpus="dailydialog")
