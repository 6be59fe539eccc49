"""Packing under a token budget: the latest turns and the best lines that fit, a prompt within the limit."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from gistchat.context.types import ASSISTANT, USER, Context, GistLine, RoleTurn, Sentence, TokenCosts
from gistchat.dialogue.turns import Turn

T = TypeVar("T")


def pack_latest(items: Sequence[T], cost: Callable[[T], int], budget: int) -> tuple[tuple[T, ...], int]:
    """As many of the latest items as fit, whole and in order; and their cost."""
    total, start = 0, len(items)
    while start and total + (price := cost(items[start - 1])) <= budget:
        total += price
        start -= 1
    return tuple(items[start:]), total


def pack_ranked(ranked: Iterable[T], cost: Callable[[T], int], budget: int) -> tuple[list[T], int]:
    """Items that fit, best first, passing over those that are too long; and their cost."""
    chosen: list[T] = []
    total = 0
    for item in ranked:
        price = cost(item)
        if total + price <= budget:
            chosen.append(item)
            total += price
    return chosen, total


def fit_limit(build: Callable[[int], Context], length: Callable[[Context], int], budget: int, limit: int) -> Context:
    """The context of `build(budget)`, the budget lowered until its prompt has at most `limit` tokens.

    The last turn never gives way: where it alone exceeds the limit, so does the prompt of the context that comes back.

    Args:
        length: tokens of a context's prompt.
    """
    while True:
        context = build(budget)
        excess = length(context) - limit
        if excess <= 0 or context.tokens == 0:
            return context
        budget = max(0, context.tokens - excess)


def as_roles(turns: Sequence[Turn], answerer: str, first: int = 0) -> list[RoleTurn]:
    """Turns as the answerer sees them: their own, and everybody else's; neighbours of one role are joined.

    Args:
        first: index of `turns[0]` in the dialogue.
    """
    role_turns: list[RoleTurn] = []
    for i, turn in enumerate(turns, first):
        role = ASSISTANT if turn.speaker == answerer else USER
        if role_turns and role_turns[-1].role == role:
            before = role_turns[-1]
            role_turns[-1] = RoleTurn(role, f"{before.text}\n{turn.text}", before.first)
        else:
            role_turns.append(RoleTurn(role, turn.text, i))
    return role_turns


def gist_line(sentence: Sentence, answerer: str) -> GistLine:
    """A sentence of a summary as the answerer reads it."""
    role = "" if not sentence.speaker else ASSISTANT if sentence.speaker == answerer else USER
    return GistLine(role, sentence.text, sentence.turn, sentence.sources)


def fit_gist(
    ranked: Sequence[Sentence], answerer: str, budget: int, costs: TokenCosts
) -> tuple[tuple[GistLine, ...], int]:
    """The best sentences that fit, in the order of the dialogue; and the cost of the gist, 0 where nothing fits."""
    around = costs.gist_cost()
    lines, cost = pack_ranked((gist_line(sentence, answerer) for sentence in ranked), costs.line_cost, budget - around)
    if not lines:
        return (), 0
    return tuple(sorted(lines, key=lambda line: line.turn)), around + cost
