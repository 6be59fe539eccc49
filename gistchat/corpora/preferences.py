"""Instructions with an answer (Alpaca: instruction, input, output, history, system; prompt and completion), and
preference files (prompt, chosen, rejected; as texts, as lists of messages, as Anthropic's HH, as LLaMA-Factory's and
OpenAI's; KTO's, where a label says whether a reply is wanted). Also as tables: a row each.

A single exchange is a dialogue of two turns. Of two replies, the chosen one is read; the other is counted, and so are
replies that are not wanted. All turns of the assistant are scored, also those before the reply that was chosen.
"""

import re
from collections.abc import Iterator
from typing import Any

from gistchat.corpora import chat_export
from gistchat.corpora.chat_export import LAYOUTS, plain_text
from gistchat.corpora.columns import has_turns
from gistchat.corpora.corpus import Corpus, Head
from gistchat.corpora.roles import NOT_SPEAKERS, SYSTEM, role_of, without_reasoning
from gistchat.corpora.sources import reader
from gistchat.dialogue.turns import Dialogue, LeftOut, ReadResult, Turn, Unreadable
from gistchat.dialogue.visible import has_text

ASKED = ("instruction", "prompt", "query", "question", "problem")  # of the names for each part the first is taken
MORE = ("input", "context")  # what an instruction is about
ANSWER = ("output", "completion", "response", "generation", "answer")
CHOSEN = ("chosen", "preferred_output", "preferred_completion", "chosen_response")  # the second and third are OpenAI's
LABELS = ("label", "kto_tag")  # whether a reply is wanted: TRL's, LLaMA-Factory's
WANTED = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
CHATS = ("messages", "conversations")
HUMAN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")  # as HH writes them
PROMPTS = ("prompt", "question", "conversation", "input", "instruction", *CHATS)

Said = list[tuple[str, str]]  # speaker and text of each message


def looks_like(head: Head) -> bool:
    if head.columns and head.path.suffix in (".csv", ".tsv"):
        return not has_turns(head.columns) and _is_one(dict.fromkeys(head.columns, ""))
    first = head.at(0) if isinstance(head.value, list) else head.value
    return isinstance(first, dict) and head.path.suffix in (".json", ".jsonl", ".parquet") and _is_one(_plain(first))


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """With the names of fields in small letters."""
    return {str(name).lower(): part for name, part in value.items()}


def _is_one(value: dict[str, Any]) -> bool:
    pairs = ({"chosen", "rejected"}, {"chosen_response", "rejected_response"})
    if any(value.keys() >= pair for pair in pairs) or ("input" in value and value.keys() & set(CHOSEN)):
        return True
    if any(value.get(field) for field in CHATS):  # a whole chat, whatever else there is
        return _label(value) is not None
    rated = "instruction" in value and bool(_completions(value))
    return rated or all(_names(value))


def _names(value: dict[str, Any]) -> tuple[str, str]:
    """Of the fields with what is asked and what is answered; empty where there is none."""
    asked = next((name for name in ASKED if isinstance(value.get(name), str | list | dict)), "")
    return asked, next((name for name in ANSWER if isinstance(value.get(name), str | list | dict)), "")


def parse(file: str, name: str, value: Any) -> Iterator[ReadResult]:
    value = _plain(value) if isinstance(value, dict) else {}
    if not _is_one(value):
        raise Unreadable("expected instruction and output, prompt and completion, or chosen and rejected")
    if _label(value) is False:
        yield LeftOut("replies that are not wanted")
        return
    if completions := _completions(value):
        best = max(completions, key=lambda part: part.get("overall_score") or 0)  # the first of equals
        value = value | {"output": best.get("response")}
        yield LeftOut("replies that were rejected", len(completions) - 1)
    if answers := _several(value):
        value = value | {"output": answers[0]}
        yield LeftOut("replies that were rejected", len(answers) - 1)
    if any(value.get(field) for field in CHATS) and not value.keys() & set(CHOSEN):
        yield from chat_export.parse(file, name, value)
        return
    if chosen := next((field for field in CHOSEN if field in value), ""):
        said = _preferred(value, chosen)
        yield LeftOut("replies that were rejected")
    else:
        said = _answered(value)
    system = [value[name] for name in chat_export.SYSTEM_FIELDS if isinstance(value.get(name), str)]
    said = [*(("system", text) for text in system), *said]
    texts = [text for speaker, text in said if speaker in SYSTEM and has_text(text)]
    whole, said = said, [(who, without_reasoning(text) if who == "assistant" else text) for who, text in said]
    if thought := sum(one != two for one, two in zip(whole, said, strict=True)):
        yield LeftOut("reasoning", thought)
    spoken = [pair for pair in said if pair[0] not in (*SYSTEM, *NOT_SPEAKERS) and has_text(pair[1])]
    if wordless := sum(speaker not in SYSTEM for speaker, _ in said) - len(spoken):
        yield LeftOut("messages without words, and of tools", wordless)
    meta = {"system": "\n".join(texts)} if texts else {}
    name = str(value.get("id") or value.get("prompt_id") or name)
    yield Dialogue(name, tuple(Turn(*pair) for pair in spoken), file, scored_speakers=("assistant",), meta=meta)


