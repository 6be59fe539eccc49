"""Chat exports: OpenAI's `messages` with `role` and `content`, or ShareGPT's `conversations` with `from` and `value`.

JSONL, a JSON list, or Parquet. System messages are not turns; they are kept as `meta["system"]`. Calls of tools and
what they return are left out and counted.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.corpora.sources import Undecoded, decoded, first_character, undecoded
from gistchat.dialogue.lines import Block
from gistchat.dialogue.turns import Dialogue, Item, LeftOut, Malformed, Turn
from gistchat.files import read_json

PATTERNS = ("*.jsonl", "*.json", "*.parquet")
# layout: (list of turns, speaker, text)
LAYOUTS = (("messages", "role", "content"), ("conversations", "from", "value"), ("conversations", "role", "content"))
NOT_SPEAKERS = ("tool", "function", "function_call", "observation", "ipython")  # said to nobody
SYSTEM = ("system", "developer")
_NUMBER = re.compile(r"\d+$")
SPEAKERS = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant"}


def read(path: Path) -> Iterator[Item]:
    for unit in units(path):
        yield from parse(unit)


def units(path: Path) -> Iterator[Block | Undecoded]:
    if path.suffix == ".json" and first_character(path) == "{":  # one conversation
        yield Undecoded(path.stem, f"{path}: entry 0", read_json(path))
    else:
        yield from undecoded(path)


def parse(unit: Block | Undecoded) -> Iterator[Item]:
    for name, where, value in decoded(unit):
        if isinstance(value, Malformed):
            yield value
            continue
        try:
            yield from _dialogue(value, f"{name}-{_NUMBER.search(where)[0]}", name)
        except ValueError as error:
            yield Malformed(where, str(error))


def _dialogue(value: Any, name: str, corpus: str) -> Iterator[Item]:
    if isinstance(value, list):
        value = {"messages": value}
    if not isinstance(value, dict):
        raise ValueError("expected an object with 'messages' or 'conversations'")
    for turns_name, speaker, text in LAYOUTS:
        items = value.get(turns_name)
        if not isinstance(items, list) or not all(isinstance(item, dict) and speaker in item for item in items):
            continue
        if any(text in item for item in items):  # a call of a tool may have none
            break
    else:
        found = ", ".join(sorted(map(str, value))) or "nothing"
        wanted = "no 'messages' with role and content, nor 'conversations' with from and value"
        raise ValueError(f"{wanted} (found: {found})")
    if any(not isinstance(item[speaker], str) or not item[speaker].strip() for item in items):
        raise ValueError(f"a message without '{speaker}'")
    said = [(item[speaker], _plain(item.get(text), text)) for item in items if item[speaker] not in NOT_SPEAKERS]
    system = [words for role, words in said if role in SYSTEM]
    turns = tuple(Turn(SPEAKERS.get(role, role), words) for role, words in said if role not in SYSTEM and words.strip())
    meta = {"system": "\n".join(system)} if system else {}
    if wordless := len(items) - len(system) - len(turns):
        yield LeftOut("messages without words (calls of tools, what they return, pictures)", wordless)
    yield Dialogue(str(value.get("id") or name), turns, corpus=corpus, meta=meta)


def _plain(content: Any, name: str) -> str:
    """The text of a message: a string, or a list with parts of type text. Calls of tools have none."""
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part.get("text", "") for part in content if isinstance(part, dict)]
        content = "\n".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str):
        raise ValueError(f"a '{name}' is not a text")
    return content
