"""Packing under a token budget: the latest turns and the best lines that fit, a prompt within the limit."""

import bisect
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import regex

from gistchat.context.types import ASSISTANT, USER, Context, GistLine, RoleTurn, Sentence, TokenCosts
from gistchat.dialogue.turns import Turn

T = TypeVar("T")
LEAST_GIST = 12  # tokens that its lines need, so that they say anything
_WORD_ENDS = regex.compile(r"(?<=\S)(?=\s)")
_CHARACTER = regex.compile(r"\X")  # as people count them: with vowel signs, accents and joiners


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


def fit_limit(
    build: Callable[[int], Context],
    length: Callable[[Context], int],
    budget: int,
    limit: int,
    spent: Callable[[Context], int] = lambda context: context.tokens,
) -> Context:
    """The context of `build(budget)`, the budget lowered until `length`, its prompt's tokens, is `limit` or less.

    The last turn never gives way: where it alone exceeds the limit, so does the prompt of the context that comes back.

    Args:
        spent: tokens of all before the last turn, as the prompt has them; no more than the budget, either.
    """
    most = budget
    while True:
        context = build(budget)
        excess = max(length(context) - limit, spent(context) - most)
        if excess <= 0 or context.tokens == 0:
            return context
        budget = max(0, context.tokens - excess)


def as_roles(turns: Sequence[Turn], answerer: str, first: int = 0, group: bool = False) -> list[RoleTurn]:
    """Turns, counted from `first`, as the answerer sees them: their own, and all others'; those of one role in a row
    are joined. In a group of more than two, the others' begin with their names."""
    role_turns: list[RoleTurn] = []
    for by_answerer, run in itertools.groupby(turns, lambda turn: turn.speaker == answerer):
        texts = [f"{turn.speaker}: {turn.text}" if group and not by_answerer else turn.text for turn in run]
        role_turns.append(RoleTurn(ASSISTANT if by_answerer else USER, "\n".join(texts), first))
        first += len(texts)
    return role_turns


def gist_part(budget: int, share: float, heading: int) -> int:
    """Tokens of a budget that a gist beside verbatim turns may have, its heading included.

    Its share, but no less than its heading and a line take; nothing where the budget does not hold even these.
    """
    least = heading + LEAST_GIST
    return max(int(budget * share), least) if share and budget >= least else 0


def without_share(budget: int, share: float) -> int:
    """What of a budget is left beside a share of it."""
    return budget - int(budget * share)


def gist_line(sentence: Sentence, answerer: str, group: bool) -> GistLine:
    """A sentence of the gist as the answerer reads it."""
    role = {answerer: ASSISTANT, "": ""}.get(sentence.speaker, USER)
    name = sentence.speaker if group and role == USER else ""
    return GistLine(role, sentence.text, sentence.turn, sentence.sources, name)


def best_lines(ranked: Sequence[Sentence], cost: Callable[[Sentence], int], budget: int) -> list[Sentence]:
    """The best sentences that fit, best first; where none does, the beginning of the best that has one that fits."""
    chosen, _ = pack_ranked(ranked, cost, budget)
    return chosen or list(itertools.islice(_beginnings(ranked, cost, budget), 1))


def _beginnings(ranked: Sequence[Sentence], cost: Callable[[Sentence], int], budget: int) -> Iterator[Sentence]:
    for sentence in ranked:
        if text := _beginning(sentence.text, lambda text, whole=sentence: cost(replace(whole, text=text)) <= budget):
            yield replace(sentence, text=text)


def _beginning(text: str, fits: Callable[[str], bool]) -> str:
    """The longest beginning that fits, cut between words or, where not even one fits, between characters."""
    for pattern in (_WORD_ENDS, _CHARACTER):
        ends = [match.end() for match in pattern.finditer(text)]
        # Longer beginnings cost more but for a token here or there, so looking at the middle first finds the end.
        longest = bisect.bisect_left(ends, True, key=lambda end: not fits(text[:end].rstrip() + "…")) - 1
        if longest >= 0:
            return text[: ends[longest]].rstrip() + "…"
    return ""


def fit_gist(
    ranked: Sequence[Sentence], answerer: str, budget: int, costs: TokenCosts, group: bool = False
) -> tuple[tuple[GistLine, ...], int]:
    """The best lines that fit, in the order of the dialogue; and the cost of the gist, 0 where nothing fits."""

    def cost(sentence: Sentence) -> int:
        return costs.line_cost(gist_line(sentence, answerer, group))

    chosen = sorted(best_lines(ranked, cost, budget - costs.gist_cost()), key=lambda sentence: sentence.turn)
    if not chosen:
        return (), 0
    lines = tuple(gist_line(sentence, answerer, group) for sentence in chosen)
    return lines, costs.gist_cost() + sum(map(cost, chosen))
