"""What a receipt says once a turn that it shows was forgotten."""

import json
from typing import Any

NO_TEXT = frozenset(("strategy", "model", "part", "speaker", "role", "ended"))  # words of the program, never of a turn


def without_text(receipt: dict[str, Any], text: str, number: int, instead: str) -> dict[str, Any]:
    """A receipt without a text and without what was made of it.

    Lines that come from the turn lose theirs, and with them the prompt as a whole, which shows them once more.

    Args:
        text: of the turn that is forgotten.
        number: of the turn, from 1, as the receipt's lines name it.
        instead: what stands in the place of a text that held it.
    """
    lines = receipt.get("lines")
    lines = [line for line in lines if isinstance(line, dict)] if isinstance(lines, list) else []
    made_of_it = [str(line["text"]) for line in lines if number in (line.get("turns") or ()) and line.get("text")]
    # Also as it stands in JSON: in a tool call, or in a body that was sent.
    forms = {form for text in (text, *made_of_it) for form in (text, _escaped(text, True), _escaped(text, False))}
    return _without(receipt, forms, instead)


def _escaped(text: str, ascii_only: bool) -> str:
    return json.dumps(text, ensure_ascii=ascii_only)[1:-1]


def _without(value: Any, texts: set[str], instead: str) -> Any:
    if isinstance(value, dict):
        return {name: item if name in NO_TEXT else _without(item, texts, instead) for name, item in value.items()}
    if isinstance(value, list):
        return [_without(item, texts, instead) for item in value]
    return instead if isinstance(value, str) and any(text in value for text in texts) else value
