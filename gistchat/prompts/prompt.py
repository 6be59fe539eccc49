"""What a model reads before it answers, as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Prompt:
    """Token ids, and GPT-2's token types beside them where the format has any (None elsewhere)."""

    ids: list[int]
    types: list[int] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def followed_by(self, reply: Sequence[int]) -> "Prompt":
        """With a reply's ids after it, which have the type of the token that asks for them."""
        types = None if self.types is None else [*self.types, *[self.types[-1]] * len(reply)]
        return Prompt([*self.ids, *reply], types)


def common_prefix(first: Sequence[int], *others: Sequence[int]) -> int:
    """How many ids all sequences begin with."""
    ids_at_places = enumerate(zip(first, *others, strict=False))
    return next((place for place, ids in ids_at_places if len(set(ids)) > 1), min(map(len, (first, *others))))
