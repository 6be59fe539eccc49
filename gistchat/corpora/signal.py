"""Signal, as sigtop, signal-export and signalbackup-tools write it: JSON here, their texts in `signal_text.py`.

A file is one dialogue, or one a chat where a file of sigtop holds several. Its owner goes by the name in the file:
"Me" or "You". Of an edited message the latest version is kept; the words that a reply quotes are no part of it. Left
out and counted: messages without words, calls and notices, polls, deleted messages.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gistchat.corpora import signal_text
from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.signal_text import CALL, DELETED, NOTICES, Piece
from gistchat.corpora.sources import first_character, is_web_page, json_entries
from gistchat.dialogue.lines import json_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn
from gistchat.dialogue.visible import has_text

ME = "Me"  # as signal-export calls the owner; the JSON of sigtop has no name
WORDLESS = "messages without words (media)"
_MARKDOWN_FILES = ("chat.md", "index.md")


def looks_like(head: Head) -> bool:
    first = head.at(0) if isinstance(head.value, list) else head.value
    if isinstance(first, dict):
        return {"conversationId", "type"} <= set(first) or {"sender", "body", "reactions", "attachments"} <= set(first)
    return signal_text.looks_like(head)


def refused(head: Head) -> str:
    """What to say of files of Signal that cannot be read; empty for all else."""
    remedy = "export the chats of Signal Desktop with sigtop (export-messages -f json) or signal-export"
    if head.path.name in _MARKDOWN_FILES and head.path.with_name("data.json").is_file():
        return "the same chat as data.json beside it; prepare that"
    if head.path.suffix == ".backup":
        return f"an encrypted backup of Signal, which only Signal can open; {remedy}"
    if is_web_page(head.text) and "signal" in head.text.lower():
        return f"a page of Signal's messages to look at; {remedy}"
    if {"thread_id", "date_sent", "body"} <= set(head.columns):
        return f"a table of Signal's database, which has numbers for names; {remedy}"
    return ""


def read(path: Path) -> Iterator[ReadResult]:
    chats: dict[str, list[Turn]] = {}
    left_out: Counter[str] = Counter()
    for value in _messages(path):
        if isinstance(value, Malformed):
            yield value
            continue
        chat, reason, turn = value
        turns = chats.setdefault(chat, [])
        if reason or not has_text(turn.text):
            left_out[reason or WORDLESS] += 1
        else:
            turns.append(turn)
    yield from (LeftOut(reason, count) for reason, count in left_out.items())
    # Ids of chats say nothing to people; they are needed only where there are several.
    for chat, turns in (chats or {"": []}).items():
        yield Dialogue(f"{path.stem} {chat}" if len(chats) > 1 else _name(path), tuple(turns), corpus="signal")


def _name(path: Path) -> str:
    """signal-export has a folder a chat, in which all files have the same names."""
    return path.absolute().parent.name if path.name in ("data.json", *_MARKDOWN_FILES) else path.stem


def _messages(path: Path) -> Iterator[Piece | Malformed]:
    if path.suffix.lower() not in (".json", ".jsonl"):
        yield from signal_text.messages(path)
        return
    for location, value in json_lines(path) if first_character(path) == "{" else json_entries(path, "item"):
        try:
            yield value if isinstance(value, Malformed) else _from_json(value, path.stem)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError):
            yield Malformed(location, "not a message as sigtop or signal-export writes it")


def _from_json(value: dict[str, Any], file: str) -> Piece:
    if "sender" in value:
        is_call = value.get("call") or CALL.fullmatch((value["body"] or "").strip())
        reason = DELETED if value.get("deleted") else NOTICES if is_call else ""
        return "", reason, _turn(value["sender"], value["body"] or "", iso(datetime.fromisoformat(value["date"])))
    kind, text = value["type"], value.get("body") or ""
    moment = value.get("sent_at") or value.get("timestamp") or value.get("received_at")
    date = iso(datetime.fromtimestamp(moment / 1000, UTC)) if moment else ""
    names = ("sourceName", "source", "sourceServiceId", "sourceUuid", "conversationId")
    speaker = ME if kind == "outgoing" else next((value[name] for name in names if value.get(name)), "")
    reason = NOTICES if kind not in ("incoming", "outgoing") else DELETED if value.get("deletedForEveryone") else ""
    if not speaker and not reason:
        raise ValueError("nobody said it")
    if file.endswith(f" ({speaker})"):  # sigtop calls the file of a chat by name and number, the message by number
        speaker = file.removesuffix(f" ({speaker})")
    return str(value["conversationId"]), reason, _turn(str(speaker), text, date)


def _turn(speaker: Any, text: Any, date: str) -> Turn:
    if not isinstance(speaker, str) or not isinstance(text, str):
        raise TypeError("names and texts are strings")
    return Turn(speaker, text, date)


CORPUS = Corpus(
    name="signal",
    description="Signal: sigtop's JSON and text, signal-export's data.json and chat.md, signalbackup-tools' text",
    read=read,
    patterns=("*.json", "chat.md", "index.md", "*.txt"),
    mark=b"\n",
    looks_like=looks_like,
    refused=refused,
    export="From Signal Desktop: sigtop export-messages -f json, or sigexport; from a phone's backup: "
    "signalbackup-tools --exporttxt.",
    scrub=True,
    split_by="time",
)
