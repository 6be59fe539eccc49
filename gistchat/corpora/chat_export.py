"""Your own chat exports: OpenAI's `messages` with `role` and `content`, or ShareGPT's `conversations` with `from` and
`value`; as JSONL, a JSON list, one JSON object, or Parquet. Also requests to OpenAI's interface (batches, and logs with
the reply), Gemini's `contents`, Open WebUI's chats, text-generation-webui's
logs, and what the browser extension ChatGPT Exporter saves.

System messages are not turns; they are kept as `meta["system"]`, also those from the middle of a conversation, one a
line. Calls of tools and what they return, and reasoning are left out and counted. Where an assistant speaks, only its
turns are scored, but for messages that the file itself takes out of training.
"""

from collections.abc import Iterator
from typing import Any

from gistchat.corpora.corpus import Corpus, Head
from gistchat.corpora.roles import NOT_SPEAKERS, SYSTEM, role_of, without_reasoning
from gistchat.corpora.sources import is_message, reader
from gistchat.dialogue.turns import Dialogue, LeftOut, ReadResult, Turn, Unreadable
from gistchat.dialogue.visible import has_text

# names of the fields: (list of messages, speaker, text)
LAYOUTS = (
    *(("messages", "role", "content"), ("conversations", "from", "value"), ("conversations", "role", "content")),
    *(("conversation", "role", "content"), ("conversation", "from", "value"), ("items", "from", "value")),
    *(("messages", "role", "say"), ("messages", "from", "value"), ("contents", "role", "parts")),
    ("conversations", "role", "value"),
)
SYSTEM_FIELDS = ("system", "system_prompt", "systemInstruction")  # beside the list of messages
# Not trained on where 0 or false: OpenAI's fine-tuning and ShareGPT; axolotl, both of its names; ms-swift.
WEIGHTS = ("weight", "train", "training", "loss")

GREETING = "<|BEGIN-VISIBLE-CHAT|>"  # what text-generation-webui has the user say before a greeting

Messages = list[dict[str, Any]]


def looks_like(head: Head) -> bool:
    if head.path.suffix not in (".json", ".jsonl", ".parquet"):
        return False
    is_line = head.path.suffix == ".jsonl" and _layout({"messages": head.value})  # a list of messages a line
    first = head.at(0) if isinstance(head.value, list) and not is_line else head.value
    # An empty file is told apart by nothing; what it says then is what most people need to hear.
    if isinstance(first, dict):
        known = is_message(first) or first.keys() & {"messages", "conversations"}
        return bool(known) or _layout(_unwrapped(first)) is not None
    return first is None or isinstance(first, list)


def parse(file: str, name: str, value: Any) -> Iterator[ReadResult]:
    if not isinstance(value, dict | list):
        raise Unreadable("expected an object with 'messages' or 'conversations'")
    value = _unwrapped(value)
    if (layout := _layout(value)) is None:
        if _is_silent(value):
            yield Dialogue(str(value.get("id") or name), (), corpus=file)
            return
        fields = ", ".join(sorted(map(str, value))) or "nothing"
        wanted = "no 'messages' with role and content, nor 'conversations' with from and value"
        raise Unreadable(f"{wanted} (found: {fields})")
    messages, speaker, text = layout
    if any(not isinstance(message[speaker], str) or not message[speaker].strip() for message in messages):
        raise Unreadable(f"a message without '{speaker}'")
    turns, unscored, system, reasons = _turns(messages, speaker, text)
    above = [words for field in SYSTEM_FIELDS if has_text(words := _instruction(value.get(field)))]
    if wordless := len(messages) - len(system) - len(turns):
        yield LeftOut("messages without words (calls of tools, what they return, pictures)", wordless)
    if reasons:
        yield LeftOut("reasoning", reasons)
    meta = {"system": "\n".join(above + system)} if above + system else {}
    scored = ("assistant",) if any(turn.speaker == "assistant" for turn in turns) else None
    name = str(value.get("id") or value.get("conversation_id") or value.get("custom_id") or name)
    yield Dialogue(name, tuple(turns), file, scored_speakers=scored, meta=meta, unscored=tuple(unscored))


