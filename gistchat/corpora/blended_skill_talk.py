"""BlendedSkillTalk (Smith et al. 2020; CC BY 4.0): knowledge, empathy and personas in one conversation.

Three layouts, each a record a dialogue: ParlAI's JSON (`dialog`: [speaker, text] pairs), the rows on the hub
(`free_messages` and `guided_messages`), and a list of `{"dialogue", "response"}`. Personas go to `meta["gold"]`.
"""

from collections.abc import Iterator
from typing import Any

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.sources import reader
from gistchat.dialogue.turns import Dialogue, Turn


def parse(file: str, name: str, entry: dict[str, Any]) -> Iterator[Dialogue]:
    turns = tuple(Turn(speaker, text) for speaker, text in _turns(entry))
    gold = [{"speaker": "AB"[i % 2], "text": text} for i, persona in enumerate(_personas(entry)) for text in persona]
    yield Dialogue(name, turns, corpus="blended_skill_talk", meta={"gold": gold} if gold else {})


def _turns(entry: dict[str, Any]) -> list[tuple[str, str]]:
    """(speaker, text) of every turn. ParlAI and the hub store the two first utterances apart."""
    if "free_messages" in entry:
        pairs = zip(entry["free_messages"], entry["guided_messages"], strict=True)
        texts = [*entry["previous_utterance"], *(text for pair in pairs for text in pair)]
    elif "dialog" in entry:
        opening = [("A", entry["free_turker_utterance"]), ("B", entry["guided_turker_utterance"])]
        return opening + [("AB"[number], text) for number, text in entry["dialog"]]
    else:
        texts = [*entry["dialogue"], *filter(None, [entry.get("response")])]
    return [("AB"[i % 2], text) for i, text in enumerate(texts)]


def _personas(entry: dict[str, Any]) -> list[list[str]]:
    """Persona sentences of A and of B. The hub's rows hold those of the guided speaker, B, only."""
    personas = entry.get("personas") or []
    if personas and isinstance(personas[0], str):
        return [[], personas]
    return personas


CORPUS = Corpus(
    name="blended_skill_talk",
    description="knowledge, empathy and personas in one (gold: personas)",
    read=reader(parse, first=0),
    patterns=("train.json", "valid.json", "test.json", "bst_*.json", "*.parquet"),
    hub=("ParlAI/blended_skill_talk",),
    mark=b'"dialog',
    tokenised=True,  # where a dialogue opens with utterances of Persona-Chat
    size="6,808 dialogues",
    licence="CC BY 4.0",
    citation="Smith, Williamson, Shuster, Weston, Boureau (2020). Can You Put it All Together: Evaluating "
    "Conversational Agents' Ability to Blend Skills. ACL.",
    link="https://aclanthology.org/2020.acl-main.183",
)
