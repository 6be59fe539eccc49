"""What a receipt says once a turn that it shows was forgotten."""

from typing import Any


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
    return _without(receipt, [text, *made_of_it], instead)


def _without(value: Any, texts: list[str], instead: str) -> Any:
    if isinstance(value, dict):
        return {name: _without(item, texts, instead) for name, item in value.items()}
    if isinstance(value, list):
        return [_without(item, texts, instead) for item in value]
    return instead if isinstance(value, str) and any(text in value for text in texts) else value
