"""Slack's export: a folder a channel, in it a JSON file a day; `users.json` beside the folders has the names.

What a channel said on a day is one dialogue, with the channel for its id. A thread is one of its own, with the message
that it answers: in the file its replies stand between other messages of the channel, which they do not answer. Left
out and counted: messages of bots and of Slack itself (joins, topics, huddles), deleted ones, and files without words.
"""

import html
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.people import Message, named
from gistchat.corpora.sources import json_entries
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult
from gistchat.dialogue.visible import has_text
from gistchat.errors import UserError

# Of the messages that Slack tells apart by a subtype, people write these.
SPOKEN = (None, "", "file_share", "thread_broadcast", "reply_broadcast", "me_message", "file_comment")
_TIME = re.compile(r"\d{9,}\.\d+")
_DAY = re.compile(r"[12]\d{3}-\d\d-\d\d")
_MARKUP = re.compile(r"<([^<>|]+)(?:\|([^<>]*))?>")


def looks_like(head: Head) -> bool:
    first = head.at(0)
    if head.value == [] and _DAY.fullmatch(head.path.stem):  # nobody wrote
        return True
    return isinstance(first, dict) and "type" in first and bool(_TIME.fullmatch(str(first.get("ts"))))


def refused(head: Head) -> str:
    """What to say of the lists of people and channels in an export, some of them empty; empty for all else."""
    is_listed = any(head.path.with_name(name).is_file() for name in ("channels.json", "dms.json"))
    if is_listed and head.path.with_name("users.json").is_file() and head.path.suffix == ".json":
        return "a list of Slack's export, no conversation; prepare the folder or the ZIP"
    return ""


def read(path: Path) -> Iterator[ReadResult]:
    names = _names(path)
    left_out: Counter[str] = Counter()
    threads: dict[str, list[Message]] = {"": []}
    for location, value in json_entries(path, "item"):
        try:
            reason, thread, message = _message(value, names)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError):
            yield Malformed(location, "not a message as Slack writes it")
            continue
        if reason:
            left_out[reason] += 1
        else:
            threads.setdefault(thread, []).append(message)
    yield from (LeftOut(reason, count) for reason, count in left_out.items())
    name = path.absolute().parent.name
    for thread, messages in threads.items():
        if messages:
            yield Dialogue(f"{name} thread {thread}" if thread else name, named(messages), corpus="slack")


def _names(path: Path) -> dict[str, str]:
    """Names of people and channels by id, from an export's own lists, where the file still stands in its folder."""
    for folder in (path.absolute().parent.parent, path.absolute().parent):
        if (folder / "users.json").is_file():
            return {
                str(value.get("id")): _name(value.get("profile"), value)
                for name in ("users.json", "channels.json", "groups.json")
                for value in _entries(folder / name)
            }
    return {}


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        return [value for _, value in json_entries(path, "item") if isinstance(value, dict)]
    except UserError:
        return []  # without it people go by what the messages themselves say


def _name(profile: Any, user: dict[str, Any]) -> str:
    places = (profile if isinstance(profile, dict) else {}, user)
    found = (place.get(field) for field in ("display_name", "real_name", "name", "username") for place in places)
    return next((name for name in found if isinstance(name, str) and name.strip()), "")


def _message(value: dict[str, Any], names: dict[str, str]) -> tuple[str, str, Message | None]:
    """Why it is left out, empty if it is not; the thread that it belongs to, empty for the channel; the message."""
    date, subtype = iso(datetime.fromtimestamp(float(value["ts"]), UTC)), value.get("subtype")
    if subtype == "bot_message" or (value.get("bot_id") and subtype in SPOKEN):
        return "messages of bots", "", None
    if subtype == "tombstone":
        return "deleted messages", "", None
    if value["type"] != "message" or subtype not in SPOKEN:
        return "notices of Slack (joins, topics)", "", None
    text = _plain(value.get("text") or _of_blocks(value.get("blocks") or []), names)
    if not has_text(text):
        return "messages without words (files)", "", None
    person = value["user"]
    thread = value.get("thread_ts") or ""
    if thread == value["ts"] and not value.get("reply_count") and not value.get("replies"):
        thread = ""
    name = names.get(person) or _name(value.get("user_profile"), {})
    return "", str(thread), Message(str(person), name, text, date)


def _of_blocks(blocks: Any) -> str:
    """The words of a message that has them in blocks only, with Slack's marks."""
    if isinstance(blocks, list):
        return "".join(map(_of_blocks, blocks))
    kind, text = blocks.get("type"), blocks.get("text") or ""
    if kind == "text":
        return html.escape(text, quote=False)
    if kind == "link":
        return f"<{blocks['url']}|{text}>"
    marks = {"user": "<@{user_id}>", "channel": "<#{channel_id}>", "emoji": ":{name}:", "broadcast": "<!{range}>"}
    if kind in marks:
        return marks[kind].format(**blocks)
    return text if isinstance(text, str) and text else _of_blocks(text or blocks.get("elements") or [])


def _plain(text: str, names: dict[str, str]) -> str:
    """Without Slack's marks: people and channels by name, links by their words."""

    def words(match: re.Match[str]) -> str:
        target, label = match[1], match[2]
        if target.startswith("@"):
            return f"@{(label or '').removeprefix('@') or names.get(target[1:]) or target[1:]}"
        if target.startswith("#"):
            return f"#{label or names.get(target[1:]) or target[1:]}"
        if target.startswith("!"):
            # <!subteam^S1|@cooks>, <!date^0^{date}|1 May>, <!here>
            return label or f"@{target[1:].partition('^')[0]}"
        return label or target.removeprefix("mailto:")

    return html.unescape(_MARKUP.sub(words, text))


CORPUS = Corpus(
    name="slack",
    description="Slack: the day files of an exported workspace",
    read=read,
    patterns=("[12][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9].json",),
    mark=b'"ts"',
    looks_like=looks_like,
    refused=refused,
    export="Workspace settings, Import/export data, Export; unpacked, a folder a channel.",
    scrub=True,
    split_by="time",
)
