"""Context strategies: what the model sees before it answers, within a token budget for all before the last turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gistchat.dialogue import Turn
from gistchat.errors import UserError

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


def build_context(
    turns: Sequence[Turn],
    answerer: str,
    strategy: str,
    budget: int,
    costs: Costs,
    summarize: Summarize,
    summary_share: float = 0.34,
    rolled: Rolled | None = None,
    max_turns: int = 0,
) -> Context:
    """The context in which `answerer` answers `turns[-1]`.

    Args:
        turns: all turns so far; the last is by another speaker.
        strategy: last | recent | full | summary | hybrid | rolling | shuffled | gold. For `shuffled`, `summarize`
            must give another dialogue's summary, for `gold` the corpus's own; everything else is as in `summary`.
            `rolling` takes its gist from `rolled`, and looks at no turn before the gist's end.
        budget: tokens for all before the last turn; `full` is `recent` with a budget up to the model's limit.
        summary_share: share of the budget that `hybrid` and `rolling` keep for the summary, at least, when the history
            does not fit.
        max_turns: verbatim turns of `recent` and `full` at most, the last included; 0: as many as fit.
    Raises:
        UserError: an unknown strategy.
    """
    if strategy == "rolling":
        return _rolling(turns, answerer, budget, costs, rolled, summary_share)
    seen = as_roles(turns, answerer)
    older, last = seen[:-1], seen[-1]
    if strategy == "last":
        return Context(strategy, (), (), last, 0, 0)
    if strategy in ("recent", "full"):
        kept, cost = _latest(older[-(max_turns - 1) :] if max_turns > 1 else older, budget, costs)
        return Context(strategy, (), kept, last, _boundary(kept, last), cost)
    if strategy in ("summary", "shuffled", "gold"):
        lines, cost = _fit(summarize(last.first), answerer, budget, costs)
        return Context(strategy, lines, (), last, last.first, cost)
    if strategy == "hybrid":
        return _hybrid(older, last, answerer, budget, costs, summarize, summary_share)
    raise UserError(f"unknown context strategy {strategy!r}")


def fit_limit(encode: Callable[[int], tuple[Context, list[int]]], budget: int, limit: int) -> tuple[Context, list[int]]:
    """The context and prompt of `encode(budget)`, the budget lowered until the prompt has at most `limit` tokens.

    The last turn never gives way: where it alone exceeds the limit, so does the prompt that comes back.
    """
    while True:
        context, prompt = encode(budget)
        excess = len(prompt) - limit
        if excess <= 0 or context.tokens == 0:
            return context, prompt
        budget = max(0, context.tokens - excess)


def as_roles(turns: Sequence[Turn], answerer: str, first: int = 0) -> list[RoleTurn]:
    """Turns as the answerer sees them: their own, and everybody else's; neighbours of one role are joined.

    Args:
        first: index of `turns[0]` in the dialogue.
    """
    seen: list[RoleTurn] = []
    for i, turn in enumerate(turns, first):
        role = MODEL if turn.speaker == answerer else USER
        if seen and seen[-1].role == role:
            seen[-1] = RoleTurn(role, f"{seen[-1].text}\n{turn.text}", seen[-1].first)
        else:
            seen.append(RoleTurn(role, turn.text, i))
    return seen


def _hybrid(
    older: list[RoleTurn],
    last: RoleTurn,
    answerer: str,
    budget: int,
    costs: Costs,
    summarize: Summarize,
    share: float,
) -> Context:
    kept, cost = _latest(older, budget, costs)
    if len(kept) == len(older) and not summarize(0):  # everything fits, and nothing was written by hand
        return Context("hybrid", (), kept, last, 0, cost)
    kept, cost = _latest(older, budget - int(budget * share), costs)
    boundary = _boundary(kept, last)
    # Turns are kept whole, so some of their share is left over; the summary gets it.
    lines, gist_cost = _fit(summarize(boundary), answerer, budget - cost, costs)
    return Context("hybrid", lines, kept, last, boundary, cost + gist_cost)


def _rolling(
    turns: Sequence[Turn], answerer: str, budget: int, costs: Costs, rolled: Rolled | None, share: float
) -> Context:
    """The gist, and the turns since its end; the work does not grow with the turns before that."""
    if rolled is None:
        raise ValueError("the strategy 'rolling' needs its gists")
    start = len(turns) - 1  # where the turns that are answered begin
    while start and turns[start - 1].speaker != answerer:
        start -= 1
    gist = rolled(start)
    seen = as_roles(turns[gist.end :], answerer, gist.end)
    older, last = seen[:-1], seen[-1]
    kept, cost = _latest(older, budget - int(budget * share) if gist.sentences else budget, costs)
    # No more than its share, whatever is left: the beginning of the prompt then stays as it is from one summary to the
    # next, and so does what a model has computed of it.
    lines, gist_cost = _fit(gist.sentences, answerer, int(budget * share), costs)
    return Context("rolling", lines, kept, last, _boundary(kept, last), cost + gist_cost)


def _boundary(kept: Sequence[RoleTurn], last: RoleTurn) -> int:
    return kept[0].first if kept else last.first


def _latest(older: Sequence[RoleTurn], budget: int, costs: Costs) -> tuple[tuple[RoleTurn, ...], int]:
    """As many of the latest turns as fit, whole, in order; and their cost."""
    total = 0
    start = len(older)
    while start:
        cost = costs.turn_cost(older[start - 1])
        if total + cost > budget:
            break
        total += cost
        start -= 1
    return tuple(older[start:]), total


def _fit(ranked: Sequence[Sentence], answerer: str, budget: int, costs: Costs) -> tuple[tuple[Line, ...], int]:
    """Sentences that fit, best first, then put back into the order of the dialogue."""
    chosen: list[Line] = []
    total = costs.gist_cost()
    for sentence in ranked:
        role = "" if not sentence.speaker else MODEL if sentence.speaker == answerer else USER
        line = Line(role, sentence.text, sentence.turn, sentence.sources)
        cost = costs.line_cost(line)
        if total + cost <= budget:
            chosen.append(line)
            total += cost
    if not chosen:
        return (), 0
    return tuple(sorted(chosen, key=lambda line: line.turn)), total
