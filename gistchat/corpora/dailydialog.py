"""DailyDialog (Li et al. 2017; CC BY-NC-SA 4.0): everyday dialogues for learners of English.

Two layouts: text files with a dialogue a line and `__eou__` after every turn, and rows on the hub with a list `dialog`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.sources import records
from gistchat.dialogue.lines import parse_records, text_lines
from gistchat.dialogue.text_repair import separate_sentences
from gistchat.dialogue.turns import Dialogue, ReadResult, Turn, Unreadable

END_OF_TURN = "__eou__"


def read(path: Path) -> Iterator[ReadResult]:
    return parse_records(_parse, path.stem, text_lines(path) if path.suffix == ".txt" else records(path))


def _parse(file: str, name: str, record: str | dict[str, Any]) -> Iterator[Dialogue]:
    if isinstance(record, str):
        *texts, rest = record.split(END_OF_TURN)
        if rest.strip():
            raise Unreadable(f"the last turn does not end in {END_OF_TURN}: a truncated line?")
    else:
        texts = record["dialog"]
    turns = tuple(Turn("AB"[i % 2], separate_sentences(text)) for i, text in enumerate(texts))
    yield Dialogue(name, turns, corpus="dailydialog")


CORPUS = Corpus(
    name="dailydialog",
    description="everyday dialogues for learners of English",
    read=read,
    patterns=("dialogues_*.txt", "dailydialog_*.txt", "*.parquet"),
    hub=("OpenRL/daily_dialog", "li2017dailydialog/daily_dialog@refs/convert/parquet"),
    mark=b"\n",
    tokenised=True,
    size="13,118 dialogues",
    licence="CC BY-NC-SA 4.0",
    citation="Li, Su, Shen, Li, Cao, Niu (2017). DailyDialog: A Manually Labelled Multi-turn Dialogue Dataset. IJCNLP.",
    link="https://aclanthology.org/I17-1099",
)
