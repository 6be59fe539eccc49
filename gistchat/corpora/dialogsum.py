"""DialogSum (Chen et al. 2021; CC BY-NC-SA 4.0): everyday dialogues with a summary.

JSONL, a JSON list or rows on the hub; in each a `dialogue` is one text of "Speaker: words" lines. The `summary` goes to
`meta["gold"]`. SAMSum has the same layout.
"""

import functools
from collections.abc import Iterator
from typing import Any

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.sources import reader
from gistchat.corpora.transcript import parse_lines
from gistchat.dialogue.turns import Dialogue


def parse_summarised(corpus: str, file: str, _: str, value: dict[str, Any]) -> Iterator[Dialogue]:
    name = value["fname"] if "fname" in value else value["id"]
    summaries = [value[key] for key in ("summary", "summary1", "summary2", "summary3") if value.get(key)]
    text = value["dialogue"] or ""  # SAMSum has a dialogue of no lines, which CSV readers make nothing at all of
    turns = parse_lines(line for line in text.split("\n") if line.strip())
    meta = {"gold": [{"speaker": "", "text": summaries[0].strip()}], "summaries": summaries} if summaries else {}
    yield Dialogue(str(name), tuple(turns), corpus=corpus, meta=meta)


CORPUS = Corpus(
    name="dialogsum",
    description="dialogues with summaries (gold: the summary of the whole dialogue)",
    read=reader(functools.partial(parse_summarised, "dialogsum")),
    patterns=("dialogsum*.jsonl", "*.parquet"),
    hub=("knkarthick/dialogsum",),
    mark=b"\n",
    tokenised=True,  # where it was taken from DailyDialog: one text in fifty has "I ' m" or "well. . ."
    size="13,460 dialogues",
    licence="CC BY-NC-SA 4.0",
    citation="Chen, Liu, Chen, Zhang (2021). DialogSum: A Real-Life Scenario Dialogue Summarization Dataset. "
    "Findings of ACL.",
    link="https://aclanthology.org/2021.findings-acl.449",
)
