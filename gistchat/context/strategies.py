"""The context strategies: what the model sees before it answers, within a budget for all before the last turn.

To add one, write a function from a `Request` to a `Context` and give it an entry in `STRATEGIES`. Training, evaluation,
chat, reports, recipes and `--help` read that table; nothing else lists strategies.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gistchat.context.budget import as_roles, fit_gist, gist_part, pack_latest, without_share
from gistchat.context.found import ASKS, fit_found
from gistchat.context.types import SOURCE_NAMES, Context, GistLine, RoleTurn, Search, Sentence, Sources, TokenCosts
from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError


@dataclass(frozen=True)
class Request:
    """What a context is asked for: `answerer` answers `turns[-1]`, which is by another speaker."""

    turns: Sequence[Turn]
    answerer: str
    budget: int  # tokens for all before the last turn
    costs: TokenCosts
    sources: Sources
    summary_share: float = 0.34  # of the budget, for a summary beside verbatim turns
    max_turns: int = 0  # verbatim turns of `recent` and `full` at most, the last included; 0: as many as fit
    group: bool = False  # whether more than two speak, so that names tell them apart
    found_share: float = 0.4  # of the budget, for turns that are found beside a gist and verbatim turns

    def split(self, first: int = 0) -> tuple[list[RoleTurn], RoleTurn]:
        """The turns before the last, and the last, as the answerer sees them; from the turn `first` on."""
        *older, last = as_roles(self.turns[first:], self.answerer, first, self.group)
        return older, last

    def latest(self, tokens: int) -> tuple[tuple[RoleTurn, ...], RoleTurn, int]:
        """As many of the latest turns as fit, the last turn, and what the others cost.

        Looks at no more turns than it must: the work does not grow with the conversation.
        """
        seen = FEW
        while True:
            first = max(0, len(self.turns) - seen)
            older, last = self.split(first)
            kept, cost = pack_latest(older, self.costs.turn_cost, tokens)
            # The first one that is looked at may be joined with those before it.
            if first == 0 or len(kept) < len(older):
                return kept, last, cost
            seen *= 2

    def gist_tokens(self) -> int:
        """What of the budget is for a gist beside verbatim turns."""
        return gist_part(self.budget, self.summary_share, self.costs.gist_cost())

    def gist_lines(self, ranked: Sequence[Sentence], tokens: int) -> tuple[tuple[GistLine, ...], int]:
        """The best lines that fit so many tokens, and what they cost."""
        return fit_gist(ranked, self.answerer, tokens, self.costs, self.group)

    def found(
        self, search: Search, turns: Sequence[Turn], before: int, tokens: int
    ) -> tuple[tuple[GistLine, ...], int]:
        """Of the first `before` turns, those that the last turn asks for and that fit; and what they cost."""
        last = self.turns[-1]
        matches = search.find(last.text, before, last.speaker)
        return fit_found(last.text, matches, turns, search, self.answerer, tokens, self.costs, self.group)

    def found_or_latest(
        self, search: Search, before: int, tokens: int, gist: Sequence[GistLine]
    ) -> tuple[tuple[GistLine, ...], int]:
        """The same, and the latest of these turns in what they leave. Lines of the gist are not shown again.

        To who asks nothing, what was said last matters more: only the best turn is found for that.
        """
        last, known = self.turns[-1], {line.text for line in gist}
        found = search.find(last.text, before, last.speaker)
        matches = [match for match in found if self.turns[match.turn].text not in known]
        best = matches if ASKS.search(last.text) else matches[:1]
        return fit_found(
            last.text, best, self.turns, search, self.answerer, tokens, self.costs, self.group, before, known
        )


@dataclass(frozen=True)
class Strategy:
    """An entry of the table."""

    name: str
    build: Callable[[Request], Context]
    help: str  # one line for `--help` and the documents
    reads: tuple[str, ...] = ()  # fields of `Sources`; where one is not given, building a context raises
    keeps_facts: bool = False  # whether what speakers said of themselves has a part of the rolling gist
    budgeted: bool = True  # whether the recipe's budget holds for it; otherwise a context may fill the model's limit
    in_chat: bool = True  # whether a chat offers it
    evaluated_by_default: bool = True  # whether an evaluation scores it unless the recipe says otherwise
    control_of: str = ""  # the strategy that it is a control of: what it shows instead should serve worse
    marker: str = "v"  # how plots draw it, as matplotlib writes markers and line styles
    line: str = "-"

    @property
    def has_gist(self) -> bool:
        """Whether it shows a summary that stands for older turns."""
        return bool(set(self.reads) - SEARCHES)

    @property
    def rolls(self) -> bool:
        """Whether it shows the gist of a rolling memory."""
        return "rolling_gist" in self.reads

    @property
    def searches(self) -> bool:
        """Whether it shows turns that the last one asks for."""
        return not SEARCHES.isdisjoint(self.reads)


FEW = 16  # turns
SEARCHES = {"search", "other_search"}  # sources that turns are found in


def _last(request: Request) -> Context:
    return Context((), (), request.split()[1], 0, 0)


def _recent(request: Request) -> Context:
    kept, last, cost = request.latest(request.budget)
    if request.max_turns and len(kept) >= request.max_turns:
        kept = kept[len(kept) - request.max_turns + 1 :]
        cost = sum(map(request.costs.turn_cost, kept))
    return Context((), kept, last, _boundary(kept, last), cost)


def _summary(source: str) -> Callable[[Request], Context]:
    """A summary from one of the sources, and the last turn."""

    def build(request: Request) -> Context:
        _, last = request.split()
        ranked = getattr(request.sources, source)(last.first)
        lines, cost = request.gist_lines(ranked, request.budget)
        return Context(lines, (), last, last.first, cost)

    return build


def _hybrid(request: Request) -> Context:
    older, last = request.split()
    costs, budget, summary = request.costs, request.budget, request.sources.summary
    kept, cost = pack_latest(older, costs.turn_cost, budget)
    if len(kept) == len(older) and not summary(0):  # everything fits, and nothing was written by hand
        return Context((), kept, last, 0, cost)
    _, by_hand = request.gist_lines(summary(0), budget)
    kept, cost = pack_latest(older, costs.turn_cost, budget - max(request.gist_tokens(), by_hand))
    boundary = _boundary(kept, last)
    # Turns are kept whole, so some of their share is left over; the summary gets it.
    lines, gist_cost = request.gist_lines(summary(boundary), budget - cost)
    return Context(lines, kept, last, boundary, cost + gist_cost)


def _rolling(request: Request) -> Context:
    """Looks at no turn before the gist's end, so the work does not grow with the conversation."""
    answered = len(request.turns) - 1  # where the turns that are answered begin
    while answered and request.turns[answered - 1].speaker != request.answerer:
        answered -= 1
    gist = request.sources.rolling_gist(answered)
    older, last = request.split(gist.end)
    # All lines that are held: the memory keeps them within their part of the budget (`RollingMemory`), so that the
    # prompt begins with the same tokens until the next summary, and the model's cache of them stays good.
    lines, gist_cost = request.gist_lines(gist.sentences, request.budget)
    part = max(request.gist_tokens(), gist_cost) if lines else 0
    kept, cost = pack_latest(older, request.costs.turn_cost, request.budget - part)
    return Context(lines, kept, last, _boundary(kept, last), cost + gist_cost)


