"""Turns that a search found, as lines of a context: the best that fit, oldest first."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import regex

from gistchat.context.budget import gist_line
from gistchat.context.types import GistLine, Match, Search, Sentence, TokenCosts
from gistchat.dialogue.turns import Turn

# What asks for a time, so that dates are worth their tokens.
ASKS_WHEN = regex.compile(
    r"\b(?:when|(?:what|which) (?:date|day|month|year|time)|how (?:long|many (?:days|weeks|months|years))|how old"
    r"|wann|quand|cu[áa]ndo|quando|wanneer|kiedy|когда|متى)\b|いつ|什么时候|什麼時候|언제|เมื่อไหร่",
    regex.IGNORECASE,
)
ASKS = regex.compile("[?？؟՞፧]")  # what marks a question, in any script
LEAST_LINE = 4  # tokens: a shorter line says nothing
LONG = 45  # words of a turn: a longer one takes the room of several, so it has to match better
LONGER = 0.4  # how much better: by its length, to this power


class FoundLines:
    """Lines under a budget: whole turns first, best first; then, of turns that are too long, the sentence that matches.

    The best turn of all is shown in any case, if only by a sentence of it.
    """

    def __init__(self, answerer: str, costs: TokenCosts, tokens: int, group: bool) -> None:
        self.answerer, self.costs, self.group = answerer, costs, group
        self.room = tokens - costs.found_cost()
        self.lines: list[GistLine] = []  # best first

    def fill(self, asked: str, matches: Sequence[Match], turns: Sequence[Turn], search: Search) -> None:
        """Take what fits of the turns that were found."""
        left = [match.turn for match in sorted(matches, key=lambda match: -_worth(match, turns[match.turn].text))]
        dated = bool(ASKS_WHEN.search(asked))
        if left and not self._take(left[0], turns[left[0]], [turns[left[0]].text], dated):
            self._take_sentence(asked, left[0], turns, search, dated)
        passed_over = [turn for turn in left[1:] if not self._take(turn, turns[turn], [turns[turn].text])]
        for turn in passed_over:
            self._take_sentence(asked, turn, turns, search)
        if dated:
            self._add_dates(turns)

    def fill_latest(self, turns: Sequence[Turn], before: int, known: Collection[str]) -> None:
        """Take the latest of the first `before` turns, one before the other, as long as they fit."""
        taken = {line.turn for line in self.lines}
        for number in range(before - 1, -1, -1):
            if number in taken or turns[number].text in known:
                continue
            if not self._take(number, turns[number], [turns[number].text]):
                return

    def _take_sentence(self, asked: str, turn: int, turns: Sequence[Turn], search: Search, dated: bool = False) -> None:
        if self.room >= LEAST_LINE:
            self._take(turn, turns[turn], search.sentences(asked, turns[turn]), dated)

    def _take(self, number: int, turn: Turn, texts: Iterable[str], dated: bool = False) -> bool:
        """The first of these texts of a turn that fits."""
        for text in texts:
            # A word takes a token or more, so most that do not fit need not be counted.
            if self.room < LEAST_LINE or text.count(" ") > self.room:
                continue
            line = gist_line(Sentence(number, turn.speaker, text), self.answerer, self.group)
            line = replace(line, date=turn.date if dated else "")
            if (cost := self.costs.line_cost(line)) <= self.room:
                self.lines.append(line)
                self.room -= cost
                return True
        return False

    def _add_dates(self, turns: Sequence[Turn]) -> None:
        """The best line has its date, which is what is asked for; others get theirs while there is room."""
        for place, line in enumerate(self.lines):
            dated = replace(line, date=turns[line.turn].date)
            if (more := self.costs.line_cost(dated) - self.costs.line_cost(line)) <= self.room:
                self.lines[place] = dated
                self.room -= more


def _worth(match: Match, text: str) -> float:
    """Its score, less for a long turn; at most 0 is as good as an average turn, and stays where it is."""
    return match.score * max(1.0, (text.count(" ") + 1) / LONG) ** -LONGER if match.score > 0 else match.score


def fit_found(
    asked: str,
    matches: Sequence[Match],
    turns: Sequence[Turn],
    search: Search,
    answerer: str,
    tokens: int,
    costs: TokenCosts,
    group: bool,
    latest: int = 0,
    known: Collection[str] = (),
) -> tuple[tuple[GistLine, ...], int]:
    """The best of the turns that a text asks for, oldest first; and what they cost, 0 where nothing fits.

    Args:
        latest: what they leave gets the latest of so many first turns, but for those whose texts are `known`.
    """
    found = FoundLines(answerer, costs, tokens, group)
    found.fill(asked, matches, turns, search)
    found.fill_latest(turns, latest, known)
    if not found.lines:
        return (), 0
    return tuple(sorted(found.lines, key=lambda line: line.turn)), tokens - found.room
