"""One reader per corpus: a file -> Dialogue or Malformed, one after another."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gistchat.corpora import (
    blended_skill_talk,
    chat_export,
    chitchat,
    dailydialog,
    dialogsum,
    empathetic_dialogues,
    jsonl,
    personachat,
    sources,
    table,
    transcript,
    triples,
)
from gistchat.dialogue import Dialogue, Malformed


@dataclass(frozen=True)
class Corpus:
    """A reader, what is known of the corpus, and what is sensible for its data where the user does not say otherwise.

    Attributes:
        read: the dialogues of one file.
        files: the corpus's files at a place that the user names (or none), in order.
        item_mark: bytes that occur about once per dialogue, so that progress knows its total without parsing.
    """

    read: Callable[[Path], Iterator[Dialogue | Malformed]]
    files: Callable[[Path | None], list[Path]]
    item_mark: bytes
    what: str
    licence: str = "yours"
    link: str = ""
    min_turns: int = 2
    max_turn_chars: int = 0
    scrub: bool = False
    split_by: str = "dialogue"


def _found(name: str, patterns: Sequence[str]) -> Callable[[Path | None], list[Path]]:
    return functools.partial(sources.find_files, name, patterns=patterns)


CORPORA = {
    "chitchat": Corpus(
        chitchat.read,
        chitchat.files,
        b'"messages"',
        "conversations of students, 7,168 (package chitchat-dataset)",
        "MIT",
        "https://github.com/BYU-PCCL/chitchat-dataset",
        min_turns=6,
        max_turn_chars=1000,
        scrub=True,
        split_by="speaker",
    ),
    "dailydialog": Corpus(
        dailydialog.read,
        _found("dailydialog", dailydialog.PATTERNS),
        b"\n",
        "everyday dialogues for learners of English, 13,118 (Li et al. 2017)",
        "CC BY-NC-SA 4.0",
        "https://aclanthology.org/I17-1099",
    ),
    "empathetic_dialogues": Corpus(
        empathetic_dialogues.read,
        _found("empathetic_dialogues", empathetic_dialogues.PATTERNS),
        b",1,",
        "talk about a felt situation, 24,850 (Rashkin et al. 2019)",
        "CC BY-NC 4.0",
        "https://aclanthology.org/P19-1534",
    ),
    "personachat": Corpus(
        personachat.read,
        _found("personachat", personachat.PATTERNS),
        b"\n1 ",
        "strangers with given personas, 18,878 in ConvAI2 (Zhang et al. 2018); gold: personas",
        "CC BY 4.0",
        "https://aclanthology.org/P18-1205",
    ),
    "blended_skill_talk": Corpus(
        blended_skill_talk.read,
        _found("blended_skill_talk", blended_skill_talk.PATTERNS),
        b'"dialogue"',
        "knowledge, empathy and personas in one, 6,808 (Smith et al. 2020); gold: personas",
        "CC BY 4.0",
        "https://aclanthology.org/2020.acl-main.183",
    ),
    "dialogsum": Corpus(
        dialogsum.read,
        _found("dialogsum", dialogsum.PATTERNS),
        b"\n",
        "dialogues with summaries, 13,460 (Chen et al. 2021); gold: the summary of the whole dialogue",
        "CC BY-NC-SA 4.0",
        "https://aclanthology.org/2021.findings-acl.449",
    ),
    "samsum": Corpus(
        dialogsum.read_samsum,
        _found("samsum", dialogsum.SAMSUM_PATTERNS),
        b'"dialogue"',
        "messenger chats with summaries, 16,369 (Gliwa et al. 2019); gold: the summary of the whole chat",
        "CC BY-NC-ND 4.0",
        "https://aclanthology.org/D19-5409",
    ),
    "jsonl": Corpus(jsonl.read, _found("jsonl", jsonl.PATTERNS), b"\n", "your dialogues, one a line (docs/formats.md)"),
    "table": Corpus(
        table.read, _found("table", table.PATTERNS), b"\n", "your CSV or TSV: columns dialogue, speaker and text"
    ),
    "transcript": Corpus(
        transcript.read,
        _found("transcript", transcript.PATTERNS),
        b"\n\n",
        'your text files or messenger exports: lines of "Name: words", an empty line between dialogues',
    ),
    "chat": Corpus(
        chat_export.read,
        _found("chat", chat_export.PATTERNS),
        b"\n",
        "your chat exports: messages with role and content, or ShareGPT's conversations",
    ),
    "triples": Corpus(
        triples.read,
        _found("triples", triples.PATTERNS),
        b"]",
        "the paper's [summary, user turn, reply] lists and its prepared *_utters files",
        "as of the paper's data",
    ),
}