def _retrieval(request: Request) -> Context:
    """Turns that are found come first; the latest ones get what these leave."""
    search, turns = request.sources.search, request.turns
    found, cost = request.found(search, turns, len(turns) - 1, request.budget)
    context = _with_latest(request, found, cost)
    if found and found[-1].turn >= context.boundary:  # they are among the latest anyway
        latest = context.tokens - cost
        found, cost = request.found(search, turns, context.boundary, request.budget - latest)
        context = dataclasses.replace(context, found=found, tokens=latest + cost)
    return context


def _shuffled_retrieval(request: Request) -> Context:
    """Of another dialogue, as many turns as were said in this one are searched."""
    other = request.sources.other_search
    before = min(len(request.turns) - 1, len(other.turns))
    return _with_latest(request, *request.found(other.search, other.turns, before, request.budget))


def _with_latest(request: Request, found: tuple[GistLine, ...], found_cost: int) -> Context:
    kept, last, cost = request.latest(request.budget - found_cost)
    return Context((), kept, last, _boundary(kept, last), cost + found_cost, found=found)


def _memory(request: Request) -> Context:
    """Gist and latest turns leave a share for what is found, which also gets whatever else they leave.

    All before the last turn stays as it is until the next summary; what is found stands in the last turn.
    """
    rolled = _rolling(dataclasses.replace(request, budget=without_share(request.budget, request.found_share)))
    tokens = request.budget - rolled.tokens
    found, cost = request.found_or_latest(request.sources.search, rolled.boundary, tokens, rolled.lines)
    return dataclasses.replace(rolled, found=found, tokens=rolled.tokens + cost)


