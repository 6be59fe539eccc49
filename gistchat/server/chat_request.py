"""What POST /v1/chat/completions takes: OpenAI's fields, as far as a model that only writes text can follow them.

A field that would be ignored is refused, unless it changes nothing or only concerns OpenAI's accounts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from gistchat.chat.speakers import BOT, PERSON
from gistchat.dialogue.text_repair import clean_line, clean_texts
from gistchat.dialogue.turns import Turn
from gistchat.engines.sampling import Sampling
from gistchat.server.errors import ApiError
from gistchat.server.settings import ServeSettings

MOST_STOPS, LONGEST_STOP = 4, 200
MOST_CHOICES = 8
LEAST_TOP_P = 1e-6  # 0 keeps the likeliest token
SYSTEM_ROLES = ("system", "developer")
SPEAKER_OF = {"user": PERSON, "assistant": BOT}
TOOL_ROLES = ("tool", "function")
MESSAGE_FIELDS = ("role", "content", "name")
# What the official clients send back with an answer, empty where it was text.
EMPTY_FIELDS = ("refusal", "annotations", "audio", "function_call", "tool_calls", "reasoning_content", "tool_call_id")
# Fields of OpenAI's that a request may have as long as they ask for nothing, and what they ask nothing with.
ASKING_NOTHING: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "service_tier": ("auto", "default"),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "reasoning_effort": ("none",),
    "verbosity": (),
}
NOT_TO_THE_MODEL = (
    *("user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
    "parallel_tool_calls",
)

Messages = Annotated[
    list[Any],
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {
                    "role": {"enum": ["system", "developer", "user", "assistant"]},
                    "content": {"type": "string", "pattern": "\\S"},
                    "name": {"type": "string"},
                },
            },
        }
    ),
]


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    include_usage: bool | None = None
    include_obfuscation: bool | None = None  # padding against listeners on the line; there is none here


class ChatRequest(BaseModel):
    """A conversation that ends with the user's message. All of it is sent each time, however long it is."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)
    model: str | None = Field(None, description="as GET /v1/models has it; none: the only one")
    messages: Messages
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0, le=2**31 - 1)
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: str | list[str] | None = None
    store: bool | None = Field(None, description="false: nothing of this conversation is kept")

    @property
    def includes_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


@dataclass(frozen=True)
class Asked:
    """What a request asks for.

    Attributes:
        preamble: of its system and developer messages; empty where it has none.
        before: the turns before the last.
        text: the last, which is answered.
    """

    preamble: str
    before: list[Turn]
    text: str

    @property
    def answered(self) -> int:
        """How many of the turns before are up to the last answer: what is said here from then on is new."""
        return max((number for number, turn in enumerate(self.before, 1) if turn.speaker == BOT), default=0)


def read_request(request: ChatRequest, settings: ServeSettings) -> Asked:
    """Raises ApiError where it asks for what is not there."""
    _require_known_fields(request)
    messages = request.messages
    if not messages:
        raise _wrong("messages", "messages: at least one is needed", "invalid_value")
    if len(messages) > settings.messages:
        message = f"messages: {len(messages):,} are more than the {settings.messages:,} that this server takes"
        raise _wrong("messages", message, "too_many_messages")
    read = [_read_message(f"messages[{number}]", message) for number, message in enumerate(messages)]
    if read[-1][0] != PERSON:
        raise _wrong("messages", "messages: the last one must be the user's, as it is answered", "invalid_value")
    texts = clean_texts([text for _, text in read])
    for number, ((speaker, _), text) in enumerate(zip(read, texts, strict=True)):
        if speaker == PERSON and not text:
            raise _wrong(f"messages[{number}].content", f"messages[{number}]: an empty message", "empty_message")
    said = [(speaker, text) for (speaker, _), text in zip(read, texts, strict=True) if text]
    turns = [Turn(speaker, text) for speaker, text in said if speaker]
    return Asked("\n\n".join(text for speaker, text in said if not speaker), turns[:-1], turns[-1].text)


