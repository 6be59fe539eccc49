"""The pieces in which an OpenAI-compatible server streams an answer, read with suspicion like a whole one."""

import sys
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from gistchat.engines.openai_answer import content_parts, message_of
from gistchat.errors import UserError

STREAM_BYTES = 16 * 2**20  # of an answer: every token comes in some 300 bytes, and thoughts are many
END_MARK = b"[DONE]"  # what the last piece says


class Usage(NamedTuple):
    """Tokens as the server counted them."""

    prompt: int
    cached: int  # of these, what it had read before
    reply: int  # its thoughts included


class Delta(NamedTuple):
    """What one piece brings."""

    text: str = ""
    thought: bool = False  # whether the model thinks, which is not shown
    finish: str = ""  # why the answer is over: "stop", "length", "content_filter", ...
    refusal: str = ""
    usage: Usage | None = None


class _Content(BaseModel):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None  # the same, by another name
    refusal: Any = None


class _Choice(BaseModel):
    delta: _Content | None = None
    finish_reason: Any = None


class _Details(BaseModel):
    cached_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Chunk(BaseModel):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


def read_chunk(values: Any) -> Delta:
    """Raises UserError where it is no piece of an answer, or an error in place of one."""
    try:
        chunk = _Chunk.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the whole"
        raise UserError(f"not the answer of a chat endpoint ({place}: {problem['msg'].lower()})") from None
    if chunk.error:
        raise UserError(f"an error: {message_of(chunk.error)}")
    usage = read_usage(chunk.usage)
    if not chunk.choices:
        return Delta(usage=usage)
    [choice, *_] = chunk.choices
    said = choice.delta or _Content()
    parts = content_parts(said.content)
    texts = [part["text"] for part in parts if part.get("type") == "text" and isinstance(part.get("text"), str)]
    thought = bool(said.reasoning_content or said.reasoning or len(parts) > len(texts))
    finish, refusal = (value if isinstance(value, str) else "" for value in (choice.finish_reason, said.refusal))
    return Delta("".join(texts), thought, finish, refusal, usage)


def read_usage(values: Any) -> Usage | None:
    """None where the server does not tell, or tells what cannot be."""
    try:
        told = _Usage.model_validate(values)
    except ValidationError:
        return None
    cached = (told.prompt_tokens_details and told.prompt_tokens_details.cached_tokens) or 0
    if not (0 < told.prompt_tokens < 10**9 and told.completion_tokens >= 0):
        return None  # some say 0 for a prompt that they had in their cache
    return Usage(told.prompt_tokens, min(max(cached, 0), told.prompt_tokens), told.completion_tokens)


class TooLong(Exception):
    """A stream of more bytes than an answer has."""


def limited(response: Any) -> Any:
    """A response's stream, of which only so many bytes are read: the package itself puts no limit to a line.

    It knows at its end whether that is where the server wanted it to end (`is_whole`).
    """
    # The library below the package, which is httpx or httpx2 by its version.
    library = sys.modules[type(response).__module__.partition(".")[0]]

    class Limited(library.AsyncByteStream):
        is_whole = False

        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size, tail = 0, b""
            async for data in self._stream:
                size += len(data)
                if size > STREAM_BYTES:
                    raise TooLong
                tail = (tail + data)[-64:]
                self.is_whole = END_MARK in tail
                yield data

        async def aclose(self) -> None:
            await self._stream.aclose()

    return Limited(response.stream)
