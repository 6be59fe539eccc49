"""Days as phones write them: in any order of day, month and year, and in several calendars."""

from collections import Counter
from collections.abc import Iterable
from datetime import date, time, timedelta
from itertools import pairwise

Date = tuple[str, str, str]  # the numbers of a date, in the order in which they are written
EARLIEST = 2009  # the year in which the first of these messengers came out


def order_of(dates: Iterable[Date], month_first: bool = False) -> str:
    """The order in which all dates are valid and rise; where several do, the day is first unless `month_first`."""
    dates = list(dict.fromkeys(dates))
    if not dates:
        return "dmy"
    orders = ["ymd", "ydm"] if len(dates[0][0]) == 4 else ["dmy", "mdy", *(["ymd"] if len(dates[0][2]) < 3 else [])]
    if month_first and orders[0] == "dmy":
        orders[:2] = ["mdy", "dmy"]

    def faults(order: str) -> tuple[int, int]:
        days = [day_of(parts, order) for parts in dates]
        return days.count(None), faults_of(pairwise(day for day in days if day))

    return min(orders, key=faults)  # the first of equals


def faults_of(pairs: Iterable[tuple[date | time, date | time]]) -> int:
    """How many of neighbours are in the wrong order; a file that goes backwards has a fault of its own."""
    counts = Counter((one < two) - (one > two) for one, two in pairs)
    return min(counts[-1], counts[1] + 1)


def day_of(parts: Date, order: str) -> date | None:
    """The day, in the calendars that phones write; None where there is no such day."""
    named = dict(zip(order, parts, strict=True))
    if not (named["d"].isdecimal() and named["m"].isdecimal()):
        return None
    number = named["y"].removeprefix("R")
    year, month, day = int(number) if number.isdecimal() else 0, int(named["m"]), int(named["d"])
    try:
        if 1380 < year < 1420:
            return _from_iranian(year, month, day)
        if 1420 <= year < 1500:
            return _from_islamic(year, month, day)
        if named["y"].startswith("R"):  # Reiwa, an era of Japan
            year += 2018
        elif year > 2400 or 52 <= year < 100:  # Buddhist
            year = year % 100 + 2500 - 543
        elif year < 100:
            year += 2000
        return date(year, month, day) if EARLIEST <= year < 2100 else None
    except ValueError:
        return None


def _from_iranian(year: int, month: int, day: int) -> date:
    """A day of the Iranian calendar, whose leap years come every fourth (in these decades 1399, 1403, 1408...)."""
    leaps = sum(1 for leap in (1383, 1387, 1391, 1395, 1399, 1403, 1408, 1412, 1416) if leap < year)
    begin = date(2001, 3, 21) + timedelta(365 * (year - 1380) + leaps)
    if not (1 <= month <= 12 and 1 <= day <= (31 if month < 7 else 30)):
        raise ValueError("no such day")
    return begin + timedelta(31 * min(month - 1, 6) + 30 * max(month - 7, 0) + day - 1)


def _from_islamic(year: int, month: int, day: int) -> date:
    """A day of the Islamic calendar as a table has it, which may differ by a day from what people see in the sky."""
    if not (1 <= month <= 12 and 1 <= day <= 30):
        raise ValueError("no such day")
    return date.fromordinal(day + (59 * (month - 1) + 1) // 2 + (year - 1) * 354 + (3 + 11 * year) // 30 + 227014)