def _boundary(kept: Sequence[RoleTurn], last: RoleTurn) -> int:
    return kept[0].first if kept else last.first


_ENTRIES = (
    Strategy("last", _last, "the last turn alone", budgeted=False, line=":"),
    Strategy("recent", _recent, "the latest turns that fit, word for word", marker="o"),
    Strategy("full", _recent, "the whole history, up to the model's limit", budgeted=False, marker="P", line="--"),
    Strategy(
        "summary", _summary("summary"), "a summary of everything before the last turn", reads=("summary",), marker="s"
    ),
    Strategy(
        "hybrid", _hybrid, "the latest turns and a summary of those before", reads=("summary",), marker="D", line="--"
    ),
    Strategy(
        "shuffled",
        _summary("other_summary"),
        "control: another dialogue's summary",
        reads=("other_summary",),
        in_chat=False,
        control_of="summary",
        marker="X",
        line="-.",
    ),
    Strategy(
        "rolling",
        _rolling,
        "the turns since the last summary, and a gist that is made from the gist before it",
        reads=("rolling_gist",),
        evaluated_by_default=False,
        marker="^",
        line=":",
    ),
    Strategy(
        "retrieval",
        _retrieval,
        "the turns that the last one asks for, and the latest turns in what these leave",
        reads=("search",),
        evaluated_by_default=False,
        marker="p",
        line="--",
    ),
    Strategy(
        "memory",
        _memory,
        "pinned lines, standing facts and a gist, the turns that the last one asks for, and the latest turns",
        reads=("rolling_gist", "search"),
        keeps_facts=True,
        evaluated_by_default=False,
        marker="h",
    ),
    Strategy(
        "shuffled-retrieval",
        _shuffled_retrieval,
        "control: turns of another dialogue that are found in the same way",
        reads=("other_search",),
        in_chat=False,
        evaluated_by_default=False,
        control_of="retrieval",
        marker="x",
        line="-.",
    ),
    Strategy(
        "gold",
        _summary("gold_summary"),
        "the corpus's own summary or personas: an upper bound",
        reads=("gold_summary",),
        in_chat=False,
        evaluated_by_default=False,
        marker="*",
        line=":",
    ),
)
STRATEGIES = {strategy.name: strategy for strategy in _ENTRIES}


# Files of predictions may hold strategies that this version does not know: these are no controls and show nothing made.


def is_control(name: str) -> bool:
    """Whether a strategy is there to compare with only."""
    return name in STRATEGIES and bool(STRATEGIES[name].control_of)


def shows_summary(name: str) -> bool:
    """Whether summaries have to be made for it; the corpus's own are there already."""
    return name in STRATEGIES and bool(set(STRATEGIES[name].reads) - {"gold_summary"} - SEARCHES)


def controls_of(name: str) -> list[str]:
    return [strategy.name for strategy in STRATEGIES.values() if strategy.control_of == name]


def build_context(name: str, request: Request) -> Context:
    """The context that a strategy makes.

    Raises:
        UserError: an unknown strategy, or one that reads what `request.sources` does not give.
    """
    if name not in STRATEGIES:
        raise UserError(f"unknown context strategy {name!r}; there are: {', '.join(STRATEGIES)}")
    strategy = STRATEGIES[name]
    for source in strategy.reads:
        if getattr(request.sources, source, None) is None:
            raise UserError(f"the strategy {name!r} reads {SOURCE_NAMES.get(source, source)}, which nothing gives here")
    return dataclasses.replace(strategy.build(request), strategy=name)
