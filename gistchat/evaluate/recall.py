"""How much of the evidence of questions about long conversations is in the prompt? Measured without any model.

Each question is asked at the end of its conversation. The context of every strategy at every budget is built as a chat
builds it, and the turns that hold the answer are looked for in it. Where a strategy searches, its ranking is measured,
too. Shares are means over questions of the share of a question's evidence, as LoCoMo defines it (arXiv 2402.17753).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

from gistchat import __version__
from gistchat.context.budget import as_roles, gist_line
from gistchat.context.strategies import STRATEGIES, Request, build_context
from gistchat.context.types import Context, Gist, Match, RoleTurn, Search, Sentence, Sources, TokenCosts
from gistchat.dialogue.turns import Turn, is_group
from gistchat.errors import UserError
from gistchat.evaluate.recall_files import Collection, Conversation, Question
from gistchat.evaluate.recall_rows import Results, Tally
from gistchat.limits import MOST_TOKENS
from gistchat.memory.factory import MemoryFactory, divide, make_index
from gistchat.memory.rolling import GistHistory, gist_and_since, prompt_costs
from gistchat.memory.sentences import split_sentences
from gistchat.memory.standing_facts import StandingFacts
from gistchat.memory.summarizers.extractive import METHODS, summarize
from gistchat.processes import batched
from gistchat.progress import progress, say
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.token_count import Count
from gistchat.prompts.wording import render_line
from gistchat.recipe.schema import ContextConfig, MemoryConfig, SummaryConfig

RANKS = (5, 10, 25, 50)  # k of R@k
GIVEN = {"summary", "rolling_gist", "search"}  # sources of a context that a conversation has by itself
ANSWERERS = ("assistant", "model")  # speakers that are no people
STRANGER = "Somebody"  # who asks about a conversation of people
ROLLED_TOGETHER = 4  # conversations, whose summaries a model writes at once
KEPT_RANKINGS, KEPT_SENTENCES = 64, 5000  # more than a question needs at all budgets


@dataclass(frozen=True)
class Plan:
    """What is measured, and how.

    Attributes:
        budgets: tokens before the question; strategies without a budget fill `limit` instead.
        costs: tokens of the pieces of a prompt; `count` is of texts.
        tokens_of: whose tokens these are.
    """

    strategies: Sequence[str]
    budgets: Sequence[int]
    context: ContextConfig
    summary: SummaryConfig
    costs: TokenCosts
    count: Count
    limit: int
    tokens_of: str
    resamples: int = 10_000
    memory: MemoryConfig = field(default_factory=MemoryConfig)

    def systems(self) -> list[tuple[str, int]]:
        """Strategies with their budgets."""
        full = self.context.full_limit or self.limit
        return [
            (name, budget)
            for name in self.strategies
            for budget in (self.budgets if STRATEGIES[name].budgeted else [full])
        ]


def check_plan(strategies: Sequence[str], budgets: Sequence[int]) -> None:
    """Raises UserError where a strategy is unknown, or reads more than a conversation gives, or a budget cannot be."""
    possible = [name for name, strategy in STRATEGIES.items() if GIVEN.issuperset(strategy.reads)]
    for name in strategies:
        if name not in possible:
            why = "reads what these conversations do not have" if name in STRATEGIES else "is no context strategy"
            raise UserError(f"--strategies: {name!r} {why}; there are: {', '.join(possible)}")
    for budget in budgets:
        if not 1 <= budget <= MOST_TOKENS:
            raise UserError(f"--budgets: {budget:,} is not between 1 and {MOST_TOKENS:,} tokens")
    for option, values in (("--strategies", strategies), ("--budgets", budgets)):
        if not values:
            raise UserError(f"{option}: give at least one")
        if twice := [value for value, count in Counter(values).items() if count > 1]:
            raise UserError(f"{option}: {twice[0]} is there twice")


def measure_recall(collection: Collection, plan: Plan, file: str) -> Results:
    """Ask every question, and look for its evidence.

    Args:
        file: the name of what was read.
    Raises:
        UserError: an impossible plan, or a summarizer that cannot be had.
    """
    check_plan(plan.strategies, plan.budgets)
    start = time.perf_counter()
    asked = [conversation for conversation in collection.conversations if conversation.questions]
    ends = [ConversationEnd(conversation, plan.memory) for conversation in asked]
    _encode_ahead(ends, plan.costs)
    histories = _roll(ends, plan)
    tally = Tally()
    with progress("recall: questions", collection.questions) as advance:
        for number, end in enumerate(ends):
            sources = _sources(end, number, plan, histories)
            for question in end.conversation.questions:
                tally.ask(number, question.category, question.answerable)
                _measure(end, question, sources, plan, tally)
                advance(1)
    searches = [seconds for end in ends for seconds in end.search.seconds]
    return Results(
        file=file,
        layout=collection.layout,
        conversations=len(ends),
        turns=sum(len(end.turns) for end in ends),
        questions=collection.questions,
        left_out=dict(sorted(collection.left_out.counts.items())),
        unknown_ids=len(collection.left_out.unknown_ids),
        tokens_of=plan.tokens_of,
        settings=_settings(plan),
        index_seconds=mean(end.index_seconds for end in ends),
        search_seconds=mean(searches),
        seconds=time.perf_counter() - start,
        rows=tally.rows(plan.resamples),
        version=__version__,
    )


def _settings(plan: Plan) -> dict[str, Any]:
    """What the figures depend on, without names of places on this machine."""
    context, summary, memory = plan.context, plan.summary, plan.memory
    return {
        "strategies": list(plan.strategies),
        "budgets": list(plan.budgets),
        "summary_share": context.summary_share,
        "found_share": context.found_share,
        "max_turns": context.max_turns,
        "full_limit": context.full_limit or plan.limit,
        "method": summary.method,
        "recency": summary.recency,
        "summary_model": _without_place(summary.model),
        "encoder": _without_place(memory.encoder),
        "encoder_weight": memory.encoder_weight,
        "reranker": _without_place(memory.reranker),
    }


def _without_place(model: str) -> str:
    return Path(model).name if Path(model).is_absolute() else model


class KeptSearch:
    """A search that is asked once: strategies and budgets share its answers.

    Attributes:
        seconds: of each search that was made among all turns, one a question.
    """

    def __init__(self, search: Search, turns: int) -> None:
        self.search, self.turns = search, turns
        self.seconds: list[float] = []
        self.find: Callable[[str, int, str], Sequence[Match]] = lru_cache(maxsize=KEPT_RANKINGS)(self._find)
        self.sentences: Callable[[str, Turn], Sequence[str]] = lru_cache(maxsize=KEPT_SENTENCES)(search.sentences)

    def _find(self, text: str, before: int, asker: str) -> Sequence[Match]:
        start = time.perf_counter()
        found = self.search.find(text, before, asker)
        if before == self.turns:
            self.seconds.append(time.perf_counter() - start)
        return found


class ConversationEnd:
    """A conversation at its end, where its questions are asked.

    In a chat with an assistant the user asks. Of people, somebody who is not one of them asks, and who spoke last
    answers, as in a chat of a group.
    """

    def __init__(self, conversation: Conversation, memory: MemoryConfig = MemoryConfig()) -> None:
        self.conversation, self.turns = conversation, conversation.turns
        self.asker, self.answerer = seats(self.turns)
        self.group = is_group(self.asked("?"))
        start = time.perf_counter()
        index = make_index(memory, self.turns)
        if memory.encoder:
            index.find("?", len(self.turns))  # vectors are made when they are first needed
        self.index_seconds = time.perf_counter() - start
        self.search = KeptSearch(index, len(self.turns))
        self._ends = _run_ends(self.turns, self.answerer)

    def asked(self, question: str) -> tuple[Turn, ...]:
        """The turns, and the question as the last one."""
        return (*self.turns, Turn(self.asker, question))

    def texts(self) -> Iterator[str]:
        """Of turns and lines, as prompts may hold them."""
        for number, turn in enumerate(self.turns):
            lines = [Sentence(number, turn.speaker, turn.text), *split_sentences([turn], number)]
            for answerer in ("", turn.speaker):
                yield as_roles([turn], answerer, number, self.group)[0].text
                yield from (render_line(gist_line(line, answerer, self.group)) for line in lines)

    def shown(self, context: Context, evidence: set[int]) -> tuple[set[int], set[int]]:
        """Of these turns, those whose whole text is in a context, and those of which any part is.

        A line of a gist or a found one tells which turns it comes from; a turn is also whole where several lines hold
        all of its text. Of a gist that a model wrote, the turns that a line was made from count as shown in part.
        """
        pieces: dict[int, list[str]] = {}
        for line in (*context.lines, *context.found):
            for turn in evidence.intersection(line.sources or (line.turn,)):
                pieces.setdefault(turn, []).append(line.text)
        for role_turn in (*context.turns, context.last):
            for turn in evidence.intersection(self._joined(role_turn)):
                if self.turns[turn].text in role_turn.text:
                    pieces.setdefault(turn, []).append(self.turns[turn].text)
        whole = {turn for turn, parts in pieces.items() if _is_all(self.turns[turn].text, parts)}
        return whole, set(pieces)

    def _joined(self, role_turn: RoleTurn) -> range:
        """The turns that stand in one of a role."""
        return range(role_turn.first, self._ends[role_turn.first] if role_turn.first < len(self.turns) else 0)


def seats(turns: Sequence[Turn]) -> tuple[str, str]:
    """Who asks about a conversation, and who answers."""
    speakers = {turn.speaker for turn in turns}
    machines = speakers.intersection(ANSWERERS)
    if len(speakers) == 2 and len(machines) == 1:
        return min(speakers - machines), min(machines)
    asker = STRANGER
    while asker in speakers:
        asker += "?"
    return asker, turns[-1].speaker


def _run_ends(turns: Sequence[Turn], answerer: str) -> list[int]:
    """For each turn, where the turns of its role end that are joined with it."""
    ends: list[int] = []
    for _, run in groupby(turns, lambda turn: turn.speaker == answerer):
        length = len(list(run))
        ends += [len(ends) + length] * length
    return ends


def _is_all(text: str, parts: Sequence[str]) -> bool:
    """Whether parts of a text are all of it, white space aside."""
    left = "".join(text.split())
    for part in sorted(parts, key=len, reverse=True):
        left = left.replace("".join(part.split()), "", 1)
    return not left


def _encode_ahead(ends: Sequence[ConversationEnd], costs: TokenCosts) -> None:
    """Every text is asked for again at each budget, more of them than a prompt format keeps by itself."""
    if isinstance(costs, PromptFormat):
        with progress("recall: tokens", len(ends)) as advance:
            for end in ends:
                costs.encode_ahead(list(dict.fromkeys(end.texts())))
                advance(1)


Histories = dict[tuple[int, bool, bool], list[GistHistory]]  # by budget, and what has a share of it: found turns, facts


def _roll(ends: Sequence[ConversationEnd], plan: Plan) -> Histories:
    """The gists that the conversations' memories go through, once for each budget and kind of room."""
    written = plan.summary.method not in METHODS  # such summaries are gists, too
    rooms = {
        (budget, STRATEGIES[name].searches, STRATEGIES[name].keeps_facts): None
        for name, budget in plan.systems()
        if STRATEGIES[name].rolls or (written and "summary" in STRATEGIES[name].reads)
    }
    histories: Histories = {room: [] for room in rooms}
    fell_back: Counter[str] = Counter()
    if not rooms:
        return histories
    with progress(f"recall: gists ({plan.summary.method})", len(rooms) * len(ends)) as advance:
        for (budget, searches, keeps_facts), made in histories.items():
            factory = MemoryFactory.of(plan.summary, replace(plan.context, budget=budget), plan.costs)
            for part in batched(ends, ROLLED_TOGETHER):
                gists, refused = factory.roll([end.asked("?") for end in part], searches, keeps_facts)
                made += gists
                fell_back.update(refused)
                advance(len(part))
    if fell_back:
        reasons = ", ".join(f"{count} {reason}" for reason, count in fell_back.most_common())
        say(f"recall: {fell_back.total()} summaries refused, extractive ones in their place ({reasons})")
    return histories


