"""Packing under a token budget: the latest turns and the best lines that fit, a prompt within the limit."""

import itertools
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
        if total + (price := cost(item)) <= budget:
            chosen.append(item)
            total += price
    return chosen, total


def fit_limit(build: Callable[[int], Context], length: Callable[[Context], int], budget: int, limit: int) -> Context:
    """The context of `build(budget)`, the budget lowered until `length`, its prompt's tokens, is `limit` or less.

    The last turn never gives way: where it alone exceeds the limit, so does the prompt of the context that comes back.
    """
    while True:
        context = build(budget)
        excess = length(context) - limit
        if excess <= 0 or context.tokens == 0:
            return context
        budget = max(0, context.tokens - excess)


def as_roles(turns: Sequence[Turn], answerer: str, first: int = 0) -> list[RoleTurn]:
    """Turns, counted from `first`, as the answerer sees them: their own, and all others'; those of one role in a row
    are joined."""
    role_turns: list[RoleTurn] = []
    for by_answerer, group in itertools.groupby(turns, lambda turn: turn.speaker == answerer):
        texts = [turn.text for turn in group]
        role_turns.append(RoleTurn(ASSISTANT if by_answerer else USER, "\n".join(texts), first))
        first += len(texts)
    return role_turns


def fit_gist(
    ranked: Sequence[Sentence], answerer: str, budget: int, costs: TokenCosts
) -> tuple[tuple[GistLine, ...], int]:
    """The best sentences that fit, in the order of the dialogue; and the cost of the gist, 0 where nothing fits."""
    around, roles = costs.gist_cost(), {answerer: ASSISTANT, "": ""}
    gist_lines = (GistLine(roles.get(line.speaker, USER), line.text, line.turn, line.sources) for line in ranked)
    lines, cost = pack_ranked(gist_lines, costs.line_cost, budget - around)
    if not lines:
        return (), 0
    return tuple(sorted(lines, key=lambda line: line.turn)), around + cost
