"""Context strategies: what the model sees before it answers."""

from collections.abc import Sequence

from gistchat.context.budget import as_roles, boundary_of, fit_lines, latest_turns
from gistchat.context.types import Context, Costs, RoleTurn, Rolled, Summarize
from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError


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
        kept, cost = latest_turns(older[-(max_turns - 1) :] if max_turns > 1 else older, budget, costs)
        return Context(strategy, (), kept, last, boundary_of(kept, last), cost)
    if strategy in ("summary", "shuffled", "gold"):
        lines, cost = fit_lines(summarize(last.first), answerer, budget, costs)
        return Context(strategy, lines, (), last, last.first, cost)
    if strategy == "hybrid":
        return _hybrid(older, last, answerer, budget, costs, summarize, summary_share)
    raise UserError(f"unknown context strategy {strategy!r}")


def _hybrid(
    older: list[RoleTurn],
    last: RoleTurn,
    answerer: str,
    budget: int,
    costs: Costs,
    summarize: Summarize,
    share: float,
) -> Context:
    kept, cost = latest_turns(older, budget, costs)
    if len(kept) == len(older) and not summarize(0):  # everything fits, and nothing was written by hand
        return Context("hybrid", (), kept, last, 0, cost)
    kept, cost = latest_turns(older, budget - int(budget * share), costs)
    boundary = boundary_of(kept, last)
    # Turns are kept whole, so some of their share is left over; the summary gets it.
    lines, gist_cost = fit_lines(summarize(boundary), answerer, budget - cost, costs)
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
    kept, cost = latest_turns(older, budget - int(budget * share) if gist.sentences else budget, costs)
    # No more than its share, whatever is left: the beginning of the prompt then stays as it is from one summary to the
    # next, and so does what a model has computed of it.
    lines, gist_cost = fit_lines(gist.sentences, answerer, int(budget * share), costs)
    return Context("rolling", lines, kept, last, boundary_of(kept, last), cost + gist_cost)