System = tuple[str, int]  # a strategy and its budget


def _sources(end: ConversationEnd, number: int, plan: Plan, histories: Histories) -> dict[System, Sources]:
    """What every strategy reads, of the conversation of that number."""

    @lru_cache
    def extracted(turns: int) -> list[Sentence]:
        summary, budget = plan.summary, max(plan.budgets)
        return summarize(end.turns[:turns], summary.method, budget, plan.count, summary.recency) if turns else []

    def with_facts(history: GistHistory, budget: int) -> Callable[[int], Gist]:
        costs = prompt_costs(plan.costs, end.group)
        room = divide(replace(plan.context, budget=budget), costs.heading, searches=True, keeps_facts=True)
        return history.with_facts(StandingFacts(end.turns), room, costs)

    def of_system(name: str, budget: int) -> Sources:
        strategy = STRATEGIES[name]
        room = budget, strategy.searches, strategy.keeps_facts
        history = histories[room][number] if room in histories else GistHistory(())
        given = {
            "summary": extracted
            if plan.summary.method in METHODS
            else lambda turns: gist_and_since(history.at(turns), end.turns[:turns]),
            "rolling_gist": with_facts(history, budget) if strategy.keeps_facts else history.at,
            "search": end.search,
        }
        return Sources(**{source: given[source] for source in strategy.reads})

    return {system: of_system(*system) for system in plan.systems()}


def _measure(
    end: ConversationEnd, question: Question, sources: dict[System, Sources], plan: Plan, tally: Tally
) -> None:
    """Build every context of a question, and rank the turns; what of the evidence is there is tallied."""
    evidence, turns, config = set(question.evidence), end.asked(question.text), plan.context
    ranked = [match.turn for match in end.search.find(question.text, len(end.turns), end.asker)]
    for (name, budget), given in sources.items():
        request = Request(
            turns,
            end.answerer,
            budget,
            plan.costs,
            given,
            config.summary_share,
            config.max_turns,
            end.group,
            config.found_share,
        )
        whole, part = end.shown(build_context(name, request), evidence)
        tally.add(name, "budget", budget, len(whole) / len(evidence), len(part) / len(evidence))
    for name in plan.strategies:
        for k in RANKS if STRATEGIES[name].searches else ():
            share = len(evidence.intersection(ranked[:k])) / len(evidence)
            tally.add(name, "rank", k, share, share)
