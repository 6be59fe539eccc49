"""Signal Desktop's own export of all chats: `main.jsonl`, with a line for each person, chat and message.

A chat is one dialogue. Of an edited message the latest version is kept; what a reply quotes is no part of it. Left out
and counted: notices, deleted messages, polls, and messages without words (media). Chats stand mixed in the file, so the
words of all are in memory at once.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.people import Message, named
from gistchat.dialogue.lines import json_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult
from gistchat.dialogue.visible import has_text

REASONS = {
    "updateMessage": "notices of Signal (calls, groups)",
    "remoteDeletedMessage": "deleted messages",
    "poll": "polls",
}
WORDLESS = "messages without words (media)"


def looks_like(head: Head) -> bool:
    return isinstance(head.value, dict) and {"version", "backupTimeMs"} <= set(head.value)


def read(path: Path) -> Iterator[ReadResult]:
    people: dict[str, str] = {}
    chats: dict[str, str] = {}  # the recipient's id by the chat's
    said: dict[str, list[Message]] = {}
    left_out: Counter[str] = Counter()
    owner = "Me"
    for location, value in json_lines(path):
        if isinstance(value, Malformed):
            yield value
            continue
        try:
            if "account" in value:
                owner = _joined(value["account"], "givenName", "familyName") or owner
            elif "recipient" in value:
                people[str(value["recipient"]["id"])] = _name(value["recipient"], owner)
            elif "chat" in value:
                chats[str(value["chat"]["id"])] = str(value["chat"]["recipientId"])
            elif "chatItem" in value:
                reason, message = _message(value["chatItem"], people)
                if reason:
                    left_out[reason] += 1
                else:
                    said.setdefault(str(value["chatItem"]["chatId"]), []).append(message)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError):
            yield Malformed(location, "not a line as Signal Desktop writes it")
    yield from (LeftOut(reason, count) for reason, count in left_out.items())
    for chat, messages in said.items():
        name = people.get(chats.get(chat, ""), "")
        yield Dialogue(f"{name} {chat}".strip(), named(messages), corpus="signal-desktop")


def _name(recipient: dict[str, Any], owner: str) -> str:
    if "self" in recipient:
        return owner
    if title := (((recipient.get("group") or {}).get("snapshot") or {}).get("title") or {}).get("title"):
        return title
    contact = recipient.get("contact") or {}
    pairs = (("systemGivenName", "systemFamilyName"), ("profileGivenName", "profileFamilyName"))
    names = [_joined(contact.get("nickname") or {}, "given", "family"), *(_joined(contact, *pair) for pair in pairs)]
    number = str(contact.get("e164") or "")
    names += [str(contact.get("username") or ""), f"+{number.removeprefix('+')}" if number else ""]
    return next((name for name in names if name), f"Person {recipient['id']}")


def _joined(value: dict[str, Any], *fields: str) -> str:
    return " ".join(str(value[field]).strip() for field in fields if value.get(field))


def _message(item: dict[str, Any], people: dict[str, str]) -> tuple[str, Message | None]:
    date = iso(datetime.fromtimestamp(int(item["dateSent"]) / 1000, UTC))
    for kind, reason in REASONS.items():
        if kind in item:
            return reason, None
    standard = item.get("standardMessage") or item.get("directStoryReplyMessage", {}).get("textReply") or {}
    text = (standard.get("text") or {}).get("body") or ""
    if not has_text(text):
        return WORDLESS, None
    person = str(item["authorId"])
    return "", Message(person, people.get(person, f"Person {person}"), text, date)


CORPUS = Corpus(
    name="signal-desktop",
    description="Signal Desktop's own export: main.jsonl",
    read=read,
    patterns=("main.jsonl",),
    mark=b'"chatItem"',
    looks_like=looks_like,
    export="Signal Desktop, Settings, Chats, Export chat history.",
    scrub=True,
    split_by="time",
)
