"""Training replies that take a fact from what was told turns ago, which conversations of small talk rarely ask for."""

import dataclasses
import functools
import random
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gistchat.dialogue.turns import Dialogue, Turn
from gistchat.examples.small_talk import MODEL, USER, SmallTalk, exchange, holds
from gistchat.examples.targets import Target

LEAST, MOST = 2, 60  # turns between what was told and the question
BEFORE = 6  # exchanges before it, at most
OTHERS = 3  # other facts that are told, at most
UNTOLD = 6  # one dialogue in so many asks for what was never told
NEAR = 2  # turns between what was told and the question, where the prompt would not hold it else


@dataclass(frozen=True)
class Fact:
    """A kind of fact: how it is told, asked for and answered, with a gap for the word that it is about."""

    told: tuple[str, ...]
    asked: tuple[str, ...]
    answered: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Wording:
    """All that dialogues of facts are made of."""

    facts: tuple[Fact, ...]
    acknowledged: tuple[str, ...]
    unknown: tuple[str, ...]  # replies where the fact is not known


@functools.cache
def wording() -> Wording:
    values = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    facts = (
        Fact(
            *(tuple(entry[name]) for name in ("told", "asked", "answered")),
            tuple(values["words"][entry["words"]].split()),
        )
        for entry in values["facts"]
    )
    return Wording(tuple(facts), tuple(values["acknowledged"]), tuple(values["unknown"]))


@dataclass(frozen=True)
class FactTarget(Target):
    """The answer to a question for a fact.

    Attributes:
        word: what the fact is about; empty where it was never told.
        otherwise: what to reply where the prompt does not hold the word.
        near: the same question soon after the fact was told, for prompts that would not hold it else; None to be
            answered by who does not know.
    """

    word: str = ""
    otherwise: str = ""
    near: "FactTarget | None" = None

    def is_known(self, prompt: str) -> bool:
        """Whether the gold reply can be given by who reads this."""
        return not self.word or holds(prompt, self.word)

    def unknown(self) -> Target:
        """The same question, to be answered by who does not know."""
        return dataclasses.replace(self, reply=self.otherwise)


def fact_targets(number: int, dialogues: Iterable[Dialogue], seed: int) -> list[FactTarget]:
    """So many dialogues in which a fact is told, small talk is made, and the fact is asked for.

    One in `UNTOLD` asks for a fact that was not told.

    Args:
        dialogues: those that are learned from, whose turns are the small talk.
    """
    if not number:
        return []
    talk = SmallTalk(dialogues)
    return [_target(i, seed, talk) for i in range(number)]


def _target(number: int, seed: int, talk: SmallTalk) -> FactTarget:
    rng = random.Random(f"fact {seed} {number}")
    asked, *others = rng.sample(wording().facts, 1 + rng.randint(0, OTHERS))
    word, reply = rng.choice(asked.words), rng.choice(wording().unknown)
    since = rng.randint(LEAST // 2, MOST // 2)
    before = rng.randint(0, BEFORE)
    pairs = talk.draw(before + since, rng, [word])
    for fact in others:
        pairs[rng.randrange(len(pairs))] = _telling(fact, rng.choice([w for w in fact.words if w != word]), rng)
    told = number % UNTOLD != UNTOLD - 1
    telling = _telling(asked, word, rng)
    gold = rng.choice(asked.answered).format(word) if told else reply
    question = [Turn(USER, rng.choice(asked.asked)), Turn(MODEL, gold)]

    def target(name: str, exchanges: list[tuple[Turn, Turn]], near: FactTarget | None = None) -> FactTarget:
        turns = [turn for pair in exchanges for turn in pair] + question
        dialogue = Dialogue(f"fact-{seed}-{number}{name}", tuple(turns), "facts", "train")
        return FactTarget(dialogue, len(turns) - 1, word=word if told else "", otherwise=reply, near=near)

    if not told:
        return target("", pairs)
    near = target("-near", [*pairs, telling, *talk.draw(NEAR // 2, rng, [word])])
    return target("", [*pairs[:before], telling, *pairs[before:]], near if number % UNTOLD else None)


def _telling(fact: Fact, word: str, rng: random.Random) -> tuple[Turn, Turn]:
    return exchange(rng.choice(fact.told).format(word), rng.choice(wording().acknowledged))
