"""BlendedSkillTalk (Smith et al. 2020): a JSON list, in ParlAI's layouts or of `{"dialogue", "response"}`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.dialogue import Dialogue, Malformed, Turn
from gistchat.errors import UserError
from gistchat.storage import read_json

PATTERNS = ("train.json", "valid.json", "test.json", "bst_*.json")


def read(path: Path) -> Iterator[Dialogue | Malformed]:
    data = read_json(path)
    if not isinstance(data, list):
        raise UserError(f"{path}: expected a list of conversations")
    for number, entry in enumerate(data):
        try:
            yield _dialogue(entry, f"{path.stem}-{number}")
        except (KeyError, TypeError, ValueError) as error:
            yield Malformed(f"{path}: entry {number}", f"unexpected layout ({error!r})")


def _dialogue(entry: dict[str, Any], name: str) -> Dialogue:
    if "free_messages" in entry:
        free, guided = entry["free_messages"], entry["guided_messages"]
        pairs = [text for pair in zip(free, guided, strict=True) for text in pair]
        texts = [*entry["previous_utterance"], *pairs]
    elif isinstance(entry["dialogue"][0], str):
        texts = [*entry["dialogue"], *([entry["response"]] if entry.get("response") else [])]
    else:  # ParlAI's own file: [speaker number, text]
        texts = [text for _, text in entry["dialogue"]]
    turns = tuple(Turn("AB"[i % 2], text) for i, text in enumerate(texts))
    gold = [
        {"speaker": "AB"[i % 2], "text": text}
        for i, persona in enumerate(entry.get("personas", []))
        for text in persona
    ]
    return Dialogue(name, turns, corpus="blended_skill_talk", meta={"gold": gold} if gold else {})
