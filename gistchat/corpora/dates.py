"""Dates as people and programs write them in tables and chats."""

import contextlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

# From such a number on, time since 1970 is told in thousandths, millionths, billionths of a second: as seconds, it
# would be the year 5138.
_UNITS = ((10**17, 10**9), (10**14, 10**6), (10**11, 10**3))
_SILLYTAVERN = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2}) ?@ ?(\d{1,2})h ?(\d{1,2})m ?(\d{1,2})s.*")
_NUMBERS = re.compile(
    r"(\d{1,4})([./-])(\d{1,2})[./-](\d{1,4})\.?(?:,? +|T)?"
    r"(?:(\d{1,2})[:.h](\d{2})(?:[:.](\d{2})(?:[.,]\d+)?)?)?[\s\u202f]*([ap]\.?\s?m\.?)?(?: Uhr)?",
    re.I,
)
_WORDS = ("%B %d %Y %I:%M%p", "%B %d %Y %I:%M:%S%p", "%B %d %Y %H:%M:%S", "%B %d %Y %H:%M", "%B %d %Y")
_WORDS += tuple(form.replace("%B %d", "%d %B") for form in _WORDS)
_WORDS += tuple(form.replace("%B", "%b") for form in _WORDS)
_WORDS += tuple(form.replace("%Y", "%y") for form in _WORDS)
_WORDS += ("%a %b %d %H:%M:%S %z %Y",)


def as_date(value: Any, day_first: bool = True) -> datetime | None:
    """A moment from seconds since 1970 (or their thousandths, and so on), ISO 8601, or a date as written; else None.

    Args:
        day_first: of 03/04/2024; where only one reading is a date, that is taken.
    """
    if isinstance(value, datetime):
        return value
    text = str(value).strip()
    with contextlib.suppress(ValueError, OverflowError, OSError):
        number = float(text)
        # Smaller numbers are places in a list, and years.
        if number < 10**8:
            return None
        return datetime.fromtimestamp(number / next((unit for least, unit in _UNITS if number >= least), 1), UTC)
    with contextlib.suppress(ValueError, OverflowError):
        zone = re.sub(r" ?(?:UTC|GMT)$", "+00:00", text)
        moment = datetime.fromisoformat(re.sub(r" (?=[+-]\d{2}:?\d{2}$)", "", zone))
        return moment.astimezone(UTC) if moment.tzinfo else moment
    if match := _SILLYTAVERN.fullmatch(text):
        with contextlib.suppress(ValueError):
            return datetime(*map(int, match.groups()))  # type: ignore[arg-type]
    if match := _NUMBERS.fullmatch(text):
        return _by_numbers(match, day_first)
    return _by_words(text) if any(map(str.isalpha, text)) else None


def writes_month_first(values: Sequence[str]) -> bool:
    """Whether a column of dates as 12/31/2024 has the month first.

    One of them may be readable in no other way. Else it is the reading by which the column is in order, and if that is
    both or neither, a clock of twelve hours tells.
    """
    matches = [match for value in values if (match := _NUMBERS.fullmatch(value.strip())) and len(match[1]) < 3]
    if any(int(match[3]) > 12 for match in matches):
        return True
    if any(int(match[1]) > 12 or match[2] == "." for match in matches):
        return False
    days, months = (_in_order([_by_numbers(match, first) for match in matches]) for first in (True, False))
    return months > days if days != months else any(match[8] for match in matches)


def _in_order(moments: list[datetime | None]) -> int:
    """2 where the oldest comes first, as in most tables; 1 where the newest does; else 0."""
    known = [moment for moment in moments if moment]
    return 2 if known == sorted(known) else int(known == sorted(known, reverse=True))


def _by_words(text: str) -> datetime | None:
    """Of a date with the month's name in English."""
    words = " ".join(text.replace(",", " ").replace(" at ", " ").split())
    words = re.sub(r"(?<=\d)(?:st|nd|rd|th)\b", "", words)
    words = re.sub(r"(?<=\d) ?([ap])\.? ?m\b\.?", r"\1m", words, flags=re.I)
    words = re.sub(r"(?<=\d)-(?=[a-z])|(?<=[a-z])-(?=\d)", " ", words, flags=re.I)
    for form in _WORDS:
        with contextlib.suppress(ValueError):
            return datetime.strptime(words, form)
    if re.search(r"\d[ap]m$", words):
        return None  # the next would leave away that it is after noon
    with contextlib.suppress(ValueError):
        return parsedate_to_datetime(text)  # as mails have it: Tue, 5 Mar 2024 21:15:00 +0100
    return None


def _by_numbers(match: re.Match[str], day_first: bool) -> datetime | None:
    one, two, three = int(match[1]), int(match[3]), int(match[4])
    hour, minute, second = (int(match[i] or 0) for i in (5, 6, 7))
    if match[8]:
        hour = hour % 12 + (12 if match[8][0] in "pP" else 0)
    if len(match[1]) == 4:
        days = [(one, two, three)]
    else:
        year = three + 2000 if len(match[4]) < 3 else three
        days = [(year, two, one), (year, one, two)]
        days = days if day_first else days[::-1]
    for day in days:
        with contextlib.suppress(ValueError):
            return datetime(*day, hour, minute, second)
    return None
