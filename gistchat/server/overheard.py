"""An answer that passes by, put together on the side: of a stream's events, or of a whole body."""

import json
from typing import Any

MOST_BYTES = 16 * 2**20  # of an answer that is put together; a longer one is not
END = b"[DONE]"


class Overheard:
    """Takes the bytes of an answer as they pass; whatever they are, it raises nothing.

    Attributes:
        ended: whether a stream said that it is over.
        problem: why there is no answer to be had of the bytes; empty where there is one, or may be one yet.
    """

    def __init__(self, content_type: str, encoding: str = "") -> None:
        self.streams = content_type.partition(";")[0].strip().lower() == "text/event-stream"
        self.ended = False
        self.problem = f"the answer is packed ({encoding[:20]})" if encoding not in ("", "identity") else ""
        self._rest, self._bytes = bytearray(), 0
        self._data: list[bytes] = []
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage: dict[str, Any] = {}

    def take(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > MOST_BYTES:
            self.problem = self.problem or "the answer is too long to be kept"
        if self.problem:
            self._rest.clear()
            self.ended = self.ended or END in data
            return
        self._rest += data
        if self.streams:
            *lines, rest = self._rest.split(b"\n")
            self._rest = rest
            for line in lines:
                self._take_line(line.rstrip(b"\r"))

    def finish(self) -> None:
        """No more comes."""
        if self.problem:
            return
        if self.streams:
            self._take_line(bytes(self._rest))
            self._take_line(b"")
        elif isinstance(values := _json(bytes(self._rest)), dict):
            self._take_values(values, "message")
        self._rest.clear()

    def messages(self) -> list[dict[str, Any]]:
        """What was answered, a message for each choice that says anything, in their order."""
        answers = [_message(self._choices[index]) for index in sorted(self._choices)]
        return [answer for answer in answers if len(answer) > 1]

    def usage(self) -> dict[str, int]:
        """Tokens as the backend counted them."""
        names = {"prompt": "prompt_tokens", "written": "completion_tokens"}
        return {name: value for name, theirs in names.items() if type(value := self._usage.get(theirs)) is int}

    def finish_reason(self) -> str:
        """Of the first choice; empty where none was said."""
        reason = self._choices[min(self._choices)].get("finish_reason") if self._choices else ""
        return reason if isinstance(reason, str) else ""

    def _take_line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        elif not line and self._data:
            data, self._data = b"\n".join(self._data), []
            if data.strip() == END:
                self.ended = True
            elif isinstance(values := _json(data), dict):
                self._take_values(values, "delta")

    def _take_values(self, values: dict[str, Any], name: str) -> None:
        if isinstance(values.get("usage"), dict):
            self._usage = values["usage"]
        choices = values.get("choices")
        for place, choice in enumerate(choices if isinstance(choices, list) else []):
            if not isinstance(choice, dict):
                continue
            index = choice.get("index", place)
            kept = self._choices.setdefault(index if type(index) is int else place, {"texts": {}, "calls": {}})
            kept["finish_reason"] = choice.get("finish_reason") or kept.get("finish_reason")
            if isinstance(said := choice.get(name), dict):
                _add(kept, said)


def _add(kept: dict[str, Any], said: dict[str, Any]) -> None:
    for name in ("content", "refusal"):
        if text := text_of(said.get(name)):
            kept["texts"].setdefault(name, []).append(text)
    calls = said.get("tool_calls")
    for place, call in enumerate(calls if isinstance(calls, list) else []):
        if isinstance(call, dict):
            index = call.get("index", place)
            _add_call(kept["calls"].setdefault(index if type(index) is int else place, {}), call)
    if isinstance(call := said.get("function_call"), dict):
        _add_call(kept.setdefault("function_call", {}), {"function": call})


def _add_call(kept: dict[str, Any], call: dict[str, Any]) -> None:
    if isinstance(call.get("id"), str):
        kept["id"] = call["id"]
    function = call.get("function")
    for name in ("name", "arguments"):
        if isinstance(function, dict) and isinstance(function.get(name), str):
            kept[name] = kept.get(name, "") + function[name]


def _message(kept: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    message |= {name: "".join(texts) for name, texts in kept["texts"].items()}
    if kept["calls"]:
        message["tool_calls"] = [
            {"id": call.get("id", ""), "type": "function", "function": _function(call)}
            for _, call in sorted(kept["calls"].items())
        ]
    if "function_call" in kept:
        message["function_call"] = _function(kept["function_call"])
    return message


def _function(call: dict[str, Any]) -> dict[str, str]:
    return {"name": call.get("name", ""), "arguments": call.get("arguments", "")}


def text_of(content: Any) -> str:
    """What of a message's content is text: all of it, or of its parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
