"""Standing facts: what speakers say about themselves that holds for longer, and what they want of each other.

They are found by rules (`fact_rules/`), clause by clause, and kept in the speaker's own words with their turn. A newer
one ends the older of the same speaker where only one can hold at a time.
"""

import bisect
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from gistchat.context.types import MOST as MOST_TURNS
from gistchat.context.types import Sentence
from gistchat.dialogue.turns import Turn
from gistchat.memory.sentences import whole_sentences
from gistchat.memory.turn_index import terms

MOST = 100  # facts that are held at a time
LONGEST_TURN = 10_000  # letters that are looked at: nobody tells more about themselves in a turn
LONGEST_FACT = 20  # words

# Which come first where not all fit: what a reply has to keep to, then who somebody is, then what they like.
_RANKS = {"instruction": 0, "name": 0, "favourite": 2, "likes": 2, "hobby": 2, "preference": 2, "never": 2}


@dataclass(frozen=True)
class Fact:
    """A standing fact about a speaker.

    Attributes:
        turn: the index of the turn that told it.
        kind: such as "home" or "instruction".
        text: the speaker's own words.
        key: what holds one value at a time; empty where facts of the kind are collected.
        until: the index of the turn that ended it; None while it holds.
    """

    turn: int
    speaker: str
    kind: str
    text: str
    key: str = ""
    until: int | None = None

    @property
    def rank(self) -> int:
        """Facts of lower ranks come first where not all fit."""
        return _RANKS.get(self.kind, 1)

    @property
    def line(self) -> Sentence:
        """As a line of a gist."""
        return Sentence(self.turn, self.speaker, self.text)


class Ending(NamedTuple):
    """What somebody says that holds no longer: facts of some kinds; of these, where words are given, those that hold
    at least half of them."""

    kinds: Collection[str]
    words: frozenset[str]

    def ends(self, fact: Fact) -> bool:
        shared = len(self.words.intersection(terms(fact.text)))
        return fact.kind in self.kinds and 2 * shared >= len(self.words)


class _Rule(NamedTuple):
    kind: str  # or kinds with commas between them, of what ends facts
    key: str  # with names of the pattern's groups in braces
    pattern: re.Pattern[str]


def _read_rules() -> tuple[list[_Rule], list[_Rule]]:
    """What says a fact, and what ends one; the files' first lines say how they are written."""
    rules: list[_Rule] = []
    endings: list[_Rule] = []
    for file in sorted(Path(__file__).with_name("fact_rules").glob("*.txt")):
        parts: dict[str, str] = {}
        for line in file.read_text(encoding="utf-8").splitlines():
            if not line or line.startswith("#"):
                continue
            kind, key, pattern = line.split(" ", 2)
            pattern = re.sub("<([A-Z_]+)>", lambda name, parts=parts: parts[name[1]], pattern)
            if key == "=":
                parts[kind] = pattern
            elif kind == "ends":
                endings.append(_Rule(key, "", re.compile(pattern, re.IGNORECASE)))
            else:
                rules.append(_Rule(kind, key.strip("-"), re.compile(pattern, re.IGNORECASE)))
    return rules, endings