def _completions(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Replies that were rated, as UltraFeedback has them."""
    parts = value.get("completions")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _several(value: dict[str, Any]) -> list[str]:
    """Replies to an instruction, the best first, as LLaMA-Factory's files for reward models had them."""
    parts = value.get("output")
    return parts if isinstance(parts, list) and parts and all(isinstance(part, str) for part in parts) else []


def _label(value: dict[str, Any]) -> bool | None:
    """Whether a reply is wanted; of whole chats, which others label with numbers too, only by true and false."""
    labels = [value[field] for field in LABELS if field in value]
    if not any(value.get(field) for field in CHATS):
        labels = [WANTED.get(str(label).lower()) for label in labels]
    return next((label for label in labels if isinstance(label, bool)), None)


def _answered(value: dict[str, Any]) -> Said:
    asked, answer = _names(value)
    before = [pair for pair in value.get("history") or [] if len(pair) == 2]
    said = [turn for first, second in before for turn in (("user", first or ""), ("assistant", second or ""))]
    if asked == "instruction":
        texts = [value[asked], *(value.get(name) for name in MORE)]
        question = [("user", "\n".join(text for text in texts if text and isinstance(text, str)))]
    else:
        question = _said(value[asked], "user")
    return [*said, *question, *_said(value[answer], "assistant")]


def _preferred(value: dict[str, Any], field: str) -> Said:
    chosen = _said(value[field], "assistant")
    if "instruction" in value and not value.get("prompt"):
        return _answered(value | {"output": value[field]})
    prompt = next((value[name] for name in PROMPTS if value.get(name)), None)
    before = _said(prompt.get("messages", prompt) if isinstance(prompt, dict) else prompt, "user")
    whole = len(chosen) > len(before) and chosen[: len(before)] == before  # as many files repeat the prompt
    return chosen if whole else before + chosen


def _said(value: Any, speaker: str) -> Said:
    """Messages of a text, a message, or a list of these."""
    if isinstance(value, str):
        parts = HUMAN.split(value)
        if len(parts) == 1 or parts[0].strip():
            return [(speaker, plain_text(value, "reply"))]
        names = ({"Human": "user", "Assistant": "assistant"}[name] for name in parts[1::2])
        pairs = [(name, text.strip()) for name, text in zip(names, parts[2::2], strict=True)]
        return pairs[:-1] if not pairs[-1][1] else pairs  # a prompt ends with "Assistant:"
    if isinstance(value, list):
        return [pair for message in value for pair in _said(message, speaker)]
    if isinstance(value, dict):
        for _, role, text in LAYOUTS:
            if isinstance(value.get(role), str) and text in value:
                return [(role_of(value[role]), plain_text(value[text], text))]
    if value is None:
        return []
    raise Unreadable("a prompt or reply that is neither a text nor messages")


CORPUS = Corpus(
    name="preferences",
    description="instructions with answers (Alpaca), and files of chosen and rejected replies",
    read=reader(parse),
    parse=parse,
    looks_like=looks_like,
    patterns=("*.jsonl", "*.json", "*.parquet", "*.csv", "*.tsv"),
    mark=b"\n",
    export="Files for fine-tuning in the layouts of Alpaca, TRL, LLaMA-Factory or Anthropic's HH.",
)
