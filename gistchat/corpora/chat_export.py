"""Your own chat exports: OpenAI's `messages` with `role` and `content`, or ShareGPT's `conversations` with `from` and
`value`; as JSONL, a JSON list, one JSON object, or Parquet.

System messages are not turns; they are kept as `meta["system"]`. Tool calls and their results are left out and counted.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.sources import RawRecord, decode, raw_records
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn

# names of the fields: (list of messages, speaker, text)
LAYOUTS = (("messages", "role", "content"), ("conversations", "from", "value"), ("conversations", "role", "content"))
NOT_SPEAKERS = (
    "tool",
    "function",
    "function_call",
    "observation",
    "ipython",
)  # said to nobody
SYSTEM = ("system", "developer")
_NUMBER = re.compile(r"\d+$")
SPEAKERS = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant"}


def read(path: Path) -> Iterator[ReadResult]:
    for record in raw_records(path):
        yield from parse(record)


def parse(record: RawRecord) -> Iterator[ReadResult]:
    value = decode(record)
    if isinstance(value, Malformed):
        yield value
        return
    try:
        yield from _dialogue(value, f"{record.file}-{_NUMBER.search(record.location)[0]}", record.file)
    except ValueError as error:
        yield Malformed(record.location, str(error))


def _dialogue(value: Any, name: str, corpus: str) -> Iterator[ReadResult]:
    if isinstance(value, list):
        value = {"messages": value}
    if not isinstance(value, dict):
        raise ValueError("expected an object with 'messages' or 'conversations'")
    for field, speaker, text in LAYOUTS:
        messages = value.get(field)
        if not isinstance(messages, list):
            continue
        if not all(isinstance(message, dict) and speaker in message for message in messages):
            continue
        if any(text in message for message in messages):  # a call of a tool may have none
            break
    else:
        fields = ", ".join(sorted(map(str, value))) or "nothing"
        wanted = "no 'messages' with role and content, nor 'conversations' with from and value"
        raise ValueError(f"{wanted} (found: {fields})")
    if any(not isinstance(message[speaker], str) or not message[speaker].strip() for message in messages):
        raise ValueError(f"a message without '{speaker}'")
    spoken = [message for message in messages if message[speaker] not in NOT_SPEAKERS]
    texts = [(message[speaker], _plain_text(message.get(text), text)) for message in spoken]
    system = [words for role, words in texts if role in SYSTEM]
    turns = tuple(
        Turn(SPEAKERS.get(role, role), words) for role, words in texts if role not in SYSTEM and words.strip()
    )
    meta = {"system": "\n".join(system)} if system else {}
    if wordless := len(messages) - len(system) - len(turns):
        yield LeftOut("messages without words (calls of tools, what they return, pictures)", wordless)
    yield Dialogue(str(value.get("id") or name), turns, corpus=corpus, meta=meta)


def _plain_text(content: Any, name: str) -> str:
    """The text of a message: a string, or a list with parts of type text. Calls of tools have none."""
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part.get("text", "") for part in content if isinstance(part, dict)]
        content = "\n".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str):
        raise ValueError(f"a '{name}' is not a text")
    return content


CORPUS = Corpus(
    name="chat",
    description="your chat exports: messages with role and content, or ShareGPT's conversations",
    read=read,
    parse=parse,
    patterns=("*.jsonl", "*.json", "*.parquet"),
    mark=b"\n",
)
