"""Your own chat exports: OpenAI's `messages` with `role` and `content`, or ShareGPT's `conversations` with `from` and
`value`; as JSONL, a JSON list, one JSON object, or Parquet.

System messages are not turns; they are kept as `meta["system"]`. Tool calls and their results are left out and counted.
"""

from collections.abc import Iterator
from typing import Any

from gistchat.corpora.corpus import Corpus, Head
from gistchat.corpora.sources import reader
from gistchat.dialogue.turns import Dialogue, LeftOut, ReadResult, Turn, Unreadable
from gistchat.dialogue.visible import has_text

# names of the fields: (list of messages, speaker, text)
LAYOUTS = (("messages", "role", "content"), ("conversations", "from", "value"), ("conversations", "role", "content"))
NOT_SPEAKERS = ("tool", "function", "function_call", "observation", "ipython")  # said to nobody
SYSTEM = ("system", "developer")
SPEAKERS = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant"}


def looks_like(head: Head) -> bool:
    if head.path.suffix not in (".json", ".jsonl", ".parquet"):
        return False
    first = head.at(0) if isinstance(head.value, list) else head.value
    # An empty file is told apart by nothing; what it says then is what most people need to hear.
    return first is None or isinstance(first, list) or bool(set(first) & {field for field, *_ in LAYOUTS})


def parse(file: str, name: str, value: Any) -> Iterator[ReadResult]:
    if isinstance(value, list):
        value = {"messages": value}
    if not isinstance(value, dict):
        raise Unreadable("expected an object with 'messages' or 'conversations'")
    for field, speaker, text in LAYOUTS:
        messages = value.get(field)
        if not isinstance(messages, list) or not all(isinstance(part, dict) and speaker in part for part in messages):
            continue
        if any(text in message for message in messages):  # a call of a tool may have none
            break
    else:
        present = [value[field] for field, _, _ in LAYOUTS if field in value]
        if present and all(messages in ([], None) for messages in present):  # nothing was said in it
            yield Dialogue(str(value.get("id") or name), (), corpus=file)
            return
        fields = ", ".join(sorted(map(str, value))) or "nothing"
        wanted = "no 'messages' with role and content, nor 'conversations' with from and value"
        raise Unreadable(f"{wanted} (found: {fields})")
    if any(not isinstance(message[speaker], str) or not message[speaker].strip() for message in messages):
        raise Unreadable(f"a message without '{speaker}'")
    spoken = [message for message in messages if message[speaker] not in NOT_SPEAKERS]
    texts = [Turn(message[speaker], _plain_text(message.get(text), text)) for message in spoken]
    system = [turn.text for turn in texts if turn.speaker in SYSTEM]
    said = [turn for turn in texts if turn.speaker not in SYSTEM and has_text(turn.text)]
    turns = tuple(turn._replace(speaker=SPEAKERS.get(turn.speaker, turn.speaker)) for turn in said)
    meta = {"system": "\n".join(system)} if system else {}
    if wordless := len(messages) - len(system) - len(turns):
        yield LeftOut("messages without words (calls of tools, what they return, pictures)", wordless)
    yield Dialogue(str(value.get("id") or name), turns, corpus=file, meta=meta)


def _plain_text(content: Any, name: str) -> str:
    """The text of a message: a string, or a list with parts of type text. Calls of tools have none."""
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part.get("text", "") for part in content if isinstance(part, dict)]
        content = "\n".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str):
        raise Unreadable(f"a '{name}' is not a text")
    return content


CORPUS = Corpus(
    name="chat",
    description="your chat exports: messages with role and content, or ShareGPT's conversations",
    read=reader(parse),
    parse=parse,
    looks_like=looks_like,
    patterns=("*.jsonl", "*.json", "*.parquet"),
    mark=b"\n",
)
