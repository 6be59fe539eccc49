"""Signal, as sigtop (JSON, text) and signal-export (data.json, index.md) write it.

A file is one dialogue, or one a chat where a file of sigtop holds several. Its owner goes by the name in the file:
"Me" or "You". Left out and counted: messages without words, calls and notices, deleted ones; quotes too.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.sources import first_character, json_entries
from gistchat.dialogue.lines import json_lines, text_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn
from gistchat.dialogue.visible import has_text

ME = "Me"  # as signal-export calls the owner; the JSON of sigtop has no name
NOTICES, WORDLESS, DELETED = "notices of Signal (calls, groups)", "messages without words (media)", "deleted messages"
_SHORT = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d|unknown) (?![-–—])([^:]{1,80}):(?: \[([^\]]*)\])?(?: (.*))?", re.S)
_MARKDOWN = re.compile(r"\[(\d{4}-\d\d-\d\d,? \d\d:\d\d(?::\d\d)?)\] ([^:]{1,80}):(?: (.*))?", re.S)
# Attachments and stickers; reactions and stickers on lines of their own.
_PICTURE = re.compile(r"!?\[[^\]]*\]\((?:\.{1,2}/|media/).*?\) *|^\(- .{1,200} -\)$|^\(\( .{0,40} \)\)$")
_FIELD = re.compile(r"(Type|Sent|Received|Attachment|Reaction|Edited): (.*)")
DETAILS = re.compile(r"(?:reply to .+|edited|\d+ attachments?|.+ message)(?:, .*)?")


def looks_like(head: Head) -> bool:
    first = head.at(0) if isinstance(head.value, list) else head.value
    if isinstance(first, dict):
        return {"conversationId", "type"} <= set(first) or {"sender", "body", "reactions", "attachments"} <= set(first)
    lines = [line for line in head.lines if line.strip()]
    if not lines or head.columns:
        return False
    if lines[0].startswith("Conversation: "):
        return len(lines) == 1 or lines[1].startswith(("From: ", "Type: "))
    return bool(_MARKDOWN.match(lines[0]) if head.path.suffix == ".md" else _SHORT.fullmatch(lines[0]))


def refused(head: Head) -> str:
    """What to say of files of Signal that cannot be read; empty for all else."""
    remedy = "export the chats of Signal Desktop with sigtop (export-messages -f json) or signal-export"
    if head.path.suffix == ".backup":
        return f"an encrypted backup of Signal, which only Signal can open; {remedy}"
    if head.text.lstrip()[:15].lower().startswith(("<!doctype html", "<html")) and "signal" in head.text.lower():
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
    return path.absolute().parent.name if path.name in ("data.json", "index.md") else path.stem


Piece = tuple[str, str, Turn]  # the chat's id, why the turn is left out, the turn


def _messages(path: Path) -> Iterator[Piece | Malformed]:
    first = first_character(path)
    if first == "{" or (first == "[" and path.suffix != ".md"):
        entries = json_lines(path) if first == "{" else json_entries(path, "item")
        for location, value in entries:
            try:
                yield value if isinstance(value, Malformed) else _from_json(value)
            except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError):
                yield Malformed(location, "not a message as sigtop or signal-export writes it")
    elif first == "C":
        yield from _from_fields(path)
    else:
        yield from _from_lines(path)


def _from_json(value: dict[str, Any]) -> Piece:
    if "sender" in value:
        reason = DELETED if value.get("deleted") else NOTICES if value.get("call") else ""
        return "", reason, _turn(value["sender"], value["body"] or "", iso(datetime.fromisoformat(value["date"])))
    kind, text = value["type"], value.get("body") or ""
    moment = value.get("sent_at") or value.get("timestamp") or value.get("received_at")
    date = iso(datetime.fromtimestamp(moment / 1000, UTC)) if moment else ""
    names = ("sourceName", "source", "sourceServiceId", "sourceUuid", "conversationId")
    speaker = ME if kind == "outgoing" else next((value[name] for name in names if value.get(name)), "")
    reason = NOTICES if kind not in ("incoming", "outgoing") else DELETED if value.get("deletedForEveryone") else ""
    if not speaker and not reason:
        raise ValueError("nobody said it")
    return str(value["conversationId"]), reason, _turn(str(speaker), text, date)


def _turn(speaker: Any, text: Any, date: str) -> Turn:
    if not isinstance(speaker, str) or not isinstance(text, str):
        raise TypeError("names and texts are strings")
    return Turn(speaker, text, date)


def _from_lines(path: Path) -> Iterator[Piece | Malformed]:
    """sigtop's short text, and Markdown of signal-export: a line without a stamp continues the message before it."""
    pattern = _MARKDOWN if path.suffix == ".md" else _SHORT
    said: list[tuple[re.Match[str], list[str]]] = []
    for location, line in text_lines(path, as_typed=True):
        if isinstance(line, Malformed):
            yield line
        elif begins := pattern.fullmatch(line):
            said.append((begins, []))
        elif said:
            said[-1][1].append(line)
        elif line.strip():
            yield Malformed(location, "no date and name before the words")
    for begins, more in said:
        date, speaker, *details, words = begins.groups()
        detail = details[0] if details else None
        if detail and not DETAILS.fullmatch(detail):  # brackets that somebody typed
            words, detail = f"[{detail}] {words or ''}", None
        lines = [words or "", *more]
        if path.suffix == ".md":
            lines = [_PICTURE.sub("", line) for line in lines if not line.startswith("> ")]
        reason = NOTICES if detail and detail.endswith(" message") and not has_text(words or "") else ""
        reason = DELETED if words == "(This message was deleted)" else reason
        date = "" if date == "unknown" else iso(datetime.fromisoformat(date.replace(",", "")))
        yield "", reason, Turn(speaker.strip(), "\n".join(lines).strip(), date)


