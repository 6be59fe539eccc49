"""Instructions with an answer (Alpaca: instruction, input, output, history, system; prompt and completion), and
preference files (prompt, chosen, rejected; as texts, as lists of messages, as Anthropic's HH, as LLaMA-Factory's).

A single exchange is a dialogue of two turns. Of two replies, the chosen one is read; the other is counted.
"""

import re
from collections.abc import Iterator
from typing import Any

from gistchat.corpora.chat_export import LAYOUTS, NOT_SPEAKERS, SPEAKERS, SYSTEM
from gistchat.corpora.corpus import Corpus, Head
from gistchat.corpora.sources import reader
from gistchat.dialogue.turns import Dialogue, LeftOut, ReadResult, Turn, Unreadable
from gistchat.dialogue.visible import has_text

PAIRS = ({"chosen", "rejected"}, {"instruction", "output"}, {"prompt", "completion"})
HUMAN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")  # as HH writes them
PROMPTS = ("prompt", "question", "conversations", "conversation", "messages")

Said = list[tuple[str, str]]  # speaker and text of each message


def looks_like(head: Head) -> bool:
    first = head.at(0) if isinstance(head.value, list) else head.value
    if not isinstance(first, dict) or head.path.suffix not in (".json", ".jsonl", ".parquet"):
        return False
    return any(pair <= first.keys() for pair in PAIRS)


def parse(file: str, name: str, value: Any) -> Iterator[ReadResult]:
    if not isinstance(value, dict) or not any(pair <= value.keys() for pair in PAIRS):
        raise Unreadable("expected instruction and output, prompt and completion, or chosen and rejected")
    if "chosen" in value:
        said = _preferred(value)
        yield LeftOut("replies that were rejected")
    elif "completion" in value:
        said = _said(value["prompt"], "user") + _said(value["completion"], "assistant")
    else:
        said = _instruction(value)
    if isinstance(system := value.get("system"), str):
        said = [("system", system), *said]
    texts = [text for speaker, text in said if speaker in SYSTEM and has_text(text)]
    spoken = [pair for pair in said if pair[0] not in (*SYSTEM, *NOT_SPEAKERS) and has_text(pair[1])]
    if wordless := sum(speaker not in SYSTEM for speaker, _ in said) - len(spoken):
        yield LeftOut("messages without words, and of tools", wordless)
    meta = {"system": "\n".join(texts)} if texts else {}
    name = str(value.get("id") or value.get("prompt_id") or name)
    yield Dialogue(name, tuple(Turn(*pair) for pair in spoken), file, scored_speakers=("assistant",), meta=meta)


def _instruction(value: dict[str, Any]) -> Said:
    before = [pair for pair in value.get("history") or [] if len(pair) == 2]
    said = [turn for asked, answered in before for turn in (("user", asked), ("assistant", answered))]
    asked = "\n".join(text for text in (value["instruction"], value.get("input")) if text)
    return [*said, ("user", asked), ("assistant", value["output"])]


def _preferred(value: dict[str, Any]) -> Said:
    chosen = _said(value["chosen"], "assistant")
    prompt = next((value[field] for field in PROMPTS if value.get(field)), None)
    if prompt is None and "instruction" in value:
        return _instruction(value | {"output": value["chosen"]})
    before = _said(prompt, "user") if prompt else []
    whole = len(chosen) > len(before) and chosen[: len(before)] == before  # as many files repeat the prompt
    return chosen if whole else before + chosen


def _said(value: Any, speaker: str) -> Said:
    """Messages of a text, a message, or a list of these."""
    if isinstance(value, str):
        parts = HUMAN.split(value)
        if len(parts) == 1 or parts[0].strip():
            return [(speaker, value)]
        names = ({"Human": "user", "Assistant": "assistant"}[name] for name in parts[1::2])
        pairs = [(name, text.strip()) for name, text in zip(names, parts[2::2], strict=True)]
        return pairs[:-1] if not pairs[-1][1] else pairs  # a prompt ends with "Assistant:"
    if isinstance(value, list):
        return [pair for message in value for pair in _said(message, speaker)]
    if isinstance(value, dict):
        for _, role, text in LAYOUTS:
            if isinstance(value.get(role), str) and isinstance(value.get(text), str):
                return [(SPEAKERS.get(value[role], value[role]), value[text])]
    raise Unreadable("a prompt or reply that is neither a text nor messages")


CORPUS = Corpus(
    name="preferences",
    description="instructions with answers (Alpaca), and files of chosen and rejected replies",
    read=reader(parse),
    parse=parse,
    looks_like=looks_like,
    patterns=("*.jsonl", "*.json", "*.parquet"),
    mark=b"\n",
    export="Files for fine-tuning in the layouts of Alpaca, TRL, LLaMA-Factory or Anthropic's HH.",
)
