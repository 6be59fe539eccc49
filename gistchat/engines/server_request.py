"""What an OpenAI-compatible server is asked: a context as messages, a sampling as fields, and what it does not take."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gistchat.context.types import Context
from gistchat.engines.sampling import Sampling
from gistchat.errors import UserError, first_line
from gistchat.printable import printable
from gistchat.progress import say, say_once
from gistchat.prompts.template_probe import Layout
from gistchat.prompts.wording import PREAMBLE, asked, opening

# Between the system message and a window that begins with the model's turn. Templates of Llama 2, Mistral and Gemma
# refuse a chat in which the user does not begin, and there is no way to ask a server what its template takes; some
# servers refuse an empty message.
FILLER = "…"
MOST_STOPS = 4  # that OpenAI takes; all of them are looked for here, too
SEEDS = 2**31  # as many servers take them
_TOO_LONG = re.compile(r"context.?(length|size|window)|exceed_context|maximum.{0,30}tokens|prompt is too long")
_SYSTEM_ROLE = re.compile(r"system.{0,3}(role|message|prompt|instruction)|role.{0,20}system|developer instruction")
# What tokenizers know as control tokens, and servers take for them wherever they stand.
_CONTROL = re.compile(
    r"<(?=[|｜][^|｜<>\s]{1,40}[|｜]>)|<(?=/?(?:s|bos|eos|pad|unk|(?:start|end)_of_turn|end_of_text)>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS)\])|<(?=</?SYS>>)"
)


def root_of(url: str) -> str:
    """Where a server has what is no part of the API."""
    return url.rstrip("/").removesuffix("/v1")


def plain(text: str) -> str:
    """A text in which nothing is a control token: a space after the first character makes it ordinary text."""
    return _CONTROL.sub(r"\g<0> ", text)


class ServerDialect:
    """How one server wants to be asked, which it tells by refusing."""

    def __init__(self, url: str, preamble: str = PREAMBLE) -> None:
        self.url, self.preamble = url, preamble
        self.layout = Layout(system=True, user_first=True, filler=FILLER)
        self.left_out: set[str] = set()
        self.length_field = "max_tokens"

    def messages(self, context: Context) -> list[dict[str, str]]:
        """A context as messages: system, then user and assistant in turn, the user last."""
        last = asked(context.found, context.last.text)
        beginning = opening(context.lines, context.preamble or self.preamble)
        texts = [beginning, *(turn.text for turn in context.turns), last]
        return self.messages_of([turn.role for turn in (*context.turns, context.last)], texts)

    def messages_of(self, roles: Sequence[str], texts: Sequence[str]) -> list[dict[str, str]]:
        """Messages of the opening, `texts[0]`, and of turns in these roles."""
        sent = list(map(plain, texts))
        if sent != list(texts):
            say_once("what looks like a control token gets a space after its first character, so that it stays text")
        return self.layout.messages(roles, sent)

    def options(self, sampling: Sampling, seed: int | None) -> dict[str, Any]:
        """A sampling's fields. Raises UserError where it asks for what the API has no field for."""
        _require_fields(sampling)
        drawn = sampling.temperature > 0
        fields: dict[str, Any] = {
            self.length_field: sampling.max_tokens,
            "temperature": sampling.temperature,
            "stream_options": {"include_usage": True},
        }
        if sampling.stop:
            fields["stop"] = list(sampling.stop[:MOST_STOPS])
        if drawn and sampling.top_p < 1:
            fields["top_p"] = sampling.top_p
        if drawn and seed is not None:
            fields["seed"] = seed % SEEDS
        if drawn and sampling.top_k:
            fields["extra_body"] = {"top_k": sampling.top_k}  # no field of OpenAI's, but of most other servers
        return {name: value for name, value in fields.items() if self._names(name).isdisjoint(self.left_out)}

    def _names(self, field: str) -> set[str]:
        return {"top_k"} if field == "extra_body" else {field}

    def adapt(self, status: int, body: str, asked: dict[str, Any]) -> bool:
        """Whether the server is asked in another way from now on, as it refused a request of these fields.

        Raises:
            UserError: the prompt is too long.
        """
        words = " ".join(_words(body)).lower()
        if status in (400, 413, 422, 500) and _TOO_LONG.search(words):
            reason = printable(first_line(words))[:160]
            raise UserError(f"{self.url}: the prompt is longer than the server takes ({reason}); lower --budget")
        if status in (400, 422, 500) and _SYSTEM_ROLE.search(words):
            return self._without_system_role()
        if status in (400, 422):
            return self._without(_named(body, words, {name for field in asked for name in self._names(field)}), words)
        return False

    def _without_system_role(self) -> bool:
        if self.layout.system:
            self.layout = replace(self.layout, system=False)
            say(f"{self.url}: takes no system message; what it says stands in the first of the user's")
            return True
        return False

    def _without(self, field: str, words: str) -> bool:
        if not field:
            return False
        if field in self.left_out or (field == "max_tokens" and self.length_field != field):
            return True  # another request found out meanwhile
        if field == "max_tokens" and "max_completion_tokens" in words:
            self.length_field = "max_completion_tokens"
            return True
        self.left_out.add(field)
        say(f"{self.url}: takes no {field!r}, which is left out from now on")
        return True


def _require_fields(sampling: Sampling) -> None:
    """Raises UserError where a sampling asks for what the API has no field for."""
    for name, wanted in (
        ("repetition_penalty", sampling.repetition_penalty != 1),
        ("no_repeat_ngram", sampling.no_repeat_ngram > 0),
        ("n_best", sampling.draws > 1),
    ):
        if wanted:
            reason = "no likelihoods to choose by" if name == "n_best" else "no such field"
            raise UserError(f"chat.{name} works with models that run here only: a server has {reason}")


def _words(body: str) -> list[str]:
    """What a server says in a refusal: messages, and the places that they are about; not what it was sent."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return [body[:1000]]
    return [text[:1000] for text in _texts(values)][:20]


def _texts(values: Any) -> list[str]:
    if isinstance(values, str):
        return [values]
    if isinstance(values, list):
        return [text for value in values[:20] for text in _texts(value)]
    if isinstance(values, dict):
        names = ("param", "error", "message", "detail", "loc", "msg", "type")
        return [text for name in names if name in values for text in _texts(values[name])]
    return []


def _named(body: str, words: str, fields: set[str]) -> str:
    """Which of the fields that were sent is named first; empty where none is."""
    places = {name: match.start() for name in fields if (match := re.search(rf"(?<!\w){name}(?!\w)", words))}
    places.pop("model", None)
    places.pop("messages", None)
    return min(places, key=places.__getitem__, default="")
