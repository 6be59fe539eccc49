"""Context strategies: what the model sees before it answers, within a token budget for all before the last turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

USER, MODEL = "user", "assistant"  # roles, as seen by the one who answers


@dataclass(frozen=True)
class Sentence:
    """A sentence of a summary.

    Attributes:
        turn: the index of the turn that it stands at (-1: written by hand).
        speaker: who said it; nobody where a model or a person wrote it.
        sources: the turns that it comes from, where they are not just `turn`.
    """

    turn: int
    speaker: str
    text: str
    sources: tuple[int, ...] = ()


@dataclass(frozen=True)
class Gist:
    """What stands for turns 0..end-1.

    Attributes:
        sentences: in their order; those that were pinned first.
        digest: of the turns that it covers.
        made_by: the summarizer, "hand", or why the extractive one took over.
    """

    sentences: tuple[Sentence, ...] = ()
    end: int = 0
    digest: str = ""
    made_by: str = ""


@dataclass(frozen=True)
class RoleTurn:
    """A turn as seen by the one who answers; `first` is the index of the turn (or the first of several joined)."""

    role: str
    text: str
    first: int


@dataclass(frozen=True)
class Line:
    """A line of the gist: role "" stands for text that is nobody's, such as an edited gist."""

    role: str
    text: str
    turn: int
    sources: tuple[int, ...] = ()


@dataclass(frozen=True)
class Context:
    """What goes into the prompt: the gist of turns 0..boundary-1, the verbatim turns after it, and the last turn."""

    strategy: str
    lines: tuple[Line, ...]
    turns: tuple[RoleTurn, ...]
    last: RoleTurn
    boundary: int
    tokens: int  # cost of lines and turns, at most the budget


# For the rolling strategy: the gist as it was when k turns had been said; it may end before k.
Rolled = Callable[[int], Gist]


# Gives sentences that may stand for turns 0..k-1, best first, more than fit: the context takes the best that do.
# For k = 0 there is nothing to say, unless somebody wrote a gist by hand.
Summarize = Callable[[int], Sequence[Sentence]]


class Costs(Protocol):
    """The part of a prompt format that a context strategy needs: what a piece costs in tokens."""

    def turn_cost(self, turn: RoleTurn) -> int: ...

    def line_cost(self, line: Line) -> int: ...

    def gist_cost(self) -> int:
        """Tokens around the lines of a gist."""
        ...