_RULES, _ENDINGS = _read_rules()
# A turn with none of these words tells nothing.
_MAY_TELL = re.compile(
    r"\b(?:i|i['’]?(?:m|ve)|my|we|me|our|please|pls|always|never|stop|don['’]?t|answer|reply|respond|write|speak|talk|chat"
    r"|text|favou?rites?)\b",
    re.IGNORECASE,
)
# Where a sentence is cut into clauses: before one that begins with a subject of its own, or with an imperative.
_SUBJECT = (
    r"(?:i|i['’]?m|i['’]?ve|my|me|we|we['’]?re|our|please|always|never|don['’]?t|call|what|how|do|does|it|it['’]?s|that"
    r"|that['’]?s|this|there|he|she|they|you|your|which|who|where|when|have|are|is|can|could|would|if)\b"
)
_CUT = re.compile(
    rf"(?:[;(—…]|:\s|\s[-–—]{{1,3}}\s|\.\.+"
    rf"|,?\s(?:and|but|so|because|cause|cuz|though|although|while|plus|since|as)\s(?={_SUBJECT})|,\s?(?={_SUBJECT}))",
    re.IGNORECASE,
)
# Words before the clause itself, which say nothing.
_LEAD = re.compile(
    r"(?:(?:well|oh+|ooh+|ah+|aw+|yeah|yea|yes|yep|yup|no|nope|nah|hi|hey|hello|hiya|so|and|but|also|plus|actually"
    r"|honestly|personally|currently|now|btw|by the way|lol|haha\w*|ok|okay|sure|because|cause|cuz|since|as|though"
    r"|although|while|in fact|anyways?|right now|for me|me too|same here|unfortunately|sadly|luckily|fortunately"
    r"|thankfully|too|wow|nice|cool|great|awesome|thanks|thank you|true|hm+|um+|uh+|just|fyi|ps|for the record"
    r"|(?:please )?(?:remember|keep in mind|note)(?: that)?|(?:just )?so you know|you should know(?: that)?"
    r"|i (?:should|must|have to) (?:say|mention|admit)(?: that)?|to be honest|tbh|as for me|these days|nowadays"
    r"|unlike you|like you|as you know|in general|mostly|usually|sometimes)\b[\s,.!:]*)*",
    re.IGNORECASE,
)
# Before a clause, in its sentence: what is only supposed, or told of somebody else.
_NOT_MEANT = re.compile(
    r"\b(?:if|unless|wish(?:ed)?|imagin(?:e|ing)|pretend(?:ing)?|suppos(?:e|ing)|as though|let['’]s say|said|says"
    r"|saying|told|asked|sings?|sang|wrote|replied|lyrics?|quote|character)\b",
    re.IGNORECASE,
)
# In a clause: it holds for a day.
_FOR_NOW = re.compile(
    r"\b(?:today|tonight|tomorrow|yesterday|this (?:morning|evening|afternoon|week|weekend)|last (?:night|week|weekend)"
    r"|right now|at the moment|for now|would|could|used to)\b",
    re.IGNORECASE,
)
_BY_THE_DAY = {"likes", "preference", "hobby", "work", "health", "pet", "family", "lacks"}
_OPENING, _CLOSING = "“«„", "”»"
_QUOTED = re.compile(r"[\"“”«»„]")


def find_facts(number: int, turn: Turn) -> list[Fact]:
    """The standing facts that a turn of this index tells, in their order; each text once."""
    return [replace(fact, turn=number, speaker=turn.speaker) for fact in _told(turn.text[:LONGEST_TURN])[0]]


def find_endings(turn: Turn) -> list[Ending]:
    """What a turn says that holds no longer."""
    return list(_told(turn.text[:LONGEST_TURN])[1])


@lru_cache(maxsize=1000)
def _told(text: str) -> tuple[tuple[Fact, ...], tuple[Ending, ...]]:
    """Facts, of nobody's turn yet, and endings."""
    facts: dict[str, Fact] = {}
    endings: list[Ending] = []
    for clause, shown in _clauses(text):
        endings += _endings(clause)
        for rule in _RULES:
            if match := rule.pattern.match(clause):
                if rule.kind in _BY_THE_DAY and _FOR_NOW.search(clause):
                    continue
                facts.setdefault(shown, Fact(-1, "", rule.kind, shown, _key(rule, match)))
                break
    return tuple(facts.values()), tuple(endings)


def _endings(clause: str) -> Iterator[Ending]:
    for rule in _ENDINGS:
        if match := rule.pattern.match(clause):
            yield Ending(rule.kind.split(","), frozenset(terms(match.groupdict().get("what") or "")))


def _key(rule: _Rule, match: re.Match[str]) -> str:
    named = {name: " ".join(terms(value or "")) for name, value in match.groupdict().items()}
    key = rule.key.format(**named)
    return f"{rule.kind} {key}" if key else ""


def _clauses(text: str) -> Iterator[tuple[str, str]]:
    """The clauses that state something or ask for it, without what is quoted: as rules read them, and as they are
    shown."""
    if not _MAY_TELL.search(text):
        return
    quoted = False
    for sentence in whole_sentences(text):
        meant, place = True, 0
        for cut in [*_CUT.finditer(sentence), None]:
            end = cut.start() if cut else len(sentence)
            clause = sentence[place:end]
            asks = cut is None and sentence.rstrip(" \"')”").endswith("?")
            if meant and not quoted and not asks:
                shown = clause[_LEAD.match(clause).end() :].strip(" ,;:()")
                if " " in shown:
                    yield shown.replace("’", "'"), _shortened(shown)
            meant = meant and not _NOT_MEANT.search(clause)
            quoted = _in_quotes(sentence[place : cut.end() if cut else end], quoted)
            place = cut.end() if cut else end


def _in_quotes(text: str, quoted: bool) -> bool:
    """Whether one is in a quote after a text; `quoted`: whether one was before it."""
    for mark in _QUOTED.findall(text):
        quoted = not quoted if mark == '"' else mark in _OPENING
    return quoted


