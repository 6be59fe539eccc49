"""Targets: the turns of dialogues that are to be answered with, drawn with a seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gistchat.dialogue.turns import Dialogue, Turn
from gistchat.errors import UserError


@dataclass(frozen=True)
class Target:
    """The turn of a dialogue that is to be answered with."""

    dialogue: Dialogue
    turn: int
    reply: str = ""  # to be learned in place of the turn's text

    @property
    def gold(self) -> str:
        return self.reply or self.dialogue.turns[self.turn].text

    @property
    def speaker(self) -> str:
        """Who answers."""
        return self.dialogue.turns[self.turn].speaker

    @property
    def history(self) -> tuple[Turn, ...]:
        """All turns before it."""
        return self.dialogue.turns[: self.turn]

    @property
    def id(self) -> str:
        return f"{self.dialogue.id}#{self.turn}"


def sample_targets(
    dialogues: Sequence[Dialogue],
    count: int,
    seed: int,
    min_history: int = 1,
    turns: str = "all",
    weights: Mapping[str, float] | None = None,
) -> list[Target]:
    """Up to `count` replies, drawn without replacement, the same for the same seed and dialogues.

    Args:
        min_history: turns before the reply, at least.
        turns: all | one (a reply of each dialogue, drawn, so that items are independent) | last (of each dialogue) |
            openings (the first reply of each session but the first).
        weights: by corpus: 2 puts its replies into the pool twice, 0.5 a random half of them; 1 where none is given.
    """
    rng = random.Random(seed)
    pool = []
    for dialogue in dialogues:
        indices = dialogue.openings() if turns == "openings" else dialogue.reply_indices()
        replies = [turn for turn in indices if turn >= min_history]
        if turns == "one" and replies:
            replies = [rng.choice(replies)]
        elif turns == "last":
            replies = replies[-1:]
        pool += [Target(dialogue, turn) for turn in replies]
    if weights:
        copies = ((target, weights.get(target.dialogue.corpus, 1.0)) for target in pool)
        pool = [target for target, weight in copies for _ in range(int(weight) + (rng.random() < weight % 1))]
    rng.shuffle(pool)
    return pool[:count]


def require_dialogues(split: str, dialogues: Sequence[Dialogue]) -> None:
    """Raises UserError where a split that is needed got no dialogue."""
    if not dialogues:
        raise UserError(
            f"the {split} split is empty; three dialogues fill all, if data.{split}_share is above 0. "
            "In a transcript an empty line begins a new dialogue"
        )
