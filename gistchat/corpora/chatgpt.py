"""ChatGPT's own export, `conversations.json`, and the same of single conversations, as browser extensions save them.

A conversation is a tree, as messages may be edited and replies made again: read is the path to the one that was shown
last. The user's custom instructions are `meta["system"]`. Reasoning, calls of tools and what they return, hidden
messages, pictures and the other branches are left out and counted. A reply of weight 0 is read, but not scored.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.dates import as_date
from gistchat.corpora.sources import reader
from gistchat.dialogue.turns import Dialogue, LeftOut, ReadResult, Turn, Unreadable
from gistchat.dialogue.visible import has_text

HIDDEN = "hidden messages and the system's"
TOOLS = "calls of tools, and what they return"
REASONING = "reasoning"
MEDIA = "pictures, sounds and files"
BRANCHES = "messages of other branches (edited, or answered again)"
WORDLESS = "messages without words"
KINDS = {"thoughts": REASONING, "reasoning_recap": REASONING, "model_editable_context": HIDDEN}
SPOKEN = ("text", "multimodal_text", None)
CITATION = re.compile(r"【[^【】]*(?:†|oaicite)[^【】]*】|:contentReference\[oaicite:\d+\](?:\{index=\d+\})?")
MARKED = re.compile("\ue200([a-z_]+)\ue202?([^\ue200\ue201]*)\ue201")  # what the service shows otherwise than as text
NAMED = re.compile(r'\["[^"]*", ?"([^"]*)"')  # the second of a list: the name of what is marked


def looks_like(head: Head) -> bool:
    first = head.at(0) if isinstance(head.value, list) else head.value
    mapping = first.get("mapping") if isinstance(first, dict) else None
    if not isinstance(mapping, dict):
        return False
    messages = [_message(node) for node in mapping.values() if isinstance(node, dict)]
    return not any(messages) or any("author" in message for message in messages)


def parse(file: str, name: str, value: Any) -> Iterator[ReadResult]:
    if not isinstance(value, dict) or not isinstance(value.get("mapping"), dict):
        raise Unreadable("expected a conversation with 'mapping'")
    path, others = _shown(value["mapping"], value.get("current_node"))
    left_out = Counter({BRANCHES: others})
    turns: list[Turn] = []
    system: list[str] = []
    unscored: list[int] = []
    for message in path:
        system += _instructions(message)
        if reason := _reason_to_leave_out(message):
            left_out[reason] += not _instructions(message)
            continue
        text, media = _words(message)
        left_out[MEDIA] += media
        role = message["author"]["role"]
        if not has_text(text):
            left_out[WORDLESS] += not media
        elif role == "system":
            system.append(text)
        else:
            if message.get("weight") == 0:
                unscored.append(len(turns))
            date = as_date(message.get("create_time"))
            turns.append(Turn(role, text, iso(date) if date else ""))
    yield from (LeftOut(what, count) for what, count in left_out.items() if count)
    meta = {"system": "\n".join(dict.fromkeys(system))} if system else {}
    name = str(value.get("conversation_id") or value.get("id") or name)
    scored = ("assistant",)
    yield Dialogue(name, tuple(turns), corpus=file, scored_speakers=scored, meta=meta, unscored=tuple(unscored))


def _shown(mapping: dict[str, Any], current: Any) -> tuple[list[dict[str, Any]], int]:
    """The messages that were shown last, and how many others there are."""
    nodes = {key: node for key, node in mapping.items() if isinstance(node, dict)}
    path = _path(nodes, current) if isinstance(current, str) else []
    if not any(_role(message) == "user" for message in path):  # none, a wrong one, or the root
        parents = {node.get("parent") for node in nodes.values()}
        leaves = [key for key, node in nodes.items() if key not in parents and _message(node)]
        ordered = sorted(leaves, key=lambda key: _message(nodes[key]).get("create_time") or 0)  # stable
        path = _path(nodes, ordered[-1]) if ordered else path
    spoken = sum(_role(_message(node)) in ("user", "assistant") for node in nodes.values())
    return path, spoken - sum(_role(message) in ("user", "assistant") for message in path)


def _path(nodes: dict[str, Any], leaf: str) -> list[dict[str, Any]]:
    """Messages from the root to a leaf."""
    path: list[dict[str, Any]] = []
    seen: set[str] = set()
    key: Any = leaf
    while isinstance(key, str) and key in nodes and key not in seen:
        seen.add(key)
        if message := _message(nodes[key]):
            path.append(message)
        key = nodes[key].get("parent")
    return path[::-1]


def _message(node: dict[str, Any]) -> dict[str, Any]:
    return message if isinstance(message := node.get("message"), dict) else {}


def _role(message: dict[str, Any]) -> str:
    return (message.get("author") or {}).get("role") or ""


def _reason_to_leave_out(message: dict[str, Any]) -> str:
    role, kind = _role(message), (message.get("content") or {}).get("content_type")
    if role not in ("user", "assistant", "system"):
        return TOOLS
    if (message.get("metadata") or {}).get("is_visually_hidden_from_conversation") or kind == "user_editable_context":
        return HIDDEN
    if kind not in SPOKEN:
        return KINDS.get(kind, TOOLS)
    if role == "assistant" and message.get("channel") == "analysis":
        return REASONING
    if role == "assistant" and message.get("recipient") not in (None, "all"):
        return TOOLS
    return HIDDEN if role == "system" and not has_text(_words(message)[0]) else ""


def _instructions(message: dict[str, Any]) -> list[str]:
    """The custom instructions that a message carries, as typed where the export has them so."""
    content = message.get("content") or {}
    typed = (message.get("metadata") or {}).get("user_context_message_data") or {}
    texts = [typed.get("about_user_message"), typed.get("about_model_message")]
    if not any(texts) and content.get("content_type") == "user_editable_context":
        texts = [content.get("user_profile"), content.get("user_instructions")]
    return [text.strip() for text in texts if isinstance(text, str) and has_text(text)]


def _words(message: dict[str, Any]) -> tuple[str, int]:
    """The text of a message, and how many of its parts are none."""
    content = message.get("content") or {}
    parts = content.get("parts")
    parts = parts if isinstance(parts, list) else [content.get("text") or ""]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    words = [text for text in texts if isinstance(text, str)]
    return CITATION.sub("", MARKED.sub(_seen, "\n".join(filter(None, words)))), len(parts) - len(words)


def _seen(marked: re.Match[str]) -> str:
    """What is read where something is marked: the name of a thing, the words of a link; of a citation nothing."""
    if marked[1] == "url":
        return marked[2].partition("\ue202")[0]
    name = NAMED.match(marked[2]) if marked[1] == "entity" else None
    return name[1] if name else ""


CORPUS = Corpus(
    name="chatgpt",
    description="your conversations with ChatGPT: conversations.json of its export",
    read=reader(parse),
    parse=parse,
    looks_like=looks_like,
    patterns=("conversations*.json",),
    mark=b'"mapping"',
    export="In ChatGPT: Settings, Data controls, Export data. The ZIP that is mailed holds conversations.json.",
)
