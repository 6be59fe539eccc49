"""Splits: official ones, where one is missing cut from train; else by held-out speakers or dialogues."""

import hashlib
import random
from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np

from gistchat.dialogue.turns import SPLITS
from gistchat.errors import UserError

HELD_OUT = ("test", "validation")


def hash64(text: str) -> int:
    """The first 64 bits of the SHA-256 of a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


class SplitPlan:
    """Splits in two passes: every dialogue is added, then each is assigned.

    Memory: 8 bytes a dialogue, or the names of all speakers.
    """

    def __init__(self, by: str, seed: int, test_share: float, validation_share: float) -> None:
        """
        Args:
            by: `speaker` or `dialogue`, for dialogues without an official split.
            test_share: of the speakers or dialogues; `validation_share` likewise.
        """
        self.by, self.seed, self.shares = by, seed, (test_share, validation_share)
        self.total = 0
        self.official: Counter[str] = Counter()  # dialogues of each official split
        self._ranks = array("Q")
        self._speakers: set[str] = set()
        self._held_out: dict[str, str] | None = None

    def anew(self) -> "SplitPlan":
        """The same rules, before any dialogue was added."""
        return SplitPlan(self.by, self.seed, *self.shares)

    def add(self, split: str, rank: int, speakers: Sequence[str]) -> None:
        """Register a dialogue: its official split, or the rank and speakers that it is placed by."""
        self.total += 1
        if split:
            self.official[split] += 1
        if split == "train" or (not split and self.by != "speaker"):
            self._ranks.append(rank)
        elif not split:
            self._speakers.update(speakers)

    @property
    def missing(self) -> list[str]:
        """The official splits that there are not, and that are cut from train."""
        shares = zip(HELD_OUT, self.shares, strict=True)
        return [name for name, share in shares if share and self.official["train"] and not self.official[name]]

    def decide(self) -> None:
        """Choose what is held out, once all dialogues were added.

        Raises:
            UserError: some dialogues have an official split and others do not.
        """
        official = self.official.total()
        if official not in (0, self.total):
            raise UserError(
                f"{official} of {self.total} dialogues have a split, by their field 'split' or their file's name; "
                "give it to all or to none"
            )
        if self.by == "speaker" and not official:
            names = sorted(self._speakers)
            random.Random(self.seed).shuffle(names)
            test, validation = self._counts(len(names))
            self._held_out = {
                name: "test" if i < test else "validation" for i, name in enumerate(names[: test + validation])
            }
        else:
            ranks = np.unique(np.array(self._ranks, dtype=np.uint64))
            test, validation = self._counts(len(ranks), self.missing if official else HELD_OUT)
            # The lowest ranks are held out; a rank is a hash, so the order of the file does not matter.
            self._limits = [int(ranks[count - 1]) if count else -1 for count in (test, test + validation)]

    def assign(self, split: str, rank: int, speakers: Sequence[str]) -> tuple[str, list[str] | None]:
        """The split of a dialogue, and whose replies may be scored there (None: everybody's).

        When split by speaker, a dialogue goes to the split of its held-out speakers, test before validation.
        """
        if split in HELD_OUT:
            return split, None
        if self._held_out is None:
            return ("test" if rank <= self._limits[0] else "validation" if rank <= self._limits[1] else "train"), None
        for name in HELD_OUT:
            if scored_speakers := [speaker for speaker in speakers if self._held_out.get(speaker) == name]:
                return name, scored_speakers
        return "train", None

    def _counts(self, units: int, names: Sequence[str] = HELD_OUT) -> tuple[int, int]:
        """How many of `units` are held out for test and validation, where named: one each, at least, of three units."""
        least = 1 if units >= len(SPLITS) else 0
        shares = dict(zip(HELD_OUT, self.shares, strict=True))
        test, validation = (
            max(round(share * units), least if share else 0) if name in names else 0 for name, share in shares.items()
        )
        return test, validation
