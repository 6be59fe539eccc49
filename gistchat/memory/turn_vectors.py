"""Vectors of a dialogue's turns, made when a search first needs them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gistchat.dialogue.turns import Turn, name_of
from gistchat.memory.vector_cache import VectorCache, key_of
from gistchat.processes import batched
from gistchat.progress import progress

if TYPE_CHECKING:
    from gistchat.memory.encoder import Encoder  # needs an extra

AT_A_TIME = 1024  # turns: what a stop in the middle loses of the work
MANY = 2000  # turns that take long enough to say so


class TurnVectors:
    """A vector for each turn, by its number. It follows what is edited or taken back."""

    def __init__(self, encoder: "Encoder", cache: VectorCache | None = None) -> None:
        """`cache`: where vectors are kept for the next time."""
        self.encoder, self.cache = encoder, cache
        self._vectors = np.zeros((0, encoder.width), np.float32)  # with room for more turns than there are
        self._length = 0
        self._new: dict[int, str] = {}  # texts of turns that have no vector yet

    def put(self, number: int, turn: Turn) -> None:
        """Take over a turn that is new, the next one, or was edited."""
        self._new[number] = spoken(turn)
        self._length = max(self._length, number + 1)

    def cut(self, length: int) -> None:
        """Forget all turns but the first so many."""
        self._length = length
        self._new = {number: text for number, text in self._new.items() if number < length}

    def cosines(self, text: str, before: int) -> np.ndarray:
        """How alike in meaning each of the first `before` turns is to a text; float32 [before]."""
        self._make()
        return self._vectors[:before] @ self.encoder.encode_question(text)

    def forget(self, turn: Turn) -> None:
        """Remove what is kept for the next time of a turn."""
        if self.cache:
            self.cache.forget([key_of(spoken(turn))])

    def _make(self) -> None:
        """Make the vectors that are missing. Stopped in the middle, it goes on from there the next time."""
        if self._length > len(self._vectors):
            room = np.zeros((2 * self._length - len(self._vectors), self.encoder.width), np.float32)
            self._vectors = np.concatenate([self._vectors, room])
        if len(self._new) < MANY:
            self._make_of(sorted(self._new))
            return
        with progress("vectors of turns", len(self._new)) as advance:
            for part in batched(sorted(self._new), AT_A_TIME):
                self._make_of(part)
                advance(len(part))

    def _make_of(self, numbers: Sequence[int]) -> None:
        if not numbers:
            return
        texts = {key_of(text): text for text in map(self._new.__getitem__, numbers)}
        made = self.cache.get(list(texts)) if self.cache else {}
        missing = [key for key in texts if key not in made]
        if missing:
            new = dict(zip(missing, self.encoder.encode([texts[key] for key in missing]), strict=True))
            if self.cache:
                self.cache.put(new)
            made |= new
        for number in numbers:
            self._vectors[number] = made[key_of(self._new.pop(number))]


def spoken(turn: Turn) -> str:
    """A turn as models of meaning read it."""
    return f"{name}: {turn.text}" if (name := name_of(turn)) else turn.text
