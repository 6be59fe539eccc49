"""Stamps: the date and the time before a message, as phones write them in every language.

The layout is learned from the first lines of a file, and only what has that layout is a stamp. Whether the day or the
month comes first, and which words mean the afternoon, all stamps of a file decide together.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, time
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from gistchat.corpora.calendars import Date, day_of, faults_of, order_of
from gistchat.corpora.noon import EVENING, KNOWN, MORNING, bare, means_noon, of_24_hours
from gistchat.errors import UserError

MARKS = "\u200e\u200f\u202a-\u202e\u2066-\u2069\u061c\ufeff"  # of direction, and others that nobody sees
FIRST_LINES = 300  # by which a layout is learned
LONGEST_WORDS = 30  # characters of a stamp beside its date and its time

_ANY_MARKS = f"[{MARKS}]*"
_MARK = re.compile(f"[{MARKS}]")
_SPACES = dict.fromkeys([0xA0, 0x202F, *range(0x2000, 0x200B)], " ")
# In brackets; before a dash; before a colon, as on iPhones until 2016.
_PLACES = (
    re.compile(r"(\[)([^\[\]]{8,45})(\])"),
    re.compile(r"()([^\[\]]{8,45}?)( ?[-–—] )"),
    re.compile(r"()(\S{6,10},? \d{1,2}[:.]\d\d(?:[:.]\d\d)?(?: ?[AaPp][Mm])?)(: )"),
)
_YEAR = r"[A-Z]?(?:\d{4}|\d{1,2})"  # or a day; a letter is an era of Japan
_DATE = re.compile(rf"(?<![:\d])({_YEAR})( ?[./ -] ?|[年년] ?)(\d{{1,2}})(?:\2|[月월] ?)({_YEAR})(?!\d)[日일]?")
_TIME = re.compile(r"(?<!\d)(\d{1,2}) ?[:.h時时시点點] ?(\d\d)(?: ?(?:[:.]|min|分) ?(\d\d))?(?!\d)")
_WORD = r"[^\W\d_](?:[^\s\d,،、;:/()\[\]-]|\s(?=[^\W\d_])){0,24}"
_TOKEN = re.compile(rf"[A-Z]?\d+|{_WORD}|\s+|.")
_DIRECTIVES = dict.fromkeys("dmHI", r"\d{1,2}") | dict.fromkeys("yMS", r"\d{2}") | dict.fromkeys("bBaA", r"\w+")
_DIRECTIVES |= {"Y": r"\d{4}", "f": r"\d+", "p": r"[AaPp][Mm]", "%": "%"}


class Stamp(NamedTuple):
    date: Date
    clock: time  # as it is written: `moments` adds the afternoon
    words: tuple[str, ...]  # beside the numbers, such as "PM"


# The stamp that a line begins with, and what stands behind it; None where it begins with none.
Reader = Callable[[str], tuple[Stamp | datetime, str] | None]
Noon = tuple[frozenset[str], frozenset[str]]  # words that mean the afternoon, and the morning


def layout_of(line: str) -> str:
    """The layout of the stamp that a line begins with, as a regular expression; empty where it begins with none."""
    start = _MARK.sub("", line[:90]).translate(_SPACES).lstrip()
    found = next((match for place in _PLACES if (match := place.match(start))), None)
    if not found:
        return ""
    head = "".join(str(int(char)) if char.isdecimal() else char for char in found[2])
    day = _DATE.search(head)
    clock = day and _TIME.search(head[: day.start()] + "|" * len(day[0]) + head[day.end() :])
    if not clock or int(clock[1]) > 24 or int(clock[2]) > 59 or int(clock[3] or 0) > 59:
        return ""
    first, second = sorted((day, clock), key=re.Match.start)
    before, between, after = head[: first.start()], head[first.end() : second.start()], head[second.end() :]
    beside = before + between + after
    if re.sub(_WORD, "", beside).strip(" ,،.、;") or len(beside) > LONGEST_WORDS:
        return ""
    if before.strip() and not found[1] and not means_noon(before):
        return ""  # "On 1/5/23, 21:15 - Ann wrote"
    numbers = {day: ("one", "two", "three"), clock: ("hour", "minute", "second")}
    parts = [(found[1], ()), (before, ()), (first[0], numbers[first]), (between, ())]
    parts += [(second[0], numbers[second]), (after, ()), (found[3], ())]
    return "".join(_pattern(*part, number) for number, part in enumerate(parts))


def _pattern(text: str, names: tuple[str, ...], place: int) -> str:
    """A piece of a stamp as a regular expression; without names for its numbers, its words may be any."""
    pattern, given = _ANY_MARKS, iter(names)
    for number, token in enumerate(_TOKEN.findall(text)):
        if token[-1].isdecimal():
            era = "[A-Z]" if token[0].isalpha() else ""
            pattern += rf"(?P<{next(given)}>{era}\d{{{'4' if len(token) == 4 else '1,2'}}})"
        elif token.isspace():
            pattern += rf"[\s{MARKS}]+"
        else:
            pattern += f"(?P<word{place}{number}>{_WORD})" if token[0].isalpha() and not names else re.escape(token)
        pattern += _ANY_MARKS
    return pattern


def learn_layout(lines: Iterable[str]) -> str:
    """The layout of the file's stamps: that of the first, or the commonest where the first is alone; else empty."""
    layouts = [layout for line in lines if (layout := layout_of(line))]
    counts = Counter(layouts)
    return "" if not layouts else layouts[0] if counts[layouts[0]] > 1 else counts.most_common(1)[0][0]


