"""What a backend is sent of a conversation: the caller's own messages, and what was remembered of the others.

The caller's system messages come first and the last ones, from the person's last on, come last; these, and the latest
of the others that fit, are the caller's own bytes. What was remembered stands right before the last ones, as it changes
from time to time: what comes before stays as it is, so that a backend need not read it again.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gistchat.chat.speakers import BOT, PERSON
from gistchat.context.types import ASSISTANT, Context, GistLine, RoleTurn
from gistchat.dialogue.text_repair import clean_line, clean_text
from gistchat.dialogue.turns import Turn
from gistchat.engines.engine import ConversationCache, Engine
from gistchat.engines.sampling import Sampling
from gistchat.engines.server_request import plain
from gistchat.engines.server_tokens import AROUND_MESSAGE, estimate
from gistchat.errors import UserError
from gistchat.files import fingerprint
from gistchat.prompts.thoughts import after_thoughts
from gistchat.prompts.wording import render_gist, render_line
from gistchat.server.chat_body import RawMessage
from gistchat.server.overheard import text_of

TRANSCRIPT = ("user", "assistant", "tool", "function")  # roles of what is said; other messages are always sent
NOTHING_SAID = "(empty)"
PART_TOKENS = 800  # of an image, a recording or a file; backends count these each in their own way
GIST_HEADING = "Earlier in this conversation:\n"
FOUND_HEADING = "Word for word, from earlier in this conversation:\n"
TAKEN_NOTE = "I remember."
LONGEST_COUNTED = 5000  # characters of a text whose tokens are kept


# ---- messages as turns


@dataclass(frozen=True, eq=False)
class Said:
    """A message and, in `before`, all before it: lists that begin alike share their beginning.

    Attributes:
        key: as the store has it.
        number: of messages up to and with it.
        tokens: of these, estimated.
    """

    before: "Said | None"
    key: str
    turn: Turn
    extra: dict[str, Any]
    number: int
    tokens: int

    @property
    def by_person(self) -> bool:
        return self.turn.speaker != BOT

    @property
    def is_answer(self) -> bool:
        """Whether the model said it, and no tool."""
        return not self.by_person and "role" not in self.extra

    def path(self) -> list["Said"]:
        """From the first message to this one."""
        path = list(self.back())
        path.reverse()
        return path

    def back(self) -> Iterator["Said"]:
        """From this message to the first."""
        said: Said | None = self
        while said:
            yield said
            said = said.before


def read_message(message: dict[str, Any], before: Said | None) -> tuple[Turn, dict[str, Any]]:
    """A message as a turn, and what it has besides; what servers and clients add for themselves does not count.

    So a client may send an answer back with fields of its own, or without the thoughts before it.
    """
    role, content = message.get("role"), message.get("content")
    text, extra = text_of(content) or text_of(message.get("refusal")), {}
    if role == "user":
        name = clean_line(message["name"])[:100] if isinstance(message.get("name"), str) else ""
        speaker = name if name not in ("", BOT) else PERSON
    else:
        speaker = BOT
    if role in ("tool", "function"):
        called = _name_of_call(message, before)
        extra = {"role": role, "content": text}
        extra |= {name: message[name] for name in ("tool_call_id", "name") if isinstance(message.get(name), str)}
        text = f"({called} gave: {clean_text(text)})"
    elif role == "assistant":
        text = after_thoughts(text)
        if calls := _calls(message):
            extra = {"calls": calls, "content": text}
            text = "\n".join(filter(None, [clean_text(text), *(f"(calls {n}({a}))" for n, a, _ in calls)]))
    if parts := _other_parts(content):
        extra["parts"] = [fingerprint(part) for part in parts]
        text = "\n".join(filter(None, [clean_text(text), *map(_shown_part, parts)]))
    return Turn(speaker, clean_text(text) or NOTHING_SAID), extra


def _calls(message: dict[str, Any]) -> list[list[str]]:
    """Name, arguments and id of each call of a tool."""
    calls = message.get("tool_calls")
    calls = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    if isinstance(message.get("function_call"), dict):
        calls.append({"function": message["function_call"]})
    found = []
    for call in calls:
        function = call.get("function") or call.get("custom")
        function = function if isinstance(function, dict) else {}
        arguments = function.get("arguments", function.get("input"))
        found.append([_text(function.get("name")), _text(arguments), _text(call.get("id"))])
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, sort_keys=True)


def _name_of_call(message: dict[str, Any], before: Said | None) -> str:
    if isinstance(message.get("name"), str):
        return message["name"]
    for said in before.back() if before else ():
        if said.by_person:
            break
        for name, _, number in said.extra.get("calls", ()):
            if number and number == message.get("tool_call_id"):
                return name
    return "tool"


def _other_parts(content: Any) -> list[dict[str, Any]]:
    """Images, recordings, files."""
    parts = content if isinstance(content, list) else []
    return [part for part in parts if isinstance(part, dict) and part.get("type") not in ("text", "refusal")]


def _shown_part(part: dict[str, Any]) -> str:
    kind = part.get("type")
    names = {"image_url": "image", "input_image": "image", "input_audio": "recording", "video_url": "video"}
    return f"({names.get(kind, 'file')})" if isinstance(kind, str) else "(file)"


def written_message(said: Said) -> dict[str, Any]:
    """A message of the store as an API has it, for a caller who did not send it this time."""
    extra, text = said.extra, said.turn.text
    if "calls" in extra:
        calls = [
            {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}
            for name, arguments, number in extra["calls"]
        ]
        return {"role": "assistant", "content": extra["content"] or None, "tool_calls": calls}
    if "role" in extra:
        return {name: extra[name] for name in ("role", "tool_call_id", "name", "content") if name in extra}
    if not said.by_person:
        return {"role": "assistant", "content": text}
    name = {} if said.turn.speaker == PERSON else {"name": said.turn.speaker}
    return {"role": "user", **name, "content": text}


# ---- tokens, estimated


def count(text: str) -> int:
    """Tokens that a text may have."""
    return _kept_count(text) if len(text) <= LONGEST_COUNTED else math.ceil(estimate(text))


@lru_cache(maxsize=20_000)
def _kept_count(text: str) -> int:
    return math.ceil(estimate(text))


def message_cost(text: str) -> int:
    """Tokens of a message; the marks of what is no text stand for as much as that may take."""
    others = sum(text.count(mark) for mark in ("(image)", "(recording)", "(video)", "(file)")) if "(" in text else 0
    return AROUND_MESSAGE + count(text) + PART_TOKENS * others


class EstimatedCosts:
    """What the pieces of a context cost in requests to a backend that is not asked."""

    def turn_cost(self, turn: RoleTurn) -> int:
        return message_cost(turn.text)

    def line_cost(self, line: GistLine) -> int:
        return count(render_line(line)) + 1  # and a line break

    def gist_cost(self) -> int:
        return 2 * AROUND_MESSAGE + count(GIST_HEADING) + count(TAKEN_NOTE)

    def found_cost(self) -> int:
        return 2 * AROUND_MESSAGE + count(FOUND_HEADING) + count(TAKEN_NOTE)

    def spent(self, context: Context) -> int:
        return context.tokens


class EstimatingEngine(Engine):
    """Counts tokens where a backend answers: its own limit is not known, only the budget holds."""

    name = "backend"
    limit = 10**9

    def __init__(self) -> None:
        self.costs = EstimatedCosts()

    def count_tokens(self, context: Context) -> int:
        return context.tokens + message_cost(context.last.text)

    def count(self, texts: list[str]) -> list[int]:
        return [count(text) for text in texts]

    def end_of(self, text: str, tokens: int) -> str:
        return text[-tokens:] if tokens > 0 else ""

    def prompt_text(self, context: Context) -> str:
        raise self._no_replies()

    def stream(self, context: Context, sampling: Sampling, cache: ConversationCache) -> Iterator[str]:
        raise self._no_replies()

    def generate_batch(self, *_: Any, **__: Any) -> list[Any]:
        raise self._no_replies()

    def _no_replies(self) -> UserError:
        return UserError("this server's replies come from its backend: ask for them at /v1/chat/completions")


# ---- the list that is sent


@dataclass(frozen=True)
class Notes:
    """What was remembered: lines of the gist, and turns that were found or do not begin with the person's."""

    lines: tuple[GistLine, ...]
    found: tuple[GistLine, ...]

    def messages(self) -> list[str]:
        """As two messages, each of them JSON; none where there is nothing to say."""
        parts = []
        for heading, lines in ((GIST_HEADING, self.lines), (FOUND_HEADING, self.found)):
            if lines:
                parts.append(heading + plain(render_gist(lines)))
        if not parts:
            return []
        return [
            _json({"role": "user", "content": "\n\n".join(parts)}),
            _json({"role": "assistant", "content": TAKEN_NOTE}),
        ]


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class Sent:
    """What stands in for the caller's list.

    Attributes:
        window: index in the transcript of the first message that is sent word for word.
        last: index of the first of the last messages, which are the person's and all after.
        tokens: of all but system messages and the last ones.
    """

    notes: Notes
    window: int
    last: int
    tokens: int


