"""BlendedSkillTalk (Smith et al. 2020): ParlAI's JSON, the hub's rows, or a list of `{"dialogue", "response"}`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.corpora.sources import records
from gistchat.dialogue.turns import Dialogue, Item, Malformed, Turn

PATTERNS = ("train.json", "valid.json", "test.json", "bst_*.json", "*.parquet")
HUB = ("ParlAI/blended_skill_talk",)


def read(path: Path) -> Iterator[Item]:
    for number, (where, entry) in enumerate(records(path)):
        try:
            yield entry if isinstance(entry, Malformed) else _dialogue(entry, f"{path.stem}-{number}")
        except (KeyError, IndexError, TypeError, ValueError) as error:
            yield Malformed(where, f"unexpected layout ({error!r})")


def _dialogue(entry: dict[str, Any], name: str) -> Dialogue:
    turns = tuple(Turn(speaker, text) for speaker, text in _said(entry))
    gold = [{"speaker": "AB"[i % 2], "text": text} for i, persona in enumerate(_personas(entry)) for text in persona]
    return Dialogue(name, turns, corpus="blended_skill_talk", meta={"gold": gold} if gold else {})


def _said(entry: dict[str, Any]) -> list[tuple[str, str]]:
    """(speaker, text) of every turn. The conversation's two first utterances stand apart in ParlAI's and the hub's."""
    if "free_messages" in entry:
        pairs = zip(entry["free_messages"], entry["guided_messages"], strict=True)
        texts = [*entry["previous_utterance"], *(text for pair in pairs for text in pair)]
    elif "dialog" in entry:
        opening = [("A", entry["free_turker_utterance"]), ("B", entry["guided_turker_utterance"])]
        return opening + [("AB"[number], text) for number, text in entry["dialog"]]
    else:
        texts = [*entry["dialogue"], *([entry["response"]] if entry.get("response") else [])]
    return [("AB"[i % 2], text) for i, text in enumerate(texts)]


def _personas(entry: dict[str, Any]) -> list[list[str]]:
    """Persona sentences of A and of B. The hub's rows hold those of the guided speaker, B, only."""
    personas = entry.get("personas") or []
    if personas and isinstance(personas[0], str):
        return [[], personas]
    return personas
