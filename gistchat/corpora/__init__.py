"""One reader per corpus: a file -> Dialogue, Malformed or LeftOut, one after another."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from gistchat.corpora import (
    blended_skill_talk,
    chat_export,
    chitchat,
    dailydialog,
    dialogsum,
    empathetic_dialogues,
    jsonl,
    msc,
    personachat,
    table,
    transcript,
    triples,
)
from gistchat.corpora.sources import Source, find_sources
from gistchat.dialogue.turns import Item


@dataclass(frozen=True)
class Corpus:
    """A reader, what is known of the corpus, and what is sensible for its data where the user does not say otherwise.

    Attributes:
        read: the dialogues of one file, and what is wrong with or left out of it.
        find: the corpus's files at a place that the user names: a file, a folder, the hub.
        mark: bytes that occur about once per dialogue, so that progress knows its total without parsing.
        patterns: names of its files, in the layouts that it is distributed in.
        hub: ids of its mirrors on the hub, the best first.
        units: where a reader does its work one record after another: the records of a file, which `parse` makes items
            of, on any core. `read` is both.
    """

    read: Callable[[Path], Iterator[Item]]
    find: Callable[[str], list[Source]]
    mark: bytes
    what: str
    size: str = ""
    licence: str = "yours"
    citation: str = ""
    link: str = ""
    patterns: tuple[str, ...] = ()
    hub: tuple[str, ...] = ()
    units: Callable[[Path], Iterator[Any]] | None = None
    parse: Callable[[Any], Iterator[Item]] | None = None
    min_turns: int = 2
    max_turn_chars: int = 0
    scrub: bool = False
    split_by: str = "dialogue"


def _corpus(name: str, reader: ModuleType, mark: bytes, what: str, **rest: Any) -> Corpus:
    rest = {"patterns": reader.PATTERNS, "hub": getattr(reader, "HUB", ())} | rest
    rest |= {part: getattr(reader, part, None) for part in ("units", "parse")}
    find = getattr(reader, "find", None) or functools.partial(find_sources, name, rest["patterns"], rest["hub"])
    return Corpus(rest.pop("read", reader.read), find, mark, what, **rest)


CORPORA = {
    "chitchat": _corpus(
        "chitchat",
        chitchat,
        b'"messages"',
        "conversations of students, in the package chitchat-dataset",
        size="7,168 dialogues",
        licence="MIT",
        citation="BYU Perception, Control and Cognition lab: Chit-Chat Challenge; package by W. Myers.",
        link="https://github.com/BYU-PCCL/chitchat-dataset",
        min_turns=6,
        max_turn_chars=1000,
        scrub=True,
        split_by="speaker",
    ),
    "dailydialog": _corpus(
        "dailydialog",
        dailydialog,
        b"\n",
        "everyday dialogues for learners of English",
        size="13,118 dialogues",
        licence="CC BY-NC-SA 4.0",
        citation="Li, Su, Shen, Li, Cao, Niu (2017). DailyDialog: A Manually Labelled Multi-turn Dialogue Dataset. "
        "IJCNLP.",
        link="https://aclanthology.org/I17-1099",
    ),
    "empathetic_dialogues": _corpus(
        "empathetic_dialogues",
        empathetic_dialogues,
        b",1,",
        "talk about a felt situation, which is kept as meta.situation",
        size="24,850 dialogues",
        licence="CC BY-NC 4.0",
        citation="Rashkin, Smith, Li, Boureau (2019). Towards Empathetic Open-domain Conversation Models: A New "
        "Benchmark and Dataset. ACL.",
        link="https://aclanthology.org/P19-1534",
    ),
    "personachat": _corpus(
        "personachat",
        personachat,
        b"\n1 ",
        "strangers with given personas (gold: personas)",
        size="18,878 dialogues in ConvAI2",
        licence="CC BY 4.0",
        citation="Zhang, Dinan, Urbanek, Szlam, Kiela, Weston (2018). Personalizing Dialogue Agents: I have a dog, do "
        "you have pets too? ACL.",
        link="https://aclanthology.org/P18-1205",
    ),
    "blended_skill_talk": _corpus(
        "blended_skill_talk",
        blended_skill_talk,
        b'"dialog',
        "knowledge, empathy and personas in one (gold: personas)",
        size="6,808 dialogues",
        licence="CC BY 4.0",
        citation="Smith, Williamson, Shuster, Weston, Boureau (2020). Can You Put it All Together: Evaluating "
        "Conversational Agents' Ability to Blend Skills. ACL.",
        link="https://aclanthology.org/2020.acl-main.183",
    ),
    "msc": _corpus(
        "msc",
        msc,
        b"\n",
        "several sessions of the same two speakers, days apart (gold: personas)",
        size="23,445 sessions on the hub",
        licence="CC BY 4.0",
        citation="Xu, Szlam, Weston (2022). Beyond Goldfish Memory: Long-Term Open-Domain Conversation. ACL.",
        link="https://aclanthology.org/2022.acl-long.356",
    ),
    "dialogsum": _corpus(
        "dialogsum",
        dialogsum,
        b"\n",
        "dialogues with summaries (gold: the summary of the whole dialogue)",
        size="13,460 dialogues",
        licence="CC BY-NC-SA 4.0",
        citation="Chen, Liu, Chen, Zhang (2021). DialogSum: A Real-Life Scenario Dialogue Summarization Dataset. "
        "Findings of ACL.",
        link="https://aclanthology.org/2021.findings-acl.449",
    ),
    "samsum": _corpus(
        "samsum",
        dialogsum,
        b'"dialogue"',
        "messenger chats with summaries, several speakers (gold: the summary of the whole chat)",
        size="16,369 dialogues",
        licence="CC BY-NC-ND 4.0",
        citation="Gliwa, Mochol, Biesek, Wawer (2019). SAMSum Corpus: A Human-annotated Dialogue Dataset for "
        "Abstractive Summarization. Workshop on New Frontiers in Summarization.",
        link="https://aclanthology.org/D19-5409",
        read=dialogsum.read_samsum,
        patterns=dialogsum.SAMSUM_PATTERNS,
        hub=dialogsum.SAMSUM_HUB,
    ),
    "jsonl": _corpus("jsonl", jsonl, b"\n", "your dialogues, one a line (docs/formats.md), or Parquet of the same"),
    "table": _corpus("table", table, b"\n", "your CSV, TSV or Parquet: columns dialogue, speaker and text"),
    "transcript": _corpus(
        "transcript",
        transcript,
        b"\n\n",
        'your text files or messenger exports: lines of "Name: words", an empty line between dialogues',
        scrub=True,
    ),
    "chat": _corpus(
        "chat", chat_export, b"\n", "your chat exports: messages with role and content, or ShareGPT's conversations"
    ),
    "triples": _corpus(
        "triples",
        triples,
        b"]",
        "the paper's [summary, user turn, reply] lists and its prepared *_utters files (gold: the summary)",
        licence="as of the paper's data",
        citation="Cha, Lee, Kim (2023). A Study on Response Generation Using Dialogue Summary. KIISE.",
    ),
}
