"""SAMSum (Gliwa et al. 2019; CC BY-NC-ND 4.0): messenger chats of several speakers with a summary, as in DialogSum."""

import functools

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.dialogsum import parse_summarised
from gistchat.corpora.sources import reader

CORPUS = Corpus(
    name="samsum",
    description="messenger chats with summaries, several speakers (gold: the summary of the whole chat)",
    read=reader(functools.partial(parse_summarised, "samsum")),
    patterns=("train.json", "val.json", "test.json", "samsum*.json", "*.parquet"),
    hub=("knkarthick/samsum",),
    mark=b'"dialogue"',
    size="16,369 dialogues",
    licence="CC BY-NC-ND 4.0",
    citation="Gliwa, Mochol, Biesek, Wawer (2019). SAMSum Corpus: A Human-annotated Dialogue Dataset for "
    "Abstractive Summarization. Workshop on New Frontiers in Summarization.",
    link="https://aclanthology.org/D19-5409",
)
