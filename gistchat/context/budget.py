"""Packing under a token budget: the latest turns and the best lines that fit, a prompt within the limit."""

from collections.abc import Callable, Sequence

from gistchat.context.types import MODEL, USER, Context, Costs, Line, RoleTurn, Sentence
from gistchat.dialogue.turns import Turn


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


def boundary_of(kept: Sequence[RoleTurn], last: RoleTurn) -> int:
    return kept[0].first if kept else last.first


def latest_turns(older: Sequence[RoleTurn], budget: int, costs: Costs) -> tuple[tuple[RoleTurn, ...], int]:
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


def fit_lines(ranked: Sequence[Sentence], answerer: str, budget: int, costs: Costs) -> tuple[tuple[Line, ...], int]:
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
