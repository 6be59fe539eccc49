"""The Chit Chat Challenge corpus (MIT): conversations of students at BYU.

`dataset.json` of the package `chitchat-dataset`: an object of conversations by id, each with `messages`, a list of
lists of utterances with `sender` and `text`.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.sources import Source, first_character, json_members
from gistchat.dialogue.turns import Dialogue, Malformed, Turn
from gistchat.errors import UserError, shown


def find(place: str) -> list[Source]:
    """The corpus file: `place`, or the one the installed package carries."""
    if place:
        path = Path(place) / "dataset.json" if Path(place).is_dir() else Path(place)
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        return [Source(path)]
    # Found without importing: the package opens its 40 MB at import.
    spec = importlib.util.find_spec("chitchat_dataset")
    if spec is None or spec.origin is None:
        raise UserError("the chitchat conversations are not installed: pip install chitchat-dataset")
    return [Source(Path(spec.origin).with_name("dataset.json"))]


def read(path: Path) -> Iterator[Dialogue | Malformed]:
    if first_character(path) != "{":
        raise UserError(f"{path}: expected an object of conversations by id")
    for name, conversation in json_members(path):
        try:
            yield _dialogue(name, conversation)
        except (KeyError, TypeError, AttributeError) as error:
            yield Malformed(f"{path}: conversation {name}", f"unexpected layout ({shown(error)})")


def _dialogue(name: str, conversation: dict[str, Any]) -> Dialogue:
    # A message is a list of utterances of one sender: everything typed before the other one answered.
    turns = []
    for message in conversation["messages"]:
        text = " ".join(filter(None, (utterance["text"].strip() for utterance in message)))
        if text:
            turns.append(Turn(message[0]["sender"][:8], text))
    meta = {"prompt": conversation["prompt"]} if conversation.get("prompt") else {}
    return Dialogue(id=name, corpus="chitchat", turns=tuple(turns), meta=meta)


CORPUS = Corpus(
    name="chitchat",
    description="conversations of students, in the package chitchat-dataset",
    read=read,
    find=find,
    patterns=("dataset.json",),
    mark=b'"messages"',
    size="7,168 dialogues",
    licence="MIT",
    citation="BYU Perception, Control and Cognition lab: Chit-Chat Challenge; package by W. Myers.",
    link="https://github.com/BYU-PCCL/chitchat-dataset",
    min_turns=6,
    max_turn_chars=1000,
    scrub=True,
    split_by="speaker",
)