def _from_fields(path: Path) -> Iterator[Piece | Malformed]:
    """sigtop's long text: fields of a message, an empty line, its words; lines of quotes and versions have a mark."""
    fields: dict[str, str] = {}
    words: list[str] = []
    in_fields = False
    for _, line in text_lines(path, as_typed=True):
        if isinstance(line, Malformed):
            yield line
        elif line.startswith("Conversation: ") and not fields:
            continue
        elif line.startswith("From: ") or (line.startswith("Type: ") and not in_fields):
            if "Type" in fields:
                yield _from_block(fields, words)
            key, _, rest = line.partition(": ")
            fields, words, in_fields = {key: rest}, [], True
        elif in_fields and (field := _FIELD.fullmatch(line)):
            fields.setdefault(field[1], field[2])
        else:
            in_fields = False
            words.append(line)
    if fields:
        yield _from_block(fields, words)


def _from_block(fields: dict[str, str], words: list[str]) -> Piece:
    if "Edited" in fields:  # versions stand below each other, the latest first
        rest = [line for line in words if line.startswith("|")]
        ends = next((i for i, line in enumerate(rest[1:], 1) if line.startswith("| Version: ")), len(rest))
        version = [line.removeprefix("|").removeprefix(" ") for line in rest[:ends]]
        version = [line for line in version if not line.startswith((">", "Version: ", "Sent: ", "Attachment: "))]
    else:
        version = [line for line in words if not line.startswith(">")]
    sent = fields.get("Sent", "unknown")
    date = "" if sent == "unknown" else iso(parsedate_to_datetime(sent))
    reason = "" if fields.get("Type") in ("incoming", "outgoing") and fields.get("From") else NOTICES
    # After a name the number or id stands in brackets.
    speaker = re.sub(r" \([^()]*\)$", "", fields.get("From", ""))
    return "", reason, Turn(speaker, "\n".join(version).strip(), date)


CORPUS = Corpus(
    name="signal",
    description="Signal: sigtop's JSON and text, signal-export's data.json and index.md",
    read=read,
    patterns=("data.json", "index.md", "*.json", "*.txt"),
    mark=b"\n",
    looks_like=looks_like,
    refused=refused,
    export="From Signal Desktop: sigtop export-messages -f json, or sigexport.",
    scrub=True,
    split_by="time",
)
