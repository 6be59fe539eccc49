"""Telegram Desktop's `result.json`, of one chat or of all.

A chat is one dialogue; captions of media are kept. Left out and counted: service messages, media without words, polls,
and forwarded messages, whose words are somebody else's.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.people import Message, named
from gistchat.corpora.sources import json_entries, json_fields
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult
from gistchat.dialogue.visible import has_text
from gistchat.errors import UserError

CHATS = ("chats", "left_chats")


def looks_like(head: Head) -> bool:
    if any(isinstance(head.at(field, "list"), list) for field in CHATS):
        return True
    # Before the chats of a full export may stand more contacts than the beginning of a file holds.
    if isinstance(head.at("about"), str) and isinstance(head.at("personal_information"), dict):
        return True
    message = head.at("messages", 0)
    if not isinstance(head.at("messages"), list) or not isinstance(head.at("type"), str):
        return False
    if not message:
        return "id" in head.value
    return isinstance(message, dict) and "date" in message and message.get("type") in TYPES


TYPES = ("message", "service")


def read(path: Path) -> Iterator[ReadResult]:
    fields = json_fields(path, "messages", *CHATS)
    if not any(field in fields for field in ("messages", *CHATS)):
        raise UserError(f"{path}: an export of Telegram without chats; choose chats and JSON when you export")
    if "messages" in fields:
        yield from _chat(path, fields, json_entries(path, "messages.item"))
        return
    for field in CHATS:
        for location, chat in json_entries(path, f"{field}.list.item"):
            messages = chat.get("messages") if isinstance(chat, dict) else None
            if isinstance(messages, list):
                places = ((f"{location}, message {number}", message) for number, message in enumerate(messages))
                yield from _chat(path, chat, places)
            else:
                yield Malformed(location, "a chat without 'messages'")


def _chat(path: Path, chat: dict[str, Any], entries: Iterable[tuple[str, Any]]) -> Iterator[ReadResult]:
    said, left_out = [], Counter()
    for location, message in entries:
        try:
            reason, text = _text(message)
            date = _date(message)
            if reason:
                left_out[reason] += 1
                continue
            name = message.get("from") or ""
            person = str(message.get("from_id") or name)
            if not person:
                yield Malformed(location, "a message without 'from' and 'from_id'")
                continue
            said.append(Message(person, str(name), text, date))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError):
            yield Malformed(location, "not a message as Telegram writes it")
    yield from (LeftOut(reason, count) for reason, count in left_out.items())
    name = " ".join(str(chat[field]) for field in ("name", "id") if chat.get(field))
    yield Dialogue(name or path.stem, named(said), corpus="telegram")


def _text(message: dict[str, Any]) -> tuple[str, str]:
    """Why a message is left out, empty if it is not; and its words."""
    if message["type"] != "message":
        return "notices of Telegram (calls, joins, pins)", ""
    if "poll" in message:
        return "polls", ""
    if "forwarded_from" in message or "forwarded_from_id" in message:
        return "forwarded messages", ""
    content = message.get("text") or message.get("text_entities") or ""
    parts = [content] if isinstance(content, str) else content
    text = "".join(part if isinstance(part, str) else part["text"] for part in parts)
    return ("" if has_text(text) else "messages without words (media, stickers)"), text


def _date(message: dict[str, Any]) -> str:
    if "date_unixtime" in message:
        return iso(datetime.fromtimestamp(int(message["date_unixtime"]), UTC))
    return iso(datetime.fromisoformat(message["date"]))


CORPUS = Corpus(
    name="telegram",
    description="Telegram Desktop: result.json of one chat or of all",
    read=read,
    patterns=("result*.json", "*.json"),
    mark=b'"from_id"',
    looks_like=looks_like,
    export="Telegram Desktop, a chat's menu, Export chat history, as JSON; or Settings, Advanced, Export data.",
    scrub=True,
    split_by="time",
)
