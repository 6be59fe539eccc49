"""Chat exports: OpenAI's `messages` with `role` and `content`, or ShareGPT's `conversations` with `from` and `value`.

JSONL, or one JSON list. System messages are not turns; they are kept as `meta["system"]`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.dialogue import Dialogue, Malformed, Turn, json_lines
from gistchat.storage import read_json

PATTERNS = ("*.jsonl", "*.json")
# layout: (list of turns, speaker, text)
LAYOUTS = (("messages", "role", "content"), ("conversations", "from", "value"), ("conversations", "role", "content"))
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
    if not all(isinstance(item[text], str) for item in items):
        raise ValueError(f"a '{text}' is not a string")
    system = [item[text] for item in items if item[speaker] == "system"]
    turns = tuple(
        Turn(SPEAKERS.get(str(item[speaker]), str(item[speaker])), item[text])
        for item in items
        if item[speaker] != "system"
    )
    meta = {"system": "\n".join(system)} if system else {}
    return Dialogue(str(value.get("id") or name), turns, corpus=corpus, meta=meta)
