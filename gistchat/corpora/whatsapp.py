"""Your own WhatsApp chats, as phones export them: "12/31/23, 9:15 PM - Ann: Hi" or "[31.12.23, 21:15:00] Ann: Hi".

Every language writes the date and the time in its own way, so the stamp is learned from the first lines; what follows
it up to the next is one message, with its empty lines. Whether the day or the month comes first, all dates decide.
Left out and counted: notices, media, deleted messages, polls, calls and places. Words beside media stay.
"""

import functools
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.dialogue.lines import strip, text_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn
from gistchat.dialogue.visible import has_text
from gistchat.errors import UserError

MARK = "\u200e"  # iOS begins with it whatever is WhatsApp's own
NOTICES, MEDIA, DELETED = "messenger's notices", "media without words", "deleted messages"
POLLS, OTHERS = "polls", "calls, places and other messages without words"
LONGEST_OWN = 300  # characters of what WhatsApp writes in place of media
FIRST_LINES = 300  # by which the stamp is learned

_DIRECTION = dict.fromkeys([0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x61C, 0xFEFF])
_SPACES = dict.fromkeys([0xA0, 0x202F, *range(0x2000, 0x200B)], " ")
_BRACKETS = re.compile(r"\[([^\[\]]{8,45})\][ ]?")
_DASH = re.compile(r"([^\[\]]{8,45}?) ?[-–—] ")
_COLON = re.compile(r"(\S{6,10},? \d{1,2}[:.]\d\d(?:[:.]\d\d)?(?: ?[AaPp][Mm])?): ")  # iPhones before 2016
_DATE = re.compile(r"(?<![:\d])([A-Z]?\d{1,4})[ ]?[./\-年 ][ ]?(\d{1,2})[ ]?[./\-月 ][ ]?([A-Z]?\d{1,4})(?!\d)日?")
_TIME = re.compile(r"(?<!\d)(\d{1,2}) ?[:.h時时시点點] ?(\d{2})(?:[:.](\d{2}))?(?!\d)")
_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|[\u0300-\u036f\u0900-\u0dff\u0e00-\u0e7f'’.]| (?=[^\W\d_]))*")
_REST = re.compile(r"[\s,،.、;|w]*")
_EVENINGS = (
    "pm μμ م 下午 午後 오후 晚上 中午 傍晚 ch chiều tối ös nm em du odp ip pp ptg pg md بعدازظهر بعدالظهر مساء مساءً"
    " अपराह्न หลังเที่ยง บ่าย пп сл popoldne noon вечера дня мп غم בערב אחהצ"
)
_MORNINGS = (
    "am πμ ص 上午 午前 오전 凌晨 早上 清晨 sa sáng öö vm fm de dop ap pd قبلازظهر صباحًا"
    " पूर्वाह्न ก่อนเที่ยง пр дп преди ночи утра קם לפנהצ قظ"
)
_AFTER_NOON, _BEFORE_NOON = set(_EVENINGS.split()), set(_MORNINGS.split())
_QUOTES = re.compile('["“”„«»「」『』]')
_FILE = re.compile(
    r"\S*(?:(?:IMG|VID|AUD|PTT|STK|DOC|GIF)-\d{8}-WA\d{4}|\d{8}-(?:PHOTO|VIDEO|AUDIO|GIF|STICKER|DOCUMENT)-[\d-]+)"
    r"\S*\.\w{2,5}"
    r"(?: \([^()]*\))?"
)
_IN_ANGLES = re.compile(r"<[^<>\n]{3,80}>")
_ATTACHED = re.compile(
    r"<[^<>:\n]{3,30}[:,]\s?[^<>\n]+\.\w{2,5}>"
)  # <attached: 00000012-PHOTO-2023-01-01-12-00-00.jpg>
_PLACE = re.compile(
    r"(?:[^\n:]{1,40}: ?)?https?://maps\.google\.com/\?q=\S+"
    r"|(?:[^\n]{1,100}\n){0,2}[^\n]{0,200}https?://(?:www\.)?foursquare\.com/v/\S+",
    re.I,
)
_OPTION = re.compile(r"([^\W\d_][^:：\n]{1,25})[:：].*[(（].*\d.*[)）]\s*")
_DOCUMENT = re.compile(r".*(?:\.\w{2,5}|• ?[^\n]*\d[^\n]*)")
_DIRECTIVES = dict.fromkeys("dmHI", r"\d{1,2}") | dict.fromkeys("yMS", r"\d{2}") | dict.fromkeys("bBaA", r"\w+")
_DIRECTIVES |= {"Y": r"\d{4}", "f": r"\d+", "p": r"[AaPp][Mm]", "%": "%"}


class Stamped(NamedTuple):
    """A line's stamp and what stands behind it."""

    layout: str  # the same for all stamps of a file
    date: tuple[str, str, str]
    time: time
    twelve: str  # the word that says before or after noon
    rest: str


class Message(NamedTuple):
    stamp: Stamped | datetime
    lines: list[str]  # without the stamp; direction marks are still there


def stamp_of(line: str) -> Stamped | None:
    """The stamp that a line begins with, in whatever layout."""
    kept = line.lstrip("\u200e\u200f\ufeff\u202a\u202b\u202c \t")
    start = kept[:80].translate(_SPACES)
    found = _BRACKETS.match(start) or _DASH.match(start) or _COLON.match(start)
    if not found:
        return None
    head = _ascii_digits(found[1].translate(_DIRECTION)).strip()
    day = _DATE.search(head)
    clock = day and _TIME.search(head[: day.start()] + "|" * len(day[0]) + head[day.end() :])
    if not day or not clock or int(clock[1]) > 24 or int(clock[2]) > 59 or int(clock[3] or 0) > 59:
        return None
    parts = sorted([(found.span(), _shape(found[0])) for found in (day, clock)])
    (one, _), (other, _) = parts
    between = [head[: one[0]], head[one[1] : other[0]], head[other[1] :]]
    words = [word.strip() for piece in between for word in _WORD.findall(piece)]
    between = [re.sub(r"\s+", " ", _WORD.sub("w", piece)) for piece in between]
    if sum(map(len, words)) > 24 or not all(map(_REST.fullmatch, between)):
        return None
    if "w" in between[0] and _bare(words[0]) not in _AFTER_NOON | _BEFORE_NOON:
        return None
    shape = found[0][0] if found[0][0] == "[" else found[0].rstrip()[-1]
    layout = f"{shape}{between[0]}{parts[0][1]}{between[1]}{parts[1][1]}{between[2]}"
    marks = [word for word in map(_bare, words) if word in _AFTER_NOON | _BEFORE_NOON]
    hour = int(clock[1]) % 24
    if marks and marks[0] in _AFTER_NOON:
        hour = hour + 12 if hour < 12 else hour
    elif marks:
        hour %= 12 if hour == 12 else 24
    twelve = next((word for word in words if _bare(word) in _AFTER_NOON | _BEFORE_NOON), "")
    rest = kept[found.end() :]
    return Stamped(layout, day.groups(), time(hour, int(clock[2]), int(clock[3] or 0)), twelve, rest)


def _shape(text: str) -> str:
    """A date or time with a 9 for each number, a year of four digits apart."""
    return re.sub(r"[A-Z]?\d+", lambda number: "9999" if len(number[0]) > 3 else "9", text)


def _bare(word: str) -> str:
    return re.sub(r"[.\s'’]", "", word).lower()


def _ascii_digits(text: str) -> str:
    return "".join(str(int(char)) if char.isdecimal() else char for char in text)


def learn_layout(lines: Iterable[str]) -> str:
    """The layout of the file's stamps: that of the first, or the commonest where the first is alone; else empty."""
    layouts = [stamp.layout for line in lines if (stamp := stamp_of(line))]
    counts = Counter(layouts)
    return "" if not layouts else layouts[0] if counts[layouts[0]] > 1 else counts.most_common(1)[0][0]


def refused(head: Head) -> str:
    """What to say of files of WhatsApp that cannot be read; empty for all else."""
    if head.path.suffix.startswith(".crypt"):
        return f"an encrypted backup of WhatsApp, which only WhatsApp can open; export the chat: {CORPUS.export}"
    return ""


def looks_like(head: Head) -> bool:
    lines = [line for line in head.lines[:FIRST_LINES] if line.strip()]
    layout = learn_layout(lines)
    if head.columns or not layout or not any(map(stamp_of, lines[:5])):
        return False
    stamped = [stamp for line in lines if (stamp := stamp_of(line)) and stamp.layout == layout]
    named = sum(":" in stamp.rest for stamp in stamped)
    # Discord's lines have a name and no words behind the stamp; a phone's notice has words.
    return named > 0 and (layout[0] != "[" or 3 * named >= len(stamped))


def read(path: Path, stamp: str = "") -> Iterator[ReadResult]:
    """The chat of a file as one dialogue.

    Args:
        stamp: how the stamp is written, where it cannot be learned: as for `strptime`, "%d.%m.%Y %H:%M - ".

    Raises:
        UserError: no line begins with a stamp.
    """
    if stamp:
        stamp_at = _given(stamp)
    else:
        layout = learn_layout(line for _, line in islice(text_lines(path), FIRST_LINES) if isinstance(line, str))
        stamp_at = _learned(layout)
    messages: list[Message] = []
    for _, line in text_lines(path, as_typed=True):
        if isinstance(line, Malformed):
            yield line
        elif found := stamp_at(line):
            messages.append(Message(found[0], [found[1]]))
        elif messages:
            messages[-1].lines.append(line)
    if not messages:
        problem = "does not begin its lines with a date and a time that WhatsApp is known to write"
        raise UserError(f"{path}: {problem}; say how they are written, as in --stamp '%d.%m.%Y, %H:%M - '")
    yield from _dialogue(path, messages)


def _learned(layout: str) -> Callable[[str], tuple[Stamped, str] | None]:
    def stamp_at(line: str) -> tuple[Stamped, str] | None:
        stamp = stamp_of(line)
        return (stamp, stamp.rest) if stamp and stamp.layout == layout else None

    return stamp_at


def _given(pattern: str) -> Callable[[str], tuple[datetime, str] | None]:
    """Finds the stamp of a pattern as for `strptime`. Raises UserError for a pattern that is none."""
    parts = re.split(r"%(.)", pattern.translate(_SPACES))
    if len(parts) < 2 or any(part not in _DIRECTIVES for part in parts[1::2]):
        raise UserError(
            f"--stamp {pattern}: not a pattern such as '%d.%m.%Y, %H:%M - ' (day, month, year, hour, minute)"
        )
    regex = re.compile("".join(_DIRECTIVES[part] if i % 2 else re.escape(part) for i, part in enumerate(parts)))

    def stamp_at(line: str) -> tuple[datetime, str] | None:
        clean = line.translate(_SPACES).lstrip("\u200e\u200f\ufeff")
        found = regex.match(clean)
        try:
            return (datetime.strptime(found[0], pattern.translate(_SPACES)), clean[found.end() :]) if found else None
        except ValueError:
            return None

    return stamp_at


def _dialogue(path: Path, messages: list[Message]) -> Iterator[ReadResult]:
    ios = isinstance(messages[0].stamp, Stamped) and messages[0].stamp.layout.startswith("[")
    order = _order([message.stamp for message in messages if isinstance(message.stamp, Stamped)])
    names = _names(messages)
    turns, left_out = [], Counter()
    for number, (stamp, lines) in enumerate(messages):
        name, first = _split(lines[0], names)
        if not name or (ios and number < 2 and _is_welcome(first)):
            left_out[NOTICES] += 1
            continue
        text, reason = _words(strip("\n".join([first, *lines[1:]])), ios)
        if reason:
            left_out[reason] += 1
        if text:
            moment = stamp if isinstance(stamp, datetime) else _moment(stamp, order)
            turns.append(Turn(name, text, iso(moment) if moment else ""))
    yield from (LeftOut(what, count) for what, count in left_out.items())
    if turns:
        yield Dialogue(path.stem, tuple(_names_with_colons(turns)), corpus=path.stem)


def _is_welcome(text: str) -> bool:
    """Whether it is the note on encryption, which iOS puts under the name of the chat."""
    return len(text) > 50 and bool(re.search("WhatsApp|واتساب", text))


def _names(messages: list[Message]) -> set[str]:
    """Who speaks, for lines that have no space behind the colon."""
    counts = Counter()
    for message in messages:
        line = message.lines[0].translate(_DIRECTION)
        name, colon, text = line.partition(":")
        if colon and len(name) <= 60 and not text.startswith("//"):
            counts[strip(name)] += 2 if text[:1] in (" ", "") else 1
    return {name for name, count in counts.items() if count > 1}


def _split(line: str, names: set[str]) -> tuple[str, str]:
    """Name and words of a line behind its stamp; no name where it is a notice."""
    found = re.match(r"([^\n]*?):(?=[\s\u200e\u200f]|$)[\s\u200f]?(.*)", line, re.S)
    short = re.match(r"([^:\n]*):(.*)", line, re.S)
    if short and strip(short[1].translate(_DIRECTION)) in names:
        found = re.match(r"([^:\n]*):[ \u00a0\u202f\u200f]?(.*)", line, re.S)
    if not found:
        return "", line
    name = strip(found[1].translate(_DIRECTION))
    quotes = len(_QUOTES.findall(name))
    if not name or len(name) > 100 or quotes % 2 or (re.search(r"[.。] \w", name) and len(name) > 40):
        return "", line
    return name, found[2]


def _names_with_colons(turns: list[Turn]) -> list[Turn]:
    """Turns with whole names, where all that somebody says begins with the same words and a colon: "Ann: work"."""
    begins: dict[str, Counter] = {}
    for turn in turns:
        begins.setdefault(turn.speaker, Counter())[turn.text.partition(": ")[0] if ": " in turn.text[:40] else ""] += 1
    whole = {name: next(iter(seen)) for name, seen in begins.items() if len(seen) == 1 and max(seen.values()) > 2}
    return [
        turn._replace(speaker=f"{turn.speaker}: {more}", text=turn.text[len(more) + 2 :])
        if (more := whole.get(turn.speaker))
        else turn
        for turn in turns
    ]


def _words(text: str, ios: bool) -> tuple[str, str]:
    """What a person wrote of a message, and as what the rest is left out; either may be empty."""
    words = _word_lists()
    first, _, more = text.partition("\n")
    own = ios and first.lstrip().startswith(MARK)
    clean = first.translate(_DIRECTION).strip()
    if len(clean) < LONGEST_OWN and _is_poll(clean, more):
        return "", POLLS
    if words["deleted"].fullmatch(clean.rstrip(".。।")):
        return "", DELETED
    if _PLACE.fullmatch(text.translate(_DIRECTION).strip()) or (words["others"].fullmatch(clean) and not more.strip()):
        return "", OTHERS
    if _is_media(clean):
        return _without_edit_mark(more.strip()), MEDIA
    if len(clean) < 20 * LONGEST_OWN and (attached := _ATTACHED.search(clean)):
        said = "" if _DOCUMENT.fullmatch(clean[: attached.start()].strip()) else clean[: attached.start()].strip()
        return "\n".join(part for part in (said, more.strip()) if part), MEDIA
    if own:
        short = len(clean) < 40 and clean[-1:] not in (":", ".") and MARK not in more
        return (more.strip() if short else ""), MEDIA if short else NOTICES
    text = _without_edit_mark(text)
    last = text.rpartition(MARK)
    # iOS puts the words beside a picture before the mark, and a document's name.
    if (
        ios
        and last[1]
        and 0 < len(last[2].strip()) < 40
        and last[0].endswith((" ", "\n", "\u00a0"))
        and "\n" not in last[2]
    ):
        said = last[0].translate(_DIRECTION).strip()
        return ("" if _DOCUMENT.fullmatch(said) else said), MEDIA
    text = strip(text.translate(_DIRECTION_BUT_JOINERS))
    return (text, "") if has_text(text) else ("", MEDIA)


_DIRECTION_BUT_JOINERS = {mark: None for mark in _DIRECTION if mark != 0x200B}


def _is_media(line: str) -> bool:
    words = _word_lists()
    return len(line) < LONGEST_OWN and bool(
        _IN_ANGLES.fullmatch(line)
        or _FILE.fullmatch(line)
        or words["attached"].fullmatch(line)
        or words["media"].fullmatch(line)
    )


def _is_poll(first: str, more: str) -> bool:
    """A word and a colon, the question, and at least two lines of choices with their votes, in any language."""
    choices = [
        found[1] for line in more.translate(_DIRECTION).splitlines() if (found := _OPTION.fullmatch(line.strip()))
    ]
    return bool(re.match(r"[^\W\d_][^:：]{1,25}[:：]", first)) and len(choices) > 1 and len(set(choices)) == 1


def _without_edit_mark(text: str) -> str:
    """A message without "<This message was edited>" at its end."""
    start = text.rfind("<")
    mark = text[start:].translate(_DIRECTION).rstrip() if start >= 0 else ""
    own = mark and _IN_ANGLES.fullmatch(mark) and (text[:start].endswith(MARK) or _word_lists()["edited"].search(mark))
    return text[:start].rstrip(f" \n{MARK}") if own else text


@functools.cache
def _word_lists() -> dict[str, re.Pattern[str]]:
    lists = tomllib.loads(Path(__file__).with_name("whatsapp_words.toml").read_text(encoding="utf-8"))
    joined = {name: "|".join(f"(?:{words})" for words in values) for name, values in lists.items()}
    joined["attached"] = rf"[^\n]+\.\w{{2,5}} \((?:{joined['attached']})\)"
    joined["media"] = rf"(?:[^\n]+\.\w{{2,5}}(?: • [^\n]{{1,20}}?)? )?(?:{joined['media']})"
    return {name: re.compile(pattern, re.I) for name, pattern in joined.items()}


def _order(stamps: list[Stamped]) -> str:
    """Which of day, month and year comes first: as all dates are valid, and rise; else as is usual for such stamps."""
    return order_of([stamp.date for stamp in stamps], bool(stamps) and _usually_month_first(stamps))


def order_of(dates: list[tuple[str, str, str]], month_first: bool = False) -> str:
    """The order in which all dates are valid and rise; where both do, the day is first unless `month_first`."""
    dates = list(dict.fromkeys(dates))
    if not dates:
        return "dmy"
    orders = ["ymd", "ydm"] if len(dates[0][0]) == 4 else ["dmy", "mdy", *(["ymd"] if len(dates[0][2]) < 3 else [])]
    if month_first and orders[0] == "dmy":
        orders[:2] = ["mdy", "dmy"]

    def faults(order: str) -> tuple[int, int]:
        days = [day_of(parts, order) for parts in dates]
        known = [day for day in days if day]
        return days.count(None), sum(later < earlier for earlier, later in pairwise(known))

    return min(orders, key=faults)  # the first of equals


def _usually_month_first(stamps: list[Stamped]) -> bool:
    """As Americans write: "1/2/24, 9:15 PM", without a zero before the month."""
    padded = any(part[0] == "0" for stamp in stamps for part in stamp.date[:2])
    short_year = len(stamps[0].date[2]) < 3
    return not padded and short_year and stamps[0].twelve in ("AM", "PM") and stamps[0].layout[-1] == "w"


def day_of(parts: tuple[str, str, str], order: str) -> date | None:
    """The day, in the calendars that phones write."""
    named = dict(zip(order, parts, strict=True))
    if not (named["d"].isdigit() and named["m"].isdigit()):
        return None
    era, year = named["y"][0] if named["y"][0].isalpha() else "", int(re.sub(r"\D", "", named["y"]))
    month, day = int(named["m"]), int(named["d"])
    try:
        if 1380 < year < 1420:
            return _from_persian(year, month, day)
        if era == "R":
            year += 2018
        elif year > 2400 or 52 <= year < 100:  # Buddhist; before 2009 nobody used WhatsApp
            year = year % 100 + 2500 - 543
        elif year < 100:
            year += 2000
        return date(year, month, day) if 2000 < year < 2100 else None
    except ValueError:
        return None


def _from_persian(year: int, month: int, day: int) -> date:
    """A day of the Iranian calendar, whose leap years come every fourth (in these decades 1399, 1403, 1408...)."""
    leaps = sum(1 for leap in (1383, 1387, 1391, 1395, 1399, 1403, 1408, 1412, 1416) if leap < year)
    begin = date(2001, 3, 21) + timedelta(365 * (year - 1380) + leaps)
    if not (1 <= month <= 12 and 1 <= day <= (31 if month < 7 else 30)):
        raise ValueError("no such day")
    return begin + timedelta(31 * min(month - 1, 6) + 30 * max(month - 7, 0) + day - 1)


def _moment(stamp: Stamped, order: str) -> datetime | None:
    day = day_of(stamp.date, order)
    return datetime.combine(day, stamp.time) if day else None


CORPUS = Corpus(
    name="whatsapp",
    description="your WhatsApp chats, as Android and iPhones export them in any language",
    read=read,
    patterns=("*.txt",),
    mark=b"\n",
    looks_like=looks_like,
    refused=refused,
    takes=("stamp",),
    export="in the chat: the menu, More, Export chat, Without media; on an iPhone the chat's name, Export Chat",
    scrub=True,
    split_by="time",
)