def _unwrapped(value: Any) -> dict[str, Any]:
    """The object with the messages, where they stand alone, in a request or in a chat; with what was replied."""
    if isinstance(value, list):
        return {"messages": value}
    inner = next((value[key] for key in ("body", "request", "chat") if isinstance(value.get(key), dict)), {})
    inner = inner if isinstance(inner.get("messages"), list) else value
    reply = value.get("response")
    reply = reply.get("body", reply) if isinstance(reply, dict) else value
    choices = reply.get("choices") if isinstance(reply, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(inner.get("messages"), list) and isinstance(first, dict):
        inner = inner | {"messages": [*inner["messages"], first.get("message")]}
    return inner if inner is value else inner | {key: value[key] for key in ("id", "custom_id") if key in value}


def _layout(value: dict[str, Any]) -> tuple[Messages, str, str] | None:
    """The messages, and the names of their fields for speaker and text; None where there are none of any layout."""
    pairs = value.get("conversation")  # as Firefly and ms-swift have them
    if isinstance(pairs, list) and pairs and all(map(_is_pair, pairs)):
        parts = [(role, pair[role]) for pair in pairs for role in ("system", "human", "assistant") if pair.get(role)]
        return [{"role": role, "content": text} for role, text in parts], "role", "content"
    if "visible" in value and isinstance(written := value.get("internal"), list):
        return _of_web_ui(written), "role", "content"
    for field, speaker, text in LAYOUTS:
        messages = value.get(field)
        if not isinstance(messages, list) or not all(isinstance(part, dict) and speaker in part for part in messages):
            continue
        if any(text in message for message in messages):  # a call of a tool may have none
            return messages, speaker, text
    return None


def _of_web_ui(written: list[Any]) -> Messages:
    """The messages of text-generation-webui's logs: pairs of what the user and the assistant say."""
    pairs = [pair for pair in written if isinstance(pair, list) and len(pair) == 2]
    said = [message for pair in pairs for message in zip(("user", "assistant"), pair, strict=True)]
    return [{"role": role, "content": text} for role, text in said if text != GREETING]


def _is_pair(value: Any) -> bool:
    return isinstance(value, dict) and {"human", "assistant"} <= value.keys()


def _is_silent(value: dict[str, Any]) -> bool:
    """Whether there is a list for messages, and nothing in it."""
    present = [value[field] for field in {field for field, *_ in LAYOUTS} if field in value]
    return bool(present) and all(messages in ([], None) for messages in present)


def _turns(messages: Messages, speaker: str, text: str) -> tuple[list[Turn], list[int], list[str], int]:
    """Turns, indices of those that are not to be trained on, what the system says, and how many held reasoning."""
    turns: list[Turn] = []
    unscored: list[int] = []
    system: list[str] = []
    reasons = 0
    for message in messages:
        role, words = role_of(message[speaker]), plain_text(message.get(text), text)
        if role == "assistant":
            whole, words = words, without_reasoning(words)
            reasons += whole != words or bool(message.get("reasoning_content"))
        if role in SYSTEM:
            system.append(words)
        elif role not in NOT_SPEAKERS and has_text(words):
            if _is_untrained(message):
                unscored.append(len(turns))
            turns.append(Turn(role, words))
    return turns, unscored, system, reasons


def _is_untrained(message: dict[str, Any]) -> bool:
    """Whether the file takes it, or a part of it, out of training; False is 0."""
    parts = message.get("train_detail")  # axolotl's
    parts = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return any(part.get(name) in (0, "0") for part in (message, *parts) for name in WEIGHTS)


def _instruction(value: Any) -> str:
    """What a field beside the messages says of the system; Gemini's is a message."""
    return (
        plain_text(value.get("parts"), "parts") if isinstance(value, dict) else value if isinstance(value, str) else ""
    )


def plain_text(content: Any, name: str) -> str:
    """The text of a message: a string, or a list with parts of type text. Calls of tools have none."""
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part.get("text", "") if isinstance(part, dict) else part for part in content]
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