def everything(path: Sequence[Said], last: int) -> Sent:
    """All messages, where the caller left some out that fit."""
    return Sent(Notes((), ()), 0, last, path[last - 1].tokens if last else 0)


def arrange(context: Context, turns: Sequence[Turn], last: int) -> Sent:
    """Let the window begin with a message of the person; what stands before that in it becomes lines of the notes."""
    window = context.boundary if context.turns else last
    carried = []
    while window < last and turns[window].speaker == BOT:
        carried.append(GistLine(ASSISTANT, turns[window].text, window))
        window += 1
    return Sent(Notes(context.lines, (*context.found, *carried)), window, last, context.tokens)


def listed(
    messages: Sequence[RawMessage], places: Sequence[int], standing: Sequence[int], path: Sequence[Said], sent: Sent
) -> list[str]:
    """The messages to send, each of them JSON: the caller's are the caller's bytes.

    Args:
        messages: the caller's list.
        places: in it, of the messages that end the path.
        standing: in it, of all others, which are always sent.
    """
    own = len(path) - len(places)  # index in the path of the caller's first

    def part(begin: int, end: int) -> list[str]:
        """Of the path; the caller's with whatever stands between them."""
        kept = [_json(written_message(said)) for said in path[begin : min(own, end)]]
        if end <= own:
            return kept
        stop = places[end - own] if end < len(path) else len(messages)
        return [*kept, *(message.json for message in messages[places[max(begin - own, 0)] : stop])]

    first = places[max(sent.window - own, 0)]
    before = [messages[place].json for place in standing if place < first]
    return [*before, *part(sent.window, sent.last), *sent.notes.messages(), *part(sent.last, len(path))]
