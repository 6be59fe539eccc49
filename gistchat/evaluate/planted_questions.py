"""Dialogues in which facts are told, then so much real small talk is made, and one of the facts is asked for."""

import functools
import random
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gistchat.dialogue.turns import Dialogue, Turn
from gistchat.examples.small_talk import MODEL, USER, SmallTalk, exchange
from gistchat.examples.targets import Target
from gistchat.progress import say

DISTANCES = (0, 10, 40, 200, 1000)  # turns of small talk between the last fact and the question; dialogues take turns
FACTS = 5  # in a dialogue
ANSWERS = ("Oh really?", "I see.", "Haha, yes.", "Ok.", "Good to know.", "That makes sense.", "Sure.")


@dataclass(frozen=True)
class Fact:
    """A fact to tell, with a gap for the word that is asked for, and two questions for it."""

    told: str
    asked: str  # shares a content word with what is told
    reworded: str  # shares none
    words: tuple[str, ...]  # that can stand in the gap

    def question(self, shared: bool) -> str:
        return self.asked if shared else self.reworded


@functools.cache
def facts() -> tuple[Fact, ...]:
    """All that can be told."""
    entries = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["facts"]
    return tuple(Fact(**{**entry, "words": tuple(entry["words"].split())}) for entry in entries)


@dataclass(frozen=True)
class Planted:
    """A dialogue that begins with facts, each a turn of the user's; and the word of each that may be asked for."""

    turns: tuple[Turn, ...]
    facts: tuple[Fact, ...]
    words: tuple[str, ...]

    def turn_of(self, fact: int) -> int:
        """The index of the turn that tells it."""
        return 2 * fact


def plant(rng: random.Random, distance: int, talk: SmallTalk) -> Planted:
    """Facts, then `distance` turns of small talk, none of which holds a word that may be asked for."""
    told = tuple(rng.sample(facts(), FACTS))
    words = tuple(rng.choice(fact.words) for fact in told)
    pairs = [exchange(fact.told.format(word), rng.choice(ANSWERS)) for fact, word in zip(told, words, strict=True)]
    pairs += talk.draw(distance // 2, rng, words)
    return Planted(tuple(turn for pair in pairs for turn in pair), told, words)


def probe_targets(number: int, dialogues: Iterable[Dialogue], seed: int = 0) -> list[Target]:
    """So many dialogues that end with a question for one of their facts; its gold reply is the word asked for.

    Each seed has dialogues of its own. Every other question shares a content word with what was told.

    Args:
        dialogues: held-out ones, whose turns are the small talk.
    """
    if not number:
        return []
    talk, longest = SmallTalk(dialogues), max(DISTANCES[:number])
    if talk.turns < longest:
        say(
            f"planted facts: up to {longest:,} turns of small talk, and the held-out dialogues have {talk.turns:,}, "
            "so these come again"
        )
    return [_target(seed * number + i, DISTANCES[i % len(DISTANCES)], i % 2 == 0, talk) for i in range(number)]


def _target(name: int, distance: int, shared: bool, talk: SmallTalk) -> Target:
    rng = random.Random(f"planted {name}")
    planted = plant(rng, distance, talk)
    fact = rng.randrange(FACTS)
    question = Turn(USER, planted.facts[fact].question(shared))
    turns = (*planted.turns, question, Turn(MODEL, planted.words[fact]))
    dialogue = Dialogue(f"planted-{name}-{distance}", turns, "planted", meta={"distance": distance, "shared": shared})
    return Target(dialogue, len(turns) - 1)
