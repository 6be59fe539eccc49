"""Claude's export, `conversations.json`, and single conversations as browser extensions save them.

Where messages were edited or answered again, the newest branch is read. Of attachments, what was pasted is kept, and
the text of a file where its message has no other words. Reasoning, calls of tools and other files are left out and
counted.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.dates import as_date
from gistchat.corpora.sources import reader
from gistchat.dialogue.turns import Dialogue, LeftOut, ReadResult, Turn, Unreadable
from gistchat.dialogue.visible import has_text

SPEAKERS = {"human": "user", "user": "user", "assistant": "assistant"}
FILES = "attached files and pictures"
TOOLS = "calls of tools, and what they return"
BRANCHES = "messages of other branches (edited, or answered again)"
KINDS = {"thinking": "reasoning", "redacted_thinking": "reasoning", "image": FILES, "document": FILES}


def looks_like(head: Head) -> bool:
    first = head.at(0) if isinstance(head.value, list) else head.value
    return isinstance(first, dict) and isinstance(first.get("chat_messages"), list)


def parse(file: str, name: str, value: Any) -> Iterator[ReadResult]:
    if not isinstance(value, dict) or not isinstance(value.get("chat_messages"), list):
        raise Unreadable("expected a conversation with 'chat_messages'")
    messages = value["chat_messages"]
    path = _newest_branch(messages, value.get("current_leaf_message_uuid"))
    left_out = Counter({BRANCHES: len(messages) - len(path)})
    turns = []
    for message in path:
        speaker = SPEAKERS.get(message["sender"])
        text, without = _words(message)
        left_out += without
        if speaker and has_text(text):
            date = as_date(message.get("created_at") or "")
            turns.append(Turn(speaker, text, iso(date) if date else ""))
        elif not without:
            left_out["messages without words" if speaker else "the system's messages"] += 1
    yield from (LeftOut(what, count) for what, count in left_out.items() if count)
    yield Dialogue(str(value.get("uuid") or name), tuple(turns), corpus=file, scored_speakers=("assistant",))


def _newest_branch(messages: list[dict[str, Any]], leaf: Any) -> list[dict[str, Any]]:
    """The messages from the first to the shown or newest one; all where they do not tell what they answer."""
    by_id = {message.get("uuid"): message for message in messages}
    parents = [message.get("parent_message_uuid") for message in messages]
    if len(by_id) < len(messages) or not all(parents) or not any(parent in by_id for parent in parents):
        return messages
    if leaf not in by_id:
        leaves = [message for message in messages if message["uuid"] not in parents] or messages[-1:]
        leaf = sorted(leaves, key=lambda message: str(message.get("created_at") or ""))[-1]["uuid"]  # stable
    path = []
    while (message := by_id.pop(leaf, None)) is not None:  # popped, so that a circle ends
        path.append(message)
        leaf = message["parent_message_uuid"]
    return path[::-1]


def _words(message: dict[str, Any]) -> tuple[str, Counter[str]]:
    """The text of a message, and what it holds besides."""
    content = [part for part in message.get("content") or [] if isinstance(part, dict)]
    texts = [part.get("text") or "" for part in content if part.get("type") == "text"]
    without = Counter(KINDS.get(part.get("type"), TOOLS) for part in content if part.get("type") != "text")
    texts = [text for text in texts if has_text(text)]
    if not content and has_text(message.get("text") or ""):  # exports of before
        texts = [message["text"]]
    without[FILES] += len(message.get("files") or [])
    for attachment in message.get("attachments") or []:
        name = attachment.get("file_name") or ""
        pasted = not name or name.lower().startswith("paste")
        extract = attachment.get("extracted_content") or ""
        if has_text(extract) and (pasted or not texts):
            texts.append(extract)
        else:
            without[FILES] += 1
    return "\n".join(texts), +without


CORPUS = Corpus(
    name="claude",
    description="your conversations with Claude: conversations.json of its export",
    read=reader(parse),
    parse=parse,
    looks_like=looks_like,
    patterns=("conversations*.json",),
    mark=b'"chat_messages"',
    export="In Claude: Settings, Privacy, Export data. The ZIP that is mailed holds conversations.json.",
)
