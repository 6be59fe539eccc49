"""Small talk: turns of real dialogues, to stand between what is told in a generated one and the question for it."""

import itertools
import random
from collections.abc import Iterable, Sequence

from gistchat.dialogue.turns import Dialogue, Turn
from gistchat.dialogue.words import word_parts
from gistchat.errors import UserError

USER, MODEL = "user", "model"  # who speaks in generated dialogues: the user tells, the model answers


def exchange(said: str, answer: str) -> tuple[Turn, Turn]:
    """A turn of the user's and the answer to it."""
    return Turn(USER, said), Turn(MODEL, answer)


def holds(text: str, word: str) -> bool:
    """Whether a word stands in a text as a word of its own."""
    return word.lower() in word_parts(text)


class SmallTalk:
    """Exchanges of real dialogues, dialogue after dialogue, the speakers taking turns as they did.

    What one speaker said in a row is one turn. Of an odd number of turns, the last is left out.
    """

    def __init__(self, dialogues: Iterable[Dialogue]) -> None:
        self._dialogues = [pairs for dialogue in dialogues if (pairs := _exchanges(dialogue))]

    @property
    def turns(self) -> int:
        """How many there are."""
        return 2 * sum(map(len, self._dialogues))

    def draw(self, exchanges: int, rng: random.Random, without: Sequence[str]) -> list[tuple[Turn, Turn]]:
        """So many exchanges: whole dialogues in a random order, from the first on again where there are too few.

        Args:
            without: words; exchanges that hold one of them are passed over.
        Raises:
            UserError: there is none without these words.
        """
        shuffled = rng.sample(self._dialogues, len(self._dialogues))
        usable = (pair for pairs in shuffled for pair in pairs if not _hold_any(pair, without))
        drawn = list(itertools.islice(usable, exchanges))
        if exchanges and not drawn:
            raise UserError(f"the dialogues have no two turns in a row without the words {', '.join(without)}")
        return list(itertools.islice(itertools.cycle(drawn), exchanges))


def _exchanges(dialogue: Dialogue) -> list[tuple[Turn, Turn]]:
    runs = itertools.groupby(dialogue.turns, key=lambda turn: turn.speaker)
    texts = ["\n".join(turn.text for turn in run) for _, run in runs]
    return [exchange(*pair) for pair in zip(texts[::2], texts[1::2], strict=False)]


def _hold_any(pair: tuple[Turn, Turn], words: Sequence[str]) -> bool:
    said = {part for turn in pair for part in word_parts(turn.text)}
    return any(word.lower() in said for word in words)
