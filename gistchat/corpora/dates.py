"""Dates as people and programs write them in tables and chats."""

import contextlib
import re
from datetime import UTC, datetime
from typing import Any

_MILLISECONDS = 10**11  # as seconds this is the year 5138
_SILLYTAVERN = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2}) ?@ ?(\d{1,2})h ?(\d{1,2})m ?(\d{1,2})s.*")
_NUMBERS = re.compile(
    r"(\d{1,4})[./-](\d{1,2})[./-](\d{1,4})\.?(?:,? +|T)?"
    r"(?:(\d{1,2})[:.h](\d{2})(?:[:.](\d{2})(?:[.,]\d+)?)?)?[\s\u202f]*([ap]\.?\s?m\.?)?",
    re.I,
)
_WORDS = ("%B %d %Y %I:%M%p", "%B %d %Y %I:%M:%S%p", "%B %d %Y %H:%M:%S", "%B %d %Y %H:%M", "%B %d %Y")
_WORDS += tuple(form.replace("%B %d", "%d %B") for form in _WORDS)
_WORDS += tuple(form.replace("%B", "%b") for form in _WORDS)


def as_date(value: Any, day_first: bool = True) -> datetime | None:
    """A moment from seconds or milliseconds since 1970, ISO 8601, or a date as written; None where it is none.

    Args:
        day_first: of 03/04/2024; where only one reading is a date, that is taken.
    """
    if isinstance(value, datetime):
        return value
    text = str(value).strip()
    with contextlib.suppress(ValueError, OverflowError, OSError):
        seconds = float(text)
        # Smaller numbers are places in a list, and years.
        if seconds < 10**8:
            return None
        return datetime.fromtimestamp(seconds / 1000 if seconds >= _MILLISECONDS else seconds, UTC)
    with contextlib.suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text.removesuffix(" UTC") + ("+00:00" if text.endswith(" UTC") else ""))
        return moment.astimezone(UTC) if moment.tzinfo else moment
    if match := _SILLYTAVERN.fullmatch(text):
        with contextlib.suppress(ValueError):
            return datetime(*map(int, match.groups()))  # type: ignore[arg-type]
    if match := _NUMBERS.fullmatch(text):
        return _by_numbers(match, day_first)
    words = " ".join(text.replace(",", " ").replace(" at ", " ").split())
    words = re.sub(r"(?<=\d)(?:st|nd|rd|th)\b", "", words).replace(" am", "am").replace(" pm", "pm")
    words = words.replace(" AM", "AM").replace(" PM", "PM")
    for form in _WORDS if text[:1].isalpha() or text[-1:].isalnum() else ():
        with contextlib.suppress(ValueError):
            return datetime.strptime(words, form)
    return None


def writes_month_first(values: list[str]) -> bool:
    """Whether a column of dates as 12/31/2024 has the month first: one of them can be read in no other way."""
    matches = [match for value in values if (match := _NUMBERS.fullmatch(value.strip()))]
    return any(len(match[1]) < 3 and int(match[2]) > 12 for match in matches)


def _by_numbers(match: re.Match[str], day_first: bool) -> datetime | None:
    one, two, three = int(match[1]), int(match[2]), int(match[3])
    hour, minute, second = (int(match[i] or 0) for i in (4, 5, 6))
    if match[7]:
        hour = hour % 12 + (12 if match[7][0] in "pP" else 0)
    if len(match[1]) == 4:
        days = [(one, two, three)]
    else:
        year = three + 2000 if len(match[3]) < 3 else three
        days = [(year, two, one), (year, one, two)]
        days = days if day_first else days[::-1]
    for day in days:
        with contextlib.suppress(ValueError):
            return datetime(*day, hour, minute, second)
    return None
