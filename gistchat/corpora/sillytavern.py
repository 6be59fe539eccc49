"""SillyTavern's chats: JSONL with a line about the chat, then a line a message; group chats, too.

Of several versions of a reply (swipes), the chosen one is read. Hidden messages, notes of the system and of the
narrator are left out and counted, and so are the other swipes and reasoning. Speakers have their names; what
is learned are the replies of the characters.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.dates import as_date
from gistchat.corpora.roles import without_reasoning
from gistchat.dialogue.lines import json_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn
from gistchat.dialogue.visible import has_text

HIDDEN = "hidden messages and notes"
USER, CHARACTER = re.compile(r"\{\{user\}\}|<USER>", re.I), re.compile(r"\{\{char\}\}|<(?:BOT|CHAR)>", re.I)
NO_NAMES = ("", "unused")  # what newer versions write into the first line


def looks_like(head: Head) -> bool:
    first = head.value
    return isinstance(first, dict) and (_is_message(first) or _is_about(first))


def _is_message(line: dict[str, Any]) -> bool:
    return {"mes", "name", "is_user"} <= line.keys()


def _is_about(line: dict[str, Any]) -> bool:
    return {"chat_metadata", "create_date"} & line.keys() != set() and {"user_name", "character_name"} <= line.keys()


def read(path: Path) -> Iterator[ReadResult]:
    about: dict[str, Any] = {}
    messages: list[dict[str, Any]] = []
    left_out: Counter[str] = Counter()
    for location, line in json_lines(path):
        if isinstance(line, Malformed):
            yield line
        elif not isinstance(line, dict) or not ("mes" in line or _is_about(line)):
            yield Malformed(location, "neither a message with 'mes' nor the line about the chat")
        elif "mes" not in line:
            about = about or line
        elif line.get("is_system") or _is_note(line.get("extra")):
            left_out[HIDDEN] += 1
        else:
            messages.append(line)
    turns, characters = _turns(messages, about)
    left_out["versions of a reply that were not chosen (swipes)"] += sum(map(_not_chosen, messages))
    left_out["reasoning"] += sum(map(_reasons, messages))
    left_out["messages without words"] += len(messages) - len(turns)
    yield from (LeftOut(what, count) for what, count in left_out.items() if count)
    scored = tuple(dict.fromkeys(turn.speaker for turn in turns if turn.speaker in characters))
    yield Dialogue(path.stem, tuple(turns), corpus=path.stem, scored_speakers=scored)


def _is_note(extra: Any) -> bool:
    return isinstance(extra, dict) and extra.get("type") in ("narrator", "comment")


def _turns(messages: list[dict[str, Any]], about: dict[str, Any]) -> tuple[list[Turn], set[str]]:
    """Turns, and the names of the characters."""
    characters = {_name(message) for message in messages if not message.get("is_user")} - {""}
    named = [
        str(about.get("character_name") or ""),
        *(_name(message) for message in messages if not message.get("is_user")),
    ]
    character = next((name for name in named if name not in NO_NAMES), "character")
    users = [_name(message) for message in messages if message.get("is_user")]
    user = next((name for name in [*users, str(about.get("user_name") or "")] if name not in NO_NAMES), "user")
    turns = []
    for message in messages:
        is_user = message.get("is_user")
        speaker = _name(message) or (user if is_user else character)
        if is_user and speaker in characters:  # somebody who plays under the character's name
            speaker = f"{speaker} (user)"
        text = _chosen(message) if is_user else without_reasoning(_chosen(message))
        text = USER.sub(lambda _: user, text)
        text = CHARACTER.sub(lambda _, name=character if is_user else speaker: name, text)
        if has_text(text):
            date = as_date(message.get("send_date") or "", day_first=False)
            turns.append(Turn(speaker, text, iso(date) if date else ""))
    return turns, characters | {character}


def _name(message: dict[str, Any]) -> str:
    return str(message.get("name") or "").strip()


def _chosen(message: dict[str, Any]) -> str:
    swipes, number = message.get("swipes"), message.get("swipe_id")
    if isinstance(swipes, list) and isinstance(number, int) and 0 <= number < len(swipes):
        text = swipes[number]
        if isinstance(text, str) and has_text(text):
            return text
    return message["mes"] if isinstance(message["mes"], str) else ""


def _reasons(message: dict[str, Any]) -> bool:
    """Whether it holds what a model thought before it spoke."""
    return not message.get("is_user") and without_reasoning(_chosen(message)) != _chosen(message)


def _not_chosen(message: dict[str, Any]) -> int:
    swipes = message.get("swipes")
    return max(0, len(swipes) - 1) if isinstance(swipes, list) else 0


CORPUS = Corpus(
    name="sillytavern",
    description="your chats with characters in SillyTavern",
    read=read,
    looks_like=looks_like,
    patterns=("*.jsonl",),
    mark=b"\n",
    export="The files in SillyTavern's data/default-user/chats and group chats, or Manage chat files, Export as JSONL.",
    split_by="time",
)