def _shortened(text: str) -> str:
    words = text.split()
    return text if len(words) <= LONGEST_FACT else " ".join(words[:LONGEST_FACT]).rstrip(",;:") + "…"


class StandingFacts:
    """The facts that the turns of a dialogue tell; it follows what is added, edited and taken back.

    What was known when k turns had been said knows nothing of those after them.
    """

    def __init__(self, turns: Sequence[Turn] = ()) -> None:
        self._dropped: frozenset[tuple[str, str]] = frozenset()
        self._turns: list[Turn] = []
        self._facts: list[Fact] = []  # all that were ever told, in the order of their turns
        self._held: list[int] = []  # the index of the turn up to which each of these is held; MOST_TURNS while it is
        self._holding: dict[tuple[str, str], int] = {}  # speaker and text -> place of a fact that is held
        self.follow(turns)

    def follow(self, turns: Sequence[Turn]) -> None:
        """Bring them in line with the dialogue's turns as they are now."""
        pairs = zip(self._turns, turns, strict=False)
        same = next((i for i, (mine, now) in enumerate(pairs) if mine != now), min(len(self._turns), len(turns)))
        if same < len(self._turns):
            self._cut(same)
        for turn in turns[same:]:
            self.add(turn)

    def drop(self, dropped: Collection[Sentence]) -> None:
        """Take these lines, told at whatever turn, for no facts, and no others: what they ended holds again."""
        identities = frozenset((line.speaker, line.text) for line in dropped)
        if self._dropped != identities:
            turns, self._dropped = list(self._turns), identities
            self._cut(0)
            self.follow(turns)

    def add(self, turn: Turn) -> None:
        """Take in what one more turn tells and ends."""
        number = len(self._turns)
        self._turns.append(turn)
        for ending in find_endings(turn):
            self._end(turn.speaker, ending.ends, number)
        for fact in find_facts(number, turn):
            identity = fact.speaker, fact.text
            if identity in self._dropped or identity in self._holding:
                continue
            if fact.key:
                self._end(fact.speaker, lambda other, key=fact.key: other.key == key, number)
            self._holding[identity] = len(self._facts)
            self._facts.append(fact)
            self._held.append(MOST_TURNS)
        while len(self._holding) > MOST:
            oldest = max(self._holding.values(), key=lambda place: (self._facts[place].rank, -place))
            self._let_go(oldest, number)

    def _end(self, speaker: str, ends: Callable[[Fact], bool], number: int) -> None:
        for place in list(self._holding.values()):
            if (fact := self._facts[place]).speaker == speaker and ends(fact):
                self._facts[place] = replace(fact, until=number)
                self._let_go(place, number)

    def _let_go(self, place: int, number: int) -> None:
        del self._holding[self._facts[place].speaker, self._facts[place].text]
        self._held[place] = number

    def _cut(self, length: int) -> None:
        """Forget all turns but the first so many."""
        told = self._told_by(length)
        del self._turns[length:], self._facts[told:], self._held[told:]
        for place, until in enumerate(self._held):
            if length <= until < MOST_TURNS:
                self._facts[place] = replace(self._facts[place], until=None)
                self._held[place] = MOST_TURNS
        held = [place for place, until in enumerate(self._held) if until == MOST_TURNS]
        self._holding = {(self._facts[place].speaker, self._facts[place].text): place for place in held}

    def _told_by(self, turns: int) -> int:
        """How many facts the first so many turns told."""
        return bisect.bisect_left(self._facts, turns, key=lambda fact: fact.turn)

    def known(self, end: int, said: int | None = None) -> list[Fact]:
        """What the first `end` turns told and was held when so many turns had been said (None: all of them).

        Those that a reply needs most come first, and the latest of these before older ones.
        """
        if said is None or said >= len(self._turns):
            places = sorted(self._holding.values())
        else:
            places = [place for place in range(self._told_by(said)) if self._held[place] >= said]
        facts = [self._facts[place] for place in reversed(places) if self._facts[place].turn < end]
        return sorted(facts, key=lambda fact: fact.rank)

    def of(self, line: Sentence) -> Fact | None:
        """The fact that a line states; None where it states none."""
        return next((fact for fact in reversed(self._facts) if fact.line == line), None)

    def ended(self) -> list[Fact]:
        """Those that hold no longer, in the order in which they ended."""
        return sorted((fact for fact in self._facts if fact.until is not None), key=lambda fact: fact.until or 0)
