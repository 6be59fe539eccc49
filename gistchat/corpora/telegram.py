"""Telegram Desktop's `result.json`, of one chat or of all.

A chat is one dialogue; captions of media are kept, and what somebody wrote by way of a bot is his own. Quoted replies
are no part of the text. Somebody whose account was deleted has no name, and goes by the id. Left out and counted:
service messages, media without words, polls, and forwarded messages, whose words are somebody else's; of an export of
all chats also those with bots, channels, and what one saved for oneself. A single such chat was chosen, and is read.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.people import Message, named
from gistchat.corpora.sources import is_web_page, json_entries, json_fields, json_outlines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult
from gistchat.dialogue.visible import has_text
from gistchat.errors import UserError

CHATS = ("chats", "left_chats")
TYPES = ("message", "service")
# Where not two people talk.
OTHER_CHATS = {
    "bot_chat": "messages of chats with bots",
    "public_channel": "posts of channels",
    "private_channel": "posts of channels",
    "saved_messages": "messages saved for oneself",
    "verification_codes": "notices of Telegram (calls, joins, pins)",
}


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


def refused(head: Head) -> str:
    """What to say of Telegram's web pages; empty for all else."""
    if is_web_page(head.text) and "Exported Data" in head.text and "page_wrap" in head.text:
        return "Telegram's HTML export is a page to look at; export the chat as JSON (Format: Machine-readable JSON)"
    return ""


def read(path: Path) -> Iterator[ReadResult]:
    fields = json_fields(path, "messages", *CHATS)
    if not any(field in fields for field in ("messages", *CHATS)):
        raise UserError(f"{path}: an export of Telegram without chats; choose chats and JSON when you export")
    if "messages" in fields:
        yield from _chat(path, fields, json_entries(path, "messages.item"))
        return
    for field in (name for name in CHATS if name in fields):
        messages = json_entries(path, f"{field}.list.item.messages.item")
        for number, chat in enumerate(json_outlines(path, f"{field}.list.item", ("name", "type", "id"), "messages")):
            if "messages" not in chat:
                yield Malformed(f"{path}: {field} list entry {number}", "a chat without 'messages'")
                continue
            own = itertools.islice(messages, chat["messages"])
            if chat.get("type") in OTHER_CHATS:
                yield LeftOut(OTHER_CHATS[chat["type"]], sum(1 for _ in own))
            else:
                yield from _chat(path, chat, own)


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
    refused=refused,
    export="Telegram Desktop, a chat's menu, Export chat history, as JSON; or Settings, Advanced, Export data.",
    scrub=True,
    split_by="time",
)
