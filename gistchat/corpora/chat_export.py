"""Your own chat exports: OpenAI's `messages` with `role` and `content`, or ShareGPT's `conversations` with `from` and
`value`; as JSONL, a JSON list, one JSON object, or Parquet.

System messages are not turns; they are kept as `meta["system"]`. Tool calls and their results are left out and counted.
Where an assistant speaks, only its turns are scored, but for messages that the file itself takes out of training.
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
# Not trained on where 0 or false: OpenAI's fine-tuning and ShareGPT; axolotl, both of its names; ms-swift.
WEIGHTS = ("weight", "train", "training", "loss")
SPEAKERS = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant"}


def looks_like(head: Head) -> bool:
    if head.path.suffix not in (".json", ".jsonl", ".parquet"):
        return False
    first = head.at(0) if isinstance(head.value, list) else head.value
    # An empty file is told apart by nothing; what it says then is what most people need to hear.
    if isinstance(first, dict):
        return bool(first.keys() & {field for field, *_ in LAYOUTS})
    return first is None or isinstance(first, list)


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
    turns, unscored, system = _turns(messages, speaker, text)
    meta = {"system": "\n".join(system)} if system else {}
    if wordless := len(messages) - len(system) - len(turns):
        yield LeftOut("messages without words (calls of tools, what they return, pictures)", wordless)
    scored = ("assistant",) if any(turn.speaker == "assistant" for turn in turns) else None
    name = str(value.get("id") or name)
    yield Dialogue(name, tuple(turns), file, scored_speakers=scored, meta=meta, unscored=tuple(unscored))


def _turns(messages: list[dict[str, Any]], speaker: str, text: str) -> tuple[list[Turn], list[int], list[str]]:
    """Turns, indices of those that are not to be trained on, and what the system says."""
    turns: list[Turn] = []
    unscored: list[int] = []
    system: list[str] = []
    for message in messages:
        if message[speaker] in NOT_SPEAKERS:
            continue
        words = _plain_text(message.get(text), text)
        if message[speaker] in SYSTEM:
            system.append(words)
        elif has_text(words):
            if any(message.get(name) in (0, "0") for name in WEIGHTS):  # False is 0
                unscored.append(len(turns))
            turns.append(Turn(SPEAKERS.get(message[speaker], message[speaker]), words))
    return turns, unscored, system


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
