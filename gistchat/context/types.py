"""The pieces of a context, and what a strategy may ask for to put one together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gistchat.dialogue.turns import Turn

USER, ASSISTANT = "user", "assistant"  # roles, as seen by the one who answers
MOST = 10**9  # turns of a dialogue, and whatever else is counted in one


def whole_number(values: dict[str, Any], name: str, least: int = 0, most: int = MOST) -> int:
    """A value of a file that counts something. Raises KeyError or ValueError where it is not a number that can."""
    value = values[name]
    if type(value) is not int or not least <= value <= most:  # True is an int, too
        raise ValueError(f"{name!r} must be a whole number from {least} to {most:,}")
    return value


def text_value(values: dict[str, Any], name: str) -> str:
    """A value of a file that is a text. Raises KeyError or ValueError where it is not."""
    if not isinstance(value := values[name], str):
        raise ValueError(f"{name!r} must be a text")
    return value


@dataclass(frozen=True)
class Sentence:
    """A sentence of a summary.

    Attributes:
        turn: the index of the turn that it stands at (-1: written by hand).
        speaker: who said it; empty where a model or a person wrote it.
        sources: the turns that it comes from, where they are not just `turn`.
    """

    turn: int
    speaker: str
    text: str
    sources: tuple[int, ...] = ()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Sentence":
        """What `dataclasses.asdict` made plain. Raises KeyError, TypeError or ValueError where it is not that."""
        sources = tuple(whole_number({"sources": turn}, "sources", least=-1) for turn in values["sources"])
        return cls(
            whole_number(values, "turn", least=-1), text_value(values, "speaker"), text_value(values, "text"), sources
        )


@dataclass(frozen=True)
class Gist:
    """What stands for turns 0..end-1.

    Attributes:
        sentences: in their order; pinned ones first.
        digest: of the turns that it covers.
        made_by: the summarizer, "hand", or why the extractive one took over.
    """

    sentences: tuple[Sentence, ...] = ()
    end: int = 0
    digest: str = ""
    made_by: str = ""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Gist":
        """What `dataclasses.asdict` made plain. Raises KeyError, TypeError or ValueError where it is not that."""
        sentences = tuple(map(Sentence.from_dict, values["sentences"]))
        return cls(sentences, whole_number(values, "end"), text_value(values, "digest"), text_value(values, "made_by"))


@dataclass(frozen=True)
class RoleTurn:
    """A turn as seen by the one who answers; `first` is the index of the turn (or the first of several joined)."""

    role: str
    text: str
    first: int


@dataclass(frozen=True)
class GistLine:
    """A line of the gist as the model reads it; the role is empty for text that is nobody's, such as an edited gist.

    `name` is who said it, where there are more than two to tell apart; `date` is when, where that is asked for.
    """

    role: str
    text: str
    turn: int
    sources: tuple[int, ...] = ()
    name: str = ""
    date: str = ""


@dataclass(frozen=True)
class Context:
    """What goes into the prompt: the gist of turns 0..boundary-1, the verbatim turns after it, what was found in the
    turns before it, and the last turn; and before all of them the dialogue's own preamble, where it has one.

    What was found changes with every turn, so it stands late: what comes before it is the same as the time before, and
    the model need not read it again.
    """

    lines: tuple[GistLine, ...]
    turns: tuple[RoleTurn, ...]
    last: RoleTurn
    boundary: int
    tokens: int  # cost of lines, turns and what was found; at most the budget
    strategy: str = ""
    found: tuple[GistLine, ...] = ()  # oldest first
    preamble: str = ""  # in place of the format's own; not of the budget


class TokenCosts(Protocol):
    """The part of a prompt format that a strategy needs: what each piece costs in tokens."""

    def turn_cost(self, turn: RoleTurn) -> int: ...

    def line_cost(self, line: GistLine) -> int: ...

    def gist_cost(self) -> int:
        """Tokens around the lines of a gist."""

    def found_cost(self) -> int:
        """Tokens around the lines of turns that were found."""

    def spent(self, context: Context) -> int:
        """Tokens that all before the last turn takes in the prompt."""


# k -> sentences that may stand for turns 0..k-1, best first and more than fit: the context takes the best that do.
# For k = 0 there is nothing to say, unless somebody wrote a gist by hand.
Summary = Callable[[int], Sequence[Sentence]]


@dataclass(frozen=True)
class Match:
    """A turn that a search found.

    Attributes:
        words: that it shares with what was asked; none where only its neighbours do, or it is alike in meaning.
    """

    turn: int
    score: float
    words: tuple[str, ...] = ()


class Search(Protocol):
    """Finds turns of a dialogue by what they say."""

    def find(self, text: str, before: int, asker: str = "") -> Sequence[Match]:
        """The turns among the first `before` that match what the asker says, best first."""

    def sentences(self, text: str, turn: Turn) -> Sequence[str]:
        """The sentences of a turn that match a text, best first."""


@dataclass(frozen=True)
class OtherSearch:
    """Another dialogue's turns, in the roles of this one, and a search in them."""

    search: Search
    turns: Sequence[Turn]


@dataclass(frozen=True)
class Sources:
    """What a strategy may read besides the turns; None where nobody gives it.

    Stored summaries and gists feed training and evaluation (`examples.build`), a live memory feeds a chat
    (`chat.session`). A strategy names what it reads in `Strategy.reads`.

    Attributes:
        summary: of the dialogue's beginning.
        rolling_gist: k -> the gist as it was when k turns had been said; it may end before turn k.
        other_summary: another dialogue's, in the roles of this one.
        gold_summary: the corpus's own, whatever the beginning.
        search: in the dialogue's turns.
        other_search: in another dialogue's turns, which it also has.
    """

    summary: Summary | None = None
    rolling_gist: Callable[[int], Gist] | None = None
    other_summary: Summary | None = None
    gold_summary: Summary | None = None
    search: Search | None = None
    other_search: OtherSearch | None = None


# Each source in words, for the message when it is missing.
SOURCE_NAMES = {
    "summary": "summaries of the dialogue",
    "rolling_gist": "a rolling gist",
    "other_summary": "another dialogue's summary",
    "gold_summary": "the corpus's own summary",
    "search": "the dialogue's own turns",
    "other_search": "another dialogue's turns",
}
