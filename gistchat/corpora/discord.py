"""Discord as DiscordChatExporter writes it: JSON or CSV.

A channel is one dialogue, and so is a thread, which is exported as a channel; the parts of a large one have one id. A
reply is a turn like others, without what it answers. Who changes nickname stays one person, under the latest. Left out
and counted: messages of Discord itself (joins, pins, calls), of bots, forwarded ones and those without words
(attachments, stickers, embeds).
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.dates import as_date, writes_month_first
from gistchat.corpora.people import Message, named
from gistchat.corpora.sources import csv_rows, is_web_page, json_entries, json_fields
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult
from gistchat.dialogue.visible import has_text

SPOKEN = ("Default", "Reply", "0", "19")  # kinds of messages that people write
COLUMNS = {"author", "date", "content", "attachments"}
# Files of Discord's own package, by what each entry has.
PACKAGE = {"user.json": {"id", "username", "email"}, "channel.json": {"id", "type"}}
PACKAGE["messages.json"] = {"id", "timestamp", "contents"}  # under whatever name
NOTICES, BOTS, FORWARDED = "notices of Discord (joins, pins, calls)", "messages of bots", "forwarded messages"
WORDLESS = "messages without words (attachments, stickers, embeds)"
# A table does not say which messages are Discord's own.
_NOTICE = re.compile(
    r"(?:Joined the server|Pinned a message|Started a thread|Left the group|Changed the channel icon"
    r"|Started a call(?: that lasted [\d,.]+ minutes?)?|Added .{1,80} to the group|Removed .{1,80} from the group"
    r"|Changed the channel name(?:: .{1,200}?)?)\.?"
)
_RAW = re.compile(r"<(?:a?(?P<emoji>:\w+:)\d+|@!?(?P<person>\d+))>")  # with --markdown false
_PART = re.compile(r" \[part \d+\]")
_DISCRIMINATOR = re.compile(r"#\d{4}$")
_DAY_FIRST = re.compile(r"(?:1[3-9]|2\d|3[01])[./-]")
_SHORT_DATE = "%d-%b-%y %I:%M %p"  # of the first versions


def looks_like(head: Head) -> bool:
    if set(head.columns) >= COLUMNS:
        return True
    return all(isinstance(head.at(field), dict) for field in ("guild", "channel"))


def refused(head: Head) -> str:
    """What to say of exports of Discord that cannot be read; empty for all else."""
    remedy = "export the channel as JSON (DiscordChatExporter, --format Json)"
    start = head.text.lstrip()
    if re.match(r"={20,}\s+Guild: .*\s+Channel: ", start):
        return f"Discord's TXT export does not say where a message ends; {remedy}"
    if is_web_page(start) and "chatlog" in head.text:
        return f"Discord's HTML export is a page to look at; {remedy}"
    first = head.at(0) if isinstance(head.value, list) else head.value
    keys = {str(key).lower() for key in first} if isinstance(first, dict) else set(head.columns)
    # The text that explains the package has lines like a chat.
    beside = head.path.name == "README.txt" and any(head.path.parent.glob("[Mm]essages/index.json"))
    if beside or PACKAGE.get(head.path.name, PACKAGE["messages.json"]) <= keys:
        return f"Discord's own data package holds only what you wrote, no answers; {remedy}"
    return ""


def read(path: Path) -> Iterator[ReadResult]:
    left_out: Counter[str] = Counter()
    said: list[Message] = []
    is_table = path.suffix.lower() == ".csv"
    for location, value in csv_rows(path) if is_table else json_entries(path, "messages.item"):
        if isinstance(value, Malformed):
            yield value
            continue
        try:
            reason, message = _from_row(value) if is_table else _from_json(value)
        except (AttributeError, KeyError, TypeError, ValueError):
            yield Malformed(location, "not a message as DiscordChatExporter writes it")
            continue
        if reason:
            left_out[reason] += 1
        else:
            said.append(message)
    yield from (LeftOut(reason, count) for reason, count in left_out.items())
    said = _dated(said) if is_table else said
    yield Dialogue(_PART.sub("", path.stem) if is_table else _name(path), named(said), corpus="discord")


def _name(path: Path) -> str:
    channel = json_fields(path, "messages").get("channel")
    channel = channel if isinstance(channel, dict) else {}
    return " ".join(str(channel[field]) for field in ("name", "id") if channel.get(field)) or path.stem


def _from_json(value: dict[str, Any]) -> tuple[str, Message]:
    author = value["author"]
    name = str(author.get("nickname") or author["name"])
    text = value.get("content") or ""
    if not isinstance(text, str):
        raise TypeError("a text is a string")
    text = _RAW.sub(lambda mark: _readable(mark, value), text)
    message = Message(str(author.get("id") or name), name, text, iso(datetime.fromisoformat(value["timestamp"])))
    if str(value.get("type", "Default")) not in SPOKEN:
        return NOTICES, message
    if author.get("isBot"):
        return BOTS, message
    if has_text(text):
        return "", message
    return FORWARDED if value.get("forwardedMessage") else WORDLESS, message


def _readable(mark: re.Match[str], value: dict[str, Any]) -> str:
    if mark["emoji"]:
        return mark["emoji"]
    named = {str(user["id"]): user.get("nickname") or user["name"] for user in value.get("mentions") or []}
    return f"@{named.get(mark['person'], mark['person'])}"


def _from_row(row: dict[str, str]) -> tuple[str, Message]:
    name = _DISCRIMINATOR.sub("", row["author"].strip())
    person = row.get("authorid") or row["author"]
    if not person:
        raise ValueError("no author")
    message = Message(person, name, row["content"], row["date"])
    if _NOTICE.fullmatch(row["content"].strip()):
        return NOTICES, message
    return ("" if has_text(row["content"]) else WORDLESS), message


def _dated(messages: list[Message]) -> list[Message]:
    """With the dates of a table, which older versions wrote as the computer's language does, read alike."""
    dates = [message.date for message in messages]
    # Where people write AM and PM, most write the month first.
    american = any(date[-2:] in ("AM", "PM") for date in dates) and not any(map(_DAY_FIRST.match, dates))
    day_first = not american and not writes_month_first(dates)
    return [message._replace(date=_date(message.date, day_first)) for message in messages]


def _date(text: str, day_first: bool) -> str:
    if moment := as_date(text, day_first):
        return iso(moment)
    try:
        return iso(datetime.strptime(text, _SHORT_DATE))
    except ValueError:
        return ""


CORPUS = Corpus(
    name="discord",
    description="Discord: JSON or CSV of DiscordChatExporter",
    read=read,
    patterns=("*.json", "*.csv"),
    mark=b'"timestampEdited"',
    looks_like=looks_like,
    refused=refused,
    export="DiscordChatExporter, a channel or direct messages, format JSON (or CSV).",
    scrub=True,
    split_by="time",
)
