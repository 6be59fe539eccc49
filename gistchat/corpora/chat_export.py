"""Chat exports: OpenAI's `messages` with `role` and `content`, or ShareGPT's `conversations` with `from` and `value`.

JSONL, or one JSON list. System messages are not turns; they are kept as `meta["system"]`. Calls of tools and what they
return are left out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.dialogue import Dialogue, Malformed, Turn, json_lines
from gistchat.storage import read_json

PATTERNS = ("*.jsonl", "*.json")
# layout: (list of turns, speaker, text)
LAYOUTS = (("messages", "role", "content"), ("conversations", "from", "value"), ("conversations", "role", "content"))
NOT_SPEAKERS = ("tool", "function")  # what they return is not said to anybody
SPEAKERS = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant"}


def read(path: Path) -> Iterator[Dialogue | Malformed]:
    for where, value in _values(path):
        if isinstance(value, Malformed):
            yield value
            continue
        try:
            yield _dialogue(value, f"{path.stem}-{where.rsplit(':', 1)[1].removeprefix(' entry ')}", path.stem)
        except ValueError as error:
            yield Malformed(where, str(error))


def _values(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix == ".json":
        data = read_json(path)
        for number, value in enumerate(data if isinstance(data, list) else [data]):
            yield f"{path}: entry {number}", value
    else:
        yield from json_lines(path)


def _dialogue(value: Any, name: str, corpus: str) -> Dialogue:
    if isinstance(value, list):
        value = {"messages": value}
    if not isinstance(value, dict):
        raise ValueError("expected an object with 'messages' or 'conversations'")
    for turns_name, speaker, text in LAYOUTS:
        items = value.get(turns_name)
        if isinstance(items, list) and items and all(isinstance(i, dict) and speaker in i and text in i for i in items):
            break
    else:
        raise ValueError("no 'messages' with role and content, nor 'conversations' with from and value")
    said = [(str(item[speaker]), _plain(item[text], text)) for item in items if item[speaker] not in NOT_SPEAKERS]
    system = [words for role, words in said if role == "system"]
    turns = tuple(Turn(SPEAKERS.get(role, role), words) for role, words in said if role != "system" and words.strip())
    meta = {"system": "\n".join(system)} if system else {}
    return Dialogue(str(value.get("id") or name), turns, corpus=corpus, meta=meta)


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
