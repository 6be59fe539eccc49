"""Turns that a search found, as lines of a context: the best that fit, oldest first."""

from collections.abc import Iterable, Sequence

from gistchat.context.budget import gist_line
from gistchat.context.types import GistLine, Match, Search, Sentence, TokenCosts
from gistchat.dialogue.turns import Turn

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
        self.lines: list[GistLine] = []

    def fill(self, asked: str, matches: Sequence[Match], turns: Sequence[Turn], search: Search) -> None:
        """Take what fits of the turns that were found."""
        left = [match.turn for match in sorted(matches, key=lambda match: -_worth(match, turns[match.turn].text))]
        if left and not self._take(left[0], turns[left[0]].speaker, [turns[left[0]].text]):
            self._take_sentence(asked, left[0], turns, search)
        passed_over = [turn for turn in left[1:] if not self._take(turn, turns[turn].speaker, [turns[turn].text])]
        for turn in passed_over:
            self._take_sentence(asked, turn, turns, search)

    def _take_sentence(self, asked: str, turn: int, turns: Sequence[Turn], search: Search) -> None:
        if self.room >= LEAST_LINE:
            self._take(turn, turns[turn].speaker, search.sentences(asked, turns[turn]))

    def _take(self, turn: int, speaker: str, texts: Iterable[str]) -> bool:
        """The first of these texts that fits."""
        for text in texts:
            # A word takes a token or more, so most that do not fit need not be counted.
            if self.room < LEAST_LINE or text.count(" ") > self.room:
                continue
            line = gist_line(Sentence(turn, speaker, text), self.answerer, self.group)
            if (cost := self.costs.line_cost(line)) <= self.room:
                self.lines.append(line)
                self.room -= cost
                return True
        return False


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
) -> tuple[tuple[GistLine, ...], int]:
    """The best of the turns that a text asks for, oldest first; and what they cost, 0 where nothing fits."""
    found = FoundLines(answerer, costs, tokens, group)
    found.fill(asked, matches, turns, search)
    if not found.lines:
        return (), 0
    return tuple(sorted(found.lines, key=lambda line: line.turn)), tokens - found.room