def is_in_brackets(layout: str) -> bool:
    """Whether the stamps are as on iPhones: "[31.12.23, 21:15:00] "."""
    return layout.removeprefix(_ANY_MARKS).startswith(re.escape("["))


def learned(layout: str) -> Reader:
    """Reads stamps of a layout that was learned."""
    pattern = re.compile(layout)
    # A word before the date is a day of the week, which says nothing of the time.
    weekday = "word1" if "(?P<one>" in layout.partition("(?P<hour>")[0] else "none"
    beside = [name for name in pattern.groupindex if name.startswith("word") and not name.startswith(weekday)]
    shared, time_at = cache(lambda *parts: parts), cache(time)  # a chat has many messages of few days

    def read(line: str) -> tuple[Stamp, str] | None:
        if not (found := pattern.match(line)):
            return None
        parts = found.groupdict()
        words = shared(*(parts[name] for name in beside))
        try:
            clock = time_at(int(parts["hour"]) % 24, int(parts["minute"]), int(parts.get("second") or 0))
        except ValueError:
            return None
        return Stamp(shared(parts["one"], parts["two"], parts["three"]), clock, words), line[found.end() :]

    return read


def given(stamp: str) -> Reader:
    """Reads stamps of a pattern as for `strptime`. Raises UserError for a pattern that is none."""
    stamp = stamp.translate(_SPACES)
    parts = re.split(r"%(.)", stamp)
    if len(parts) < 2 or any(part not in _DIRECTIVES for part in parts[1::2]):
        raise UserError(f"--stamp {stamp}: not a pattern such as '%d.%m.%Y, %H:%M - ' (day, month, year, hour, minute)")
    pattern = re.compile("".join(_DIRECTIVES[part] if i % 2 else re.escape(part) for i, part in enumerate(parts)))

    def read(line: str) -> tuple[datetime, str] | None:
        clean = re.sub(rf"^[\s{MARKS}]+", "", line.translate(_SPACES))
        if not (found := pattern.match(clean)):
            return None
        try:
            return datetime.strptime(found[0], stamp), clean[found.end() :]
        except ValueError:
            return None

    return read


def moments(stamps: list[Stamp | datetime]) -> Iterator[datetime | None]:
    """What the stamps of a file mean; None for a day that no calendar has."""
    written = [stamp for stamp in stamps if isinstance(stamp, Stamp)]
    order = order_of((stamp.date for stamp in written), _usually_month_first(written))
    noon = _noon(written)
    day = cache(lambda parts: day_of(parts, order))
    for stamp in stamps:
        if isinstance(stamp, Stamp):
            date, clock = day(stamp.date), of_24_hours(stamp.clock, stamp.words, *noon)
            yield datetime.combine(date, clock) if date else None
        else:
            yield stamp


def _noon(stamps: list[Stamp]) -> Noon:
    """The words that mean the afternoon, and those that mean the morning: those known, and others as they are used."""
    used = Counter(bare(word) for stamp in stamps for word in stamp.words)
    if len(used) < 2 or any(stamp.clock.hour > 12 for stamp in stamps):
        return EVENING, MORNING
    changing = [word for word, count in used.items() if count < len(stamps)]
    if len(changing) == 2 and not KNOWN.issuperset(changing):
        return _noon_of_two(stamps, *changing)
    unknown = [word for word, _ in used.most_common(4) if word not in KNOWN]
    choices = [(EVENING, MORNING), *((EVENING | {word}, MORNING) for word in unknown)]
    return min(choices, key=lambda noon: _falls(stamps, noon))


def _noon_of_two(stamps: list[Stamp], one: str, other: str) -> Noon:
    """Which of two words means the afternoon: what the other does not; with which hours rise; beside one to five."""
    choices = [(EVENING | {late}, MORNING | {early}) for late, early in ((one, other), (other, one))]
    fitting = [noon for noon in choices if noon[0].isdisjoint(MORNING) and noon[1].isdisjoint(EVENING)] or choices
    return min(fitting, key=lambda noon: (_falls(stamps, noon), _small_hours(stamps, noon)))


def _small_hours(stamps: list[Stamp], noon: Noon) -> int:
    """How many messages were sent when nearly everybody sleeps."""
    return sum(1 <= of_24_hours(stamp.clock, stamp.words, *noon).hour <= 5 for stamp in stamps)


def _falls(stamps: list[Stamp], noon: Noon) -> int:
    hours = [(stamp.date, of_24_hours(stamp.clock, stamp.words, *noon)) for stamp in stamps]
    return faults_of((one[1], two[1]) for one, two in pairwise(hours) if one[0] == two[0])


def _usually_month_first(stamps: list[Stamp]) -> bool:
    """As Americans write: "1/2/24, 9:15 PM", without a zero before the month."""
    if not stamps or len(stamps[0].date[2]) > 2 or stamps[0].words not in (("AM",), ("PM",)):
        return False
    return not any(part[0] == "0" for stamp in stamps for part in stamp.date[:2])
