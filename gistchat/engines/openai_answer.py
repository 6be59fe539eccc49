"""What an OpenAI-compatible endpoint sent, read with suspicion: the text of its answer, or why there is none."""

import math
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from gistchat.errors import UserError, first_line
from gistchat.printable import printable

CHARACTERS_PER_TOKEN = 32  # more than any tokenizer packs into one on average; a server may ignore max_tokens
FAR_AHEAD = 10 * 365 * 86_400.0  # seconds; no date is made of more


class NoText(UserError):
    """A proper answer in which nothing is said: the model, or a filter, refused. To ask again would not help."""


class _Message(BaseModel):
    content: Any  # a text, or parts such as {"type": "text", "text": "Hello"}
    refusal: Any = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: Any = None


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


class _Error(BaseModel):
    """What some servers send in place of an answer, with the status of success."""

    error: Any


def answer_text(body: bytes, max_tokens: int) -> str:
    """The text of a chat completion; cut to what `max_tokens` can be, as the server should have done.

    Raises:
        NoText: it says nothing, as the model or a filter refused.
        UserError: it is no chat completion, or was cut before it said anything.
    """
    try:
        [choice, *_] = _Answer.model_validate_json(body).choices
    except ValidationError as error:
        raise _no_answer(_what_else(body, error)) from None
    if choice.finish_reason == "content_filter":
        raise NoText("a filter of the endpoint withheld the answer")
    parts = content_parts(choice.message.content)
    texts = [part.get("text") for part in parts if part.get("type") == "text"]
    if not all(isinstance(text, str) for text in texts):
        raise _no_answer("a part of its content has no text")
    if text := "".join(texts).strip():
        return text[: max_tokens * CHARACTERS_PER_TOKEN]
    refusals = [choice.message.refusal, *(part.get("refusal") for part in parts)]
    for refusal in refusals:
        if refusal and isinstance(refusal, str):
            raise NoText(f"the model refused ({_shown(refusal)})")
    if choice.finish_reason == "length":
        problem = f"the answer ended before it said anything, after {max_tokens} tokens"
        raise UserError(f"{problem}; does the model think before it speaks?")
    if not texts:
        raise _no_answer("its content is null" if choice.message.content is None else "its content has no text")
    raise NoText("the answer is empty")


def _no_answer(reason: str) -> UserError:
    return UserError(f"not the answer of a chat endpoint ({reason})")


def content_parts(content: Any) -> list[dict[str, Any]]:
    """A message's content as parts, as the API has them where there is more than text.

    Raises UserError where it is neither.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return content
    kinds = {dict: "an object", list: "a list of other things than parts", bool: "true or false"}
    raise _no_answer(f"its content is {kinds.get(type(content), 'a number')}")


def _what_else(body: bytes, error: ValidationError) -> str:
    """What was sent that is no chat completion."""
    if not body.strip():
        return "it is empty"
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if problem["type"] == "json_invalid":
        return f"no JSON: {_shown(body.decode(errors='replace'))}; does the address end in /v1?"
    if message := _error(body):
        return f"an error: {message}"
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place or 'the whole'}: {problem['msg'].lower()}"


def error_message(body: bytes) -> str:
    """What a server sent with a status that is no success, in a few words; empty where it sent none."""
    return _error(body) or (_shown(body.decode(errors="replace")) if body.strip() else "")


def _error(body: bytes) -> str:
    """The text of an object `error` with a `message`, as servers send it, or of an `error` that is a text."""
    try:
        error = _Error.model_validate_json(body).error
    except ValidationError:
        return ""
    return message_of(error)


def message_of(error: Any) -> str:
    """The text of an `error`: its `message`, or itself; empty where it has none."""
    message = error.get("message") if isinstance(error, dict) else error
    return _shown(message) if isinstance(message, str) else ""


def _shown(text: str) -> str:
    """The beginning of what a server sent, for a message."""
    return printable(first_line(text))[:80]


def seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """What an endpoint asks for in Retry-After, seconds or a date; None where it does not, or cannot be understood."""
    for name, divisor in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers[name]) / divisor
        except (KeyError, ValueError):
            continue
        return None if math.isnan(seconds) else max(seconds, 0.0)
    try:
        return max(parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time(), 0.0)
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def in_words(seconds: float) -> str:
    """A time to wait, and when it ends: "60 minutes, until 17:32"."""
    now = datetime.now()
    end = now + timedelta(seconds=min(seconds, FAR_AHEAD))
    clock = f"{end:%H:%M}" if end.date() == now.date() else f"{end:%Y-%m-%d %H:%M}"
    length = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    return f"{length if seconds < FAR_AHEAD else 'years'}, until {clock}"