def _require_known_fields(request: ChatRequest) -> None:
    for name, value in (request.model_extra or {}).items():
        if value is None or name in NOT_TO_THE_MODEL:
            continue
        if name not in ASKING_NOTHING:
            raise _wrong(name[:100], f"unknown field: {name[:100]}", "unknown_parameter")
        if value not in ASKING_NOTHING[name]:
            raise _wrong(name, f"{name}: not supported by this server", "unsupported_parameter")
    for stop in (stops := _stops(request)):
        if not stop or len(stop) > LONGEST_STOP:
            raise _wrong("stop", f"stop: texts of 1 to {LONGEST_STOP} characters", "invalid_value")
    if len(stops) > MOST_STOPS:
        raise _wrong("stop", f"stop: at most {MOST_STOPS} texts", "invalid_value")


def _read_message(place: str, message: Any) -> tuple[str, str]:
    """Its speaker, empty for a system message, and its text."""
    if not isinstance(message, dict):
        raise _wrong(place, f"{place}: must be an object", "invalid_type")
    role = message.get("role")
    if not isinstance(role, str):
        raise _wrong(f"{place}.role", f"{place}.role: must be a text", "invalid_type")
    if role in TOOL_ROLES or message.get("tool_calls") or message.get("function_call"):
        raise _wrong(f"{place}", f"{place}: this model knows no tools", "unsupported_value")
    if role not in SYSTEM_ROLES and role not in SPEAKER_OF:
        raise _wrong(f"{place}.role", f"{place}.role: {role[:50]!r} is none of system, developer, user, assistant")
    for name in message:
        if name not in MESSAGE_FIELDS and (name not in EMPTY_FIELDS or message[name]):
            raise _wrong(f"{place}.{name[:100]}", f"{place}: unknown field {name[:100]!r}", "unknown_parameter")
    text = _text_of(f"{place}.content", message.get("content"), role)
    name = message.get("name") or ""
    if not isinstance(name, str):
        raise _wrong(f"{place}.name", f"{place}.name: must be a text", "invalid_type")
    if name and role == "user" and text.strip():
        text = f"{clean_line(name)}: {text}"  # as several people are told apart in all prompts
    return SPEAKER_OF.get(role, ""), text


def _text_of(place: str, content: Any, role: str) -> str:
    if content is None and role == "assistant":
        return ""
    if isinstance(content, str):
        return _storable(place, content)
    if not isinstance(content, list):
        raise _wrong(place, f"{place}: must be a text or a list of parts", "invalid_type")
    return "\n".join(_part(f"{place}[{number}]", part) for number, part in enumerate(content))


def _part(place: str, part: Any) -> str:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise _wrong(place, f"{place}: must be an object with a type", "invalid_type")
    if part["type"] != "text":
        raise _wrong(
            place, f"{place}: {part['type'][:50]!r} is not supported; this model reads text", "unsupported_value"
        )
    if not isinstance(part.get("text"), str):
        raise _wrong(f"{place}.text", f"{place}.text: must be a text", "invalid_type")
    return _storable(f"{place}.text", part["text"])


def _storable(place: str, text: str) -> str:
    """JSON can spell out halves of characters, which nothing can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _wrong(place, f"{place}: half a character (a lone surrogate)", "invalid_value") from None
    return text


def _stops(request: ChatRequest) -> Sequence[str]:
    return [request.stop] if isinstance(request.stop, str) else request.stop or []


def sampling_of(request: ChatRequest, usual: Sampling, settings: ServeSettings) -> Sampling:
    """How a request wants its replies drawn; what it does not say is as the model's recipe has it.

    Raises ApiError.
    """
    field = "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens"
    most = request.max_completion_tokens or request.max_tokens or min(usual.max_tokens, settings.reply_tokens)
    if most > settings.reply_tokens:
        message = f"{field}: {most:,} is more than the {settings.reply_tokens:,} that this server writes"
        raise _wrong(field, message, "invalid_value")
    return replace(
        usual,
        max_tokens=most,
        temperature=usual.temperature if request.temperature is None else request.temperature,
        top_p=usual.top_p if request.top_p is None else max(request.top_p, LEAST_TOP_P),
        top_k=usual.top_k if request.top_k is None else request.top_k,
        seed=usual.seed if request.seed is None else request.seed,
        stop=tuple(dict.fromkeys([*usual.stop, *_stops(request)])),
        n_best=1 if (request.n or 1) > 1 else usual.n_best,
    )


def _wrong(param: str, message: str, code: str = "invalid_value") -> ApiError:
    return ApiError(400, message, param, code)
