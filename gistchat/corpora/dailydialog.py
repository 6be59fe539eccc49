"""DailyDialog (Li et al. 2017; CC BY-NC-SA 4.0): everyday dialogues for learners of English.

Two layouts: text files with a dialogue a line and `__eou__` after every turn, and rows on the hub with a list `dialog`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.sources import records
from gistchat.dialogue.lines import text_lines
from gistchat.dialogue.text_repair import separate_sentences
from gistchat.dialogue.turns import Dialogue, Malformed, ReadResult, Turn

END_OF_TURN = "__eou__"


def read(path: Path) -> Iterator[ReadResult]:
    if path.suffix == ".txt":
        for location, line in text_lines(path):
            yield line if isinstance(line, Malformed) else _from_line(path, location, line)
    else:
        for location, row in records(path):
            yield row if isinstance(row, Malformed) else _from_row(path, location, row)


def _from_line(path: Path, location: str, line: str) -> Dialogue | Malformed:
    *texts, rest = line.split(END_OF_TURN)
    if rest.strip():
        return Malformed(location, f"the last turn does not end in {END_OF_TURN}: a truncated line?")
    return _dialogue(f"{path.stem}-{location.rsplit(':', 1)[1]}", texts)


def _from_row(path: Path, location: str, row: Any) -> Dialogue | Malformed:
    try:
        return _dialogue(f"{path.stem}-{location.rsplit(' ', 1)[1]}", row["dialog"])
    except (KeyError, TypeError) as error:
        return Malformed(location, f"unexpected layout ({error!r})")


def _dialogue(name: str, texts: list[str]) -> Dialogue:
    turns = tuple(Turn("AB"[i % 2], separate_sentences(text)) for i, text in enumerate(texts))
    return Dialogue(name, turns, corpus="dailydialog")


CORPUS = Corpus(
    name="dailydialog",
    description="everyday dialogues for learners of English",
    read=read,
    patterns=("dialogues_*.txt", "dailydialog_*.txt", "*.parquet"),
    hub=("OpenRL/daily_dialog", "li2017dailydialog/daily_dialog@refs/convert/parquet"),
    mark=b"\n",
    size="13,118 dialogues",
    licence="CC BY-NC-SA 4.0",
    citation="Li, Su, Shen, Li, Cao, Niu (2017). DailyDialog: A Manually Labelled Multi-turn Dialogue Dataset. IJCNLP.",
    link="https://aclanthology.org/I17-1099",
)
