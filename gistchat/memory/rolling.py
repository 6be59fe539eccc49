"""Memory that rolls: the latest turns word for word, and a gist of those before, made from the gist before that."""

import bisect
import contextlib
import functools
import hashlib
import itertools
import operator
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from gistchat.context.budget import LEAST_GIST, as_roles, best_lines, gist_line, pack_latest, pack_ranked
from gistchat.context.types import Gist, Sentence, TokenCosts, whole_number
from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError
from gistchat.memory.sentences import split_sentences
from gistchat.memory.standing_facts import Fact, StandingFacts
from gistchat.memory.summarizer import Job, Summarizer, Update

VERSIONS = 20  # earlier gists that are kept
LEFT_AFTER_REFRESH = 0.5  # of the window


@dataclass(frozen=True)
class Room:
    """How the tokens of a budget are divided between a gist and the turns that stay word for word."""

    budget: int
    gist: int  # of a gist beside turns, its heading included
    heading: int
    keeps_facts: bool = False  # whether standing facts have a part of the gist's

    def of_facts(self, pinned: int) -> int:
        """Tokens of standing facts beside pinned lines of so many tokens, which come out of the gist's: half of these.

        Where half is too little for any fact, they have all: a search finds what a summary would say, but not that
        somebody wants to be answered in German.
        """
        lines = max(0, self.gist - self.heading) if self.keeps_facts else 0
        return max(0, min(max(lines // 2, min(LEAST_GIST, lines)), self.by_hand() - pinned))

    def of_lines(self, by_hand: int) -> int:
        """Tokens of the gist's lines beside lines by hand of so many tokens, which take half of its room before turns
        give way."""
        lines = max(0, self.gist - self.heading)
        return min(max(lines - by_hand, min(LEAST_GIST, lines // 2)), self.of_all_lines() - by_hand)

    def of_all_lines(self) -> int:
        """Tokens of lines where no turn is left beside them."""
        return max(0, self.budget - self.heading)

    def by_hand(self) -> int:
        """Tokens of the lines by hand, at most."""
        return max(0, self.of_all_lines() - LEAST_GIST)

    def of_turns(self, lines: int) -> int:
        """Tokens of turns beside so many tokens of lines; more than that, and the oldest leave."""
        return max(0, self.budget - max(self.gist, self.heading + lines)) if lines else self.budget


class Costs(NamedTuple):
    """What pieces of a context cost in a prompt, in tokens."""

    turn: Callable[[Turn], int]
    line: Callable[[Sentence], int]  # of a gist
    heading: int  # around the lines of a gist


def prompt_costs(costs: TokenCosts, group: bool = False) -> Costs:
    """The costs in a prompt format's prompts, the same as the contexts' own: the most, whoever answers."""

    def turn(turn: Turn) -> int:
        return max(costs.turn_cost(as_roles([turn], answerer, 0, group)[0]) for answerer in (turn.speaker, ""))

    def line(line: Sentence) -> int:
        return max(costs.line_cost(gist_line(line, answerer, group)) for answerer in {line.speaker, ""})

    return Costs(turn, line, costs.gist_cost())


class Version(NamedTuple):
    """A gist, and what was done by hand beside it.

    Attributes:
        pinned: lines that stay word for word.
        dropped: lines that are no standing facts, though the rules say so.
        facts_from: the turn from which on standing facts are shown; an edited gist stands for those before.
    """

    gist: Gist
    pinned: tuple[Sentence, ...] = ()
    dropped: tuple[Sentence, ...] = ()
    facts_from: int = 0

    def to_dict(self) -> dict[str, Any]:
        lines = {name: [asdict(line) for line in getattr(self, name)] for name in ("pinned", "dropped")}
        return {"gist": asdict(self.gist), **lines, "facts_from": self.facts_from}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Version":
        """What `to_dict` gave, also before there were facts."""
        values = {"dropped": [], "facts_from": 0, **values}
        pinned, dropped = (tuple(map(Sentence.from_dict, values[name])) for name in ("pinned", "dropped"))
        return cls(Gist.from_dict(values["gist"]), pinned, dropped, whole_number(values, "facts_from"))


def facts_beside(
    version: Version, facts: StandingFacts, room: Room, costs: Costs, said: int | None = None
) -> tuple[list[Sentence], int]:
    """The standing facts of the turns that a gist stands for, in their part of its room; and the tokens for them.

    Facts of later turns are read in these. What pinned lines or lines of the gist say already is not said again. The
    tokens do not depend on the gist's lines, so that these can be made for what facts leave.

    Args:
        said: facts as they were known when so many turns had been said; None: when all had that `facts` knows.
    """
    known = [fact.line for fact in facts.known(version.gist.end, said) if fact.turn >= version.facts_from]
    known = [line for line in known if not _said_by(version.pinned, line)]
    _, pinned = pack_ranked(version.pinned, costs.line, room.of_all_lines())
    _, tokens = pack_ranked(known, costs.line, room.of_facts(pinned))
    known = [line for line in known if not _said_by(version.gist.sentences, line)]
    shown, _ = pack_ranked(known, costs.line, tokens)
    return sorted(shown, key=lambda line: line.turn), tokens


def _said_by(lines: Iterable[Sentence], fact: Sentence) -> bool:
    return any(line.turn == fact.turn and fact.text in line.text for line in lines)


class RollingMemory:
    """A gist, and the turns since its end. Work per turn does not grow with the dialogue; of memory, facts take more.

    The gist, pinned lines and facts included, is kept within the room that a prompt has for it, so that what is held is
    what the model reads.

    Attributes:
        gist: of turns 0..gist.end-1, without the pinned lines.
        window: the turns since, oldest first.
        pinned: lines that stay word for word.
        facts: what the speakers said of themselves that holds for longer, where the room is shared with them.
        dropped, facts_from: see `Version`.
        versions: earlier gists with what was done by hand, oldest first, at most `VERSIONS`.
    """

    def __init__(self, room: Room, costs: Costs, name: str) -> None:
        """`name` is the summarizer's, for the gist's record."""
        self.room, self.costs, self.name = room, costs, name
        self.gist = Gist(made_by=name)
        self.versions: deque[Version] = deque(maxlen=VERSIONS)
        self.pinned: tuple[Sentence, ...] = ()
        self.facts = StandingFacts()
        self.dropped: tuple[Sentence, ...] = ()
        self.facts_from = 0
        self.window: deque[Turn] = deque()
        self._costs: deque[int] = deque()
        self._total = 0

    @property
    def turns(self) -> int:
        """How many turns were seen."""
        return self.gist.end + len(self.window)

    def add(self, turn: Turn) -> None:
        if self.room.keeps_facts:
            self.facts.add(turn)
        self.window.append(turn)
        self._costs.append(self.costs.turn(turn))
        self._total += self._costs[-1]

    def cost(self, lines: Iterable[Sentence]) -> int:
        """Tokens of lines of a gist."""
        return sum(map(self.costs.line, lines))

    def overflow(self) -> Job | None:
        """What is to be summarised now; None while the window holds all, and the gist has its room."""
        beside, budget = self._division(self.gist.end)
        lines, leaving = self.cost(self.gist.sentences), 0
        if self._total > self.room.of_turns(beside + lines):
            costs = tuple(self._costs)
            high = self.room.of_turns(beside + budget)  # beside the gist that is about to be
            # The gap keeps the gist from changing at every turn.
            kept, _ = pack_latest(costs, int, int(high * LEFT_AFTER_REFRESH))
            # The latest exchange stays word for word where it fits: a reply answers what was just said.
            exchange, _ = pack_latest(costs[-2:], int, high)
            leaving = len(costs) - max(len(kept), len(exchange))
            _, budget = self._division(self.gist.end + leaving)
        elif lines <= budget:
            return None
        return Job(self.gist.sentences, tuple(self.window)[:leaving], self.gist.end, budget, self.costs.line)

    def _division(self, end: int) -> tuple[int, int]:
        """Tokens of pinned lines and facts beside a gist of so many turns, and those that are for its lines."""
        # Under another budget than they were pinned at, lines by hand may not fit; these are passed over.
        _, pinned = pack_ranked(self.pinned, self.costs.line, self.room.of_all_lines())
        gist = replace(self.gist, end=end)
        _, facts = facts_beside(self._now()._replace(gist=gist), self.facts, self.room, self.costs)
        return pinned + facts, max(0, self.room.of_lines(pinned) - facts)

    def accept(self, job: Job, update: Update) -> bool:
        """Replace the turns of a job by its summary; False, with nothing changed, where the summary came out empty
        though there is room for one."""
        lines = tuple(best_lines(update.sentences, job.cost, job.budget))
        if job.gist and not lines and job.budget >= LEAST_GIST:
            return False
        digest = functools.reduce(chained, job.turns, self.gist.digest)
        gist = Gist(lines, self.gist.end + len(job.turns), digest, made_by(self.name, update))
        left, costs = (deque(itertools.islice(part, len(job.turns), None)) for part in (self.window, self._costs))
        self.versions.append(self._now())
        # All at once, so that a Ctrl-C in the middle leaves nothing that does not belong together.
        self.gist, self.window, self._costs, self._total = gist, left, costs, sum(costs)
        return True

    def refresh(self, summarizer: Summarizer) -> str:
        """Summarise what no longer fits; returns why the extractive summarizer took over, if it did.

        Raises:
            UserError: the summarizer failed, or left nothing of the gist; the gist and the turns are as they were.
        """
        fell_back = ""
        while job := self.overflow():
            [update] = summarizer.update([job])
            fell_back = update.fell_back or fell_back
            if not self.accept(job, update):
                raise UserError("it would have been empty")
        return fell_back

    def current(self) -> Gist:
        """The gist with its pinned lines, which come first, and with facts, which come next."""
        return replace(self.gist, sentences=(*self.pinned, *self.shown_facts(), *self.gist.sentences))

    def shown_facts(self) -> list[Sentence]:
        """The standing facts that have room beside the gist, oldest first."""
        return facts_beside(self._now(), self.facts, self.room, self.costs)[0]

    def to_dict(self) -> dict[str, Any]:
        """The gist, what was done by hand and the earlier versions as plain values; the turns are the caller's."""
        versions = [version.to_dict() for version in self.versions]
        return {**self._now().to_dict(), "versions": versions}

    def restore(self, values: dict[str, Any]) -> None:
        """Take over what `to_dict` gave; `rewind` then brings the turns back.

        Raises KeyError, TypeError or ValueError where the values are not that.
        """
        now, *versions = map(Version.from_dict, (values, *values["versions"][-VERSIONS:]))
        self._take_over(now)
        self.versions.extend(versions)

    def use_room(self, room: Room, turns: Sequence[Turn]) -> None:
        """Go on with another room, in a dialogue of these turns, whose facts may not have been looked for yet."""
        self.room = room
        self._follow(turns[: self.turns])

    def keep_by_hand(self, pinned: Sequence[Sentence] = (), dropped: Sequence[Sentence] = ()) -> None:
        """Take over what was pinned and dropped in another memory of the same dialogue."""
        self._take_over(self._now()._replace(pinned=tuple(pinned), dropped=tuple(dropped)))

    def edit(self, text: str) -> None:
        """Replace the gist by a text, which stays word for word; later turns are summarised after it."""
        gist = Gist((), self.gist.end, self.gist.digest, "hand")
        self._replace(Version(gist, (Sentence(-1, "", text),), self.dropped, gist.end))

    def pin(self, line: Sentence) -> None:
        """Keep a line word for word: one of the gist, or a new one."""
        if line not in self.pinned:
            gist = self._gist_without(line)
            self._replace(self._now()._replace(gist=gist, pinned=(*self.pinned, line)))

    def unpin(self, number: int) -> Sentence:
        """Unpin a line, by its index; returns it."""
        line = self.pinned[number]
        self._replace(self._now()._replace(pinned=self.pinned[:number] + self.pinned[number + 1 :]))
        return line

    def drop(self, line: Sentence) -> bool:
        """Remove a line of the gist, pinned or not; the facts that it states do not come back. False: no such line."""
        current = self.current().sentences
        facts = tuple(fact.line for fact in self.facts.known(self.gist.end) if _said_by([line], fact.line))
        if line in current:
            pinned = tuple(other for other in self.pinned if other != line)
            dropped = (*self.dropped, *facts)
            self._replace(Version(self._gist_without(line), pinned, dropped, self.facts_from))
        return line in current

    def unshown_facts(self) -> list[Fact]:
        """Those that hold and are not beside the gist, as they have no room there or their turn is in the window."""
        current = self.current().sentences
        held = [fact for fact in self.facts.known(self.turns) if fact.turn >= self.facts_from]
        return [fact for fact in held if not _said_by(current, fact.line)] if self.room.keeps_facts else []

    def _gist_without(self, line: Sentence) -> Gist:
        return replace(self.gist, sentences=tuple(other for other in self.gist.sentences if other != line))

    def drop_source(self, turn: int) -> None:
        """Unpin the lines that come from a turn, and forget that they were dropped, in earlier versions, too."""

        def others(lines: tuple[Sentence, ...]) -> tuple[Sentence, ...]:
            return tuple(line for line in lines if turn not in (line.sources or (line.turn,)))

        def without(version: Version) -> Version:
            return version._replace(pinned=others(version.pinned), dropped=others(version.dropped))

        self._take_over(without(self._now()))
        self.versions = deque(map(without, self.versions), VERSIONS)

    def back_to(self, number: int, turns: Sequence[Turn]) -> None:
        """Go back to an earlier version, 1 being the latest, with what was pinned then; later ones are dropped.

        Of the whole dialogue's `turns`, those after the version's end are in the window again.
        """
        for _ in range(number):
            self._take_over(self.versions.pop())
        self._replay(turns)

    def rewind(self, turns: Sequence[Turn], summarizer: Summarizer | None = None) -> bool:
        """Go on from what the dialogue is now, after turns of it were edited or taken back.

        The latest version that covers only turns as they are now takes over; turns after it are in the window again.
        Returns whether the gist had to go, as it covered something that changed.

        Args:
            turns: the whole dialogue.
            summarizer: makes gists anew, step by step, of turns that do not fit into the window; without one, all stay
                in it until the next refresh.
        """
        digests = dict(enumerate(itertools.accumulate(turns, chained, initial="")))
        before = self.gist
        while not _covers(self.gist, digests):
            self.gist = self.versions.pop().gist if self.versions else Gist(made_by=self.name)
        changed = self.gist is not before
        # Of a file, an earlier version may cover other turns than the latest one does.
        self.versions = deque((version for version in self.versions if _covers(version.gist, digests)), VERSIONS)
        self._replay(turns, summarizer if changed else None)
        return changed

    def _replay(self, turns: Sequence[Turn], summarizer: Summarizer | None = None) -> None:
        self.window.clear()
        self._costs.clear()
        self._total = 0
        self.facts_from = min(self.facts_from, len(turns))
        self._follow(turns[: self.gist.end])
        for turn in turns[self.gist.end :]:
            self.add(turn)
            if summarizer:
                with contextlib.suppress(UserError):  # the turns stay in the window; the next refresh tries again
                    self.refresh(summarizer)

    def _follow(self, turns: Sequence[Turn]) -> None:
        """Look for facts in turns that nobody looked for them in yet."""
        if self.room.keeps_facts:
            self.facts.follow(turns)

    def _now(self) -> Version:
        return Version(self.gist, self.pinned, self.dropped, self.facts_from)

    def _take_over(self, version: Version) -> None:
        self.gist, self.pinned, self.dropped, self.facts_from = version
        self.facts.drop(self.dropped)

    def _replace(self, version: Version) -> None:
        self.versions.append(self._now())
        self._take_over(version)


def made_by(name: str, update: Update) -> str:
    """What made a gist, for its record, where the summarizer of that name was asked."""
    return f"textrank instead of {name}: {update.fell_back}" if update.fell_back else name


def _covers(gist: Gist, digests: dict[int, str]) -> bool:
    """Whether it is of the turns that have these digests, by their number."""
    return digests.get(gist.end) == gist.digest


def chained(digest: str, turn: Turn) -> str:
    """The digest of turns and one more: constant work, and no turn can change unnoticed."""
    return hashlib.sha256(f"{digest}\x1e{turn.speaker}\x1f{turn.text}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class GistHistory:
    """The gists that a dialogue's memory goes through: (turns that had been said, the gist from then on)."""

    gists: tuple[tuple[int, Gist], ...]

    def at(self, turns: int) -> Gist:
        """The gist as it was when so many turns had been said."""
        made = bisect.bisect_right(self.gists, turns, key=operator.itemgetter(0))
        return self.gists[made - 1][1] if made else Gist()

    def with_facts(self, facts: StandingFacts, room: Room, costs: Costs) -> Callable[[int], Gist]:
        """The same with the facts of the dialogue beside each gist, as they were known then."""

        def at(turns: int) -> Gist:
            gist = self.at(turns)
            shown, _ = facts_beside(Version(gist), facts, room, costs, turns)
            return replace(gist, sentences=(*shown, *gist.sentences))

        return at


def gist_and_since(gist: Gist, turns: Sequence[Turn]) -> list[Sentence]:
    """Sentences that may stand for `turns`, best first: the gist, then what was said since its end, latest first.

    The one answer to "what stands for these turns?" where a gist rolls, in training, evaluation and chat.
    """
    return [*gist.sentences, *reversed(split_sentences(turns[gist.end :], gist.end))]


def roll_dialogues(
    dialogues: Sequence[Sequence[Turn]], memories: Sequence[RollingMemory], summarizer: Summarizer
) -> tuple[list[GistHistory], list[str]]:
    """The gists that each dialogue's new memory goes through; and why the extractive summarizer took over, each time.

    The dialogues advance side by side, so that the summarizer gets as many jobs at once as there are dialogues. The
    last turn of a dialogue is never summarised.
    """
    gists: list[list[tuple[int, Gist]]] = [[] for _ in dialogues]
    fell_back: list[str] = []
    while jobs := {i: job for i, turns in enumerate(dialogues) if (job := _next_job(memories[i], turns))}:
        for (i, job), update in zip(jobs.items(), summarizer.update(list(jobs.values())), strict=True):
            if update.fell_back:
                fell_back.append(update.fell_back)
            if memories[i].accept(job, update):
                gists[i].append((memories[i].turns, memories[i].gist))
            else:
                memories[i].accept(job, Update(job.gist))  # nothing in these turns: the gist stays as it is
    return [GistHistory(tuple(history)) for history in gists], fell_back


def summarize_beginnings(
    dialogues: Sequence[Sequence[Job]], name: str, summarizer: Summarizer
) -> tuple[list[GistHistory], list[str]]:
    """A gist of every beginning of each dialogue, made of its turns alone; else the same as `roll_dialogues`.

    Args:
        dialogues: the jobs of each one's beginnings, of one turn, of two ...
        name: the summarizer's, for the gists' records.
    """
    updates = iter(summarizer.update([job for jobs in dialogues for job in jobs]))
    histories, fell_back = [], []
    for jobs in dialogues:
        gists, digest = [], ""
        for job in jobs:
            update, digest = next(updates), chained(digest, job.turns[-1])
            lines = tuple(best_lines(update.sentences, job.cost, job.budget))
            gists.append((len(job.turns), Gist(lines, len(job.turns), digest, made_by(name, update))))
            fell_back += [update.fell_back] if update.fell_back else []
        histories.append(GistHistory(tuple(gists)))
    return histories, fell_back


def _next_job(memory: RollingMemory, turns: Sequence[Turn]) -> Job | None:
    """Add turns to a memory until it has to summarise; None at the end of the dialogue."""
    while not (job := memory.overflow()) and memory.turns < len(turns) - 1:
        memory.add(turns[memory.turns])
    return job
