"""Replace e-mail addresses, web addresses, phone numbers, and numbers of accounts and cards by placeholders.

Nobody says in a chat in which country a number is dialled, and without one phonenumbers' matcher finds only those with
a `+`; so forms that numbers are written in are told from what else has many digits.
"""

import re
from functools import lru_cache

from gistchat.files import fingerprint

# Every text is searched, pasted code and minified lines included, so the work must grow with its length and no faster:
# a run of letters is looked at once, not again from each of its letters. Here it is taken whole, address or not.
_EMAIL = re.compile(r"[\w.+-]+(@[\w-]+(?:\.[\w-]+)+)?")
_SUFFIXES = (
    "py|js|ts|jsx|tsx|md|txt|sh|rb|rs|css|xml|csv|log|zip|tar|gz|exe|cpp|php|sql|tex|ini|cfg|yml|jpg|png|pdf|jar"
)
# A name of a host is looked at from its beginning only: not within a label, nor after a label and its dot. Hyphens
# before it stay.
_URL = re.compile(
    r"(?:https?://|www\.)\S+"
    r"|(?<![\w-])(?<![\w-]\.)(?P<hyphens>(?:-++\.)*+-*+)\b(?!www\.\S)[\w-]++(?:\.[\w-]++)*"
    r"\.(?:(?:com|org|net|edu|gov|io)\b(?:/\S*)?|(?!(?:" + _SUFFIXES + r")/)[a-z]{2,3}/\S+)",
    re.I,
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", re.I)
_DATE = (
    r"(?:\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-](?:19|20)?\d{2}|\d{1,2}:\d{2}(?::\d{2})?)"
    r"(?![./-]?\d)"
)
_BETWEEN = r" \u00a0\u2009\u202f.()/\u2010\u2011\u2013\uff08\uff09\uff0d-"
# A run of digits in any grouping is taken whole, whatever it is, up to a date or time; `_kind` says what it is.
_RUN = re.compile(
    rf"(?<!\w)(?:{_DATE}|(?P<run>[@+(\uff0b\uff08]{{0,3}}\d(?:[{_BETWEEN}]{{0,3}}+"
    rf"(?!(?<=\s){_DATE})\d)*+))"
)
_SEVEN = re.compile(r"(?<![\w.-])\d{3}-\d{4}(?![\w-])")
_BETWEEN_NUMBERS = re.compile(
    r"(\s+/\s+|\s+[-\u2010\u2011\u2013]\s+|\s+(?=\(?00?[1-9](?:[ ./()-]?\d){7})|(?<=\b(?:19|20)\d\d)\s+(?=[(0]))"
)
# An area's code, which a spaced slash may divide from the number in it: "030 / 1234 5678".
_AREA = re.compile(r"(?<!\d)(\(?0[1-9]\d{1,4}\)?)\s+/\s+(?=[1-9](?: ?\d){4,9}(?!\d))")
_SPLIT = re.compile(r"[^\d]+")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)")
_DECIMALS = re.compile(r"(?:0|[1-9]\d*)\.\d+(?:\s+-?(?:0|[1-9]\d*)\.\d+)*")
_CHINESE = re.compile(r"1[3-9]\d{9}")  # a mobile phone's
_VERSION = re.compile(r"\d{1,2}\.\d{1,2}(?:\.\d+)+")
# What counts are followed by, or prices have on one side. A number without a prefix that stands in such words is a
# count; anything else of its form is a phone number, as a leaked number is worse than a lost count.
_COUNTED = re.compile(
    r"\s*(?:[€$£¥₹%°]|(?:units?|items?|pieces?|points?|views?|people|users?|followers?|subscribers?|copies|times|years?"
    r"|dollars?|euros?|pounds?|bytes?|[kmgt]b|[km]?m|miles?|million|billion|einheiten|stück|punkte|unidades|puntos"
    r"|unités|eur|usd|gbp|pts)\b)",
    re.I,
)
_ANNOUNCED = re.compile(
    r"(?:call|phone|tel|mobile|cell|whats\s?app|sms|dial|num|nummer|handy|móvil|llama|portable|fax|ring me|text me"
    r"|тел|номер|電話|电话|手机)\w*[\s.:#]*(?:\w+\s+){0,3}$",
    re.I,
)


def scrub(text: str) -> tuple[str, int]:
    """Replace addresses and numbers of people by [email], [link], [iban], [card] and [phone].

    Returns the text and how many were replaced.
    """
    text, addresses = _scrub_addresses(text)
    text, links = _URL.subn(r"\g<hyphens>[link]", text)
    if not any(map(str.isdigit, text)):
        return text, addresses + links
    count = -text.count("[iban]")
    text = _IBAN.sub(_iban, text)
    count += text.count("[iban]")
    parts = []
    end = 0
    for match in _RUN.finditer(text):
        if match["run"] and (run := _scrub_run(text, match.start(), match.end())) != match["run"]:
            parts += [text[end : match.start()], run]
            count += sum(run.count(kind) for kind in ("[phone]", "[card]"))
            end = match.end()
    text, short = _SEVEN.subn("[phone]", "".join([*parts, text[end:]]))
    return text, addresses + links + count + short


def _iban(match: re.Match[str]) -> str:
    """An account's number replaced: as many of its groups as give the check sum, as a word may stand after it."""
    groups = match[0].split(" ")
    for end in range(len(groups), 0, -1):
        number = "".join(groups[:end])
        if 15 <= len(number) <= 34 and int("".join(str(int(char, 36)) for char in number[4:] + number[:4])) % 97 == 1:
            return " ".join(["[iban]", *groups[end:]])
    return match[0]


def _scrub_run(text: str, start: int, end: int) -> str:
    """A run of digits, with its phone numbers and cards replaced."""
    run, whole = _AREA.sub(r"\1/", text[start:end]), text[start:end]
    if sum(map(str.isdigit, run)) < 7 or text[end : end + 1].isalnum() or text[end : end + 1] == "_":
        return whole
    before, after = text[max(0, start - 40) : start], text[end : end + 20]
    if kind := _kind(run, before, after):
        return kind
    pieces = _BETWEEN_NUMBERS.split(run)
    if len(pieces) == 1:
        return whole
    kinds = ["" if i % 2 else _kind(piece, "", after) for i, piece in enumerate(pieces)]
    return "".join(kind or piece for kind, piece in zip(kinds, pieces, strict=True)) if any(kinds) else whole


def _kind(run: str, before: str, after: str) -> str:
    """The placeholder for a run of digits; empty where it is neither a phone number nor a card."""
    digits = re.sub(r"\D", "", run)
    groups = [group for group in _SPLIT.split(run) if group]
    are_years = all(re.fullmatch(r"(?:19|20)\d\d", group) for group in groups)
    if are_years or re.search(r"\d[.,:]$", before) or _is_book(digits, before):
        return ""
    if _is_card(digits, groups):
        return "[card]"
    if len(_BETWEEN_NUMBERS.split(run)) > 1 or len(digits) > 15 or _IPV4.fullmatch(run):
        return ""
    if run[0] == "@" or {"+", "\uff0b"} & set(run[:3]) or re.match(r"\(?00[1-9]", run):
        return "[phone]" if len(digits) >= (8 if run[0] != "@" else 7) else ""
    if _is_count(run, digits, groups, before, after):
        return ""
    if len(groups) == 1:
        return "[phone]" if _is_plain_phone(digits, before) else ""
    if len(digits) < 9 or len(groups) > 5:
        return ""
    # Without a prefix, numbers of two digits each are rather a list than a phone number.
    return "[phone]" if run[0] in "(0\uff08\uff10" or max(map(len, groups)) > 2 else ""


def _is_count(run: str, digits: str, groups: list[str], before: str, after: str) -> bool:
    """Whether a run without a prefix is a count, a price, a decimal, a version, or years."""
    if _DECIMALS.fullmatch(run) or _COUNTED.match(after) or before.rstrip()[-1:] in tuple("$€£¥₹#=&"):
        return True
    if run[0] in "(0\uff08\uff10" or _CHINESE.fullmatch(digits):
        return False
    if run.endswith("000"):
        return True
    if len(groups) > 1 and all(group.endswith("00") for group in groups):
        return True  # a span of prices
    if [len(group) for group in groups] == [5, 4]:
        return True  # an American postcode
    thousands = len(groups) > 1 and len(groups[0]) < 3 and all(len(group) == 3 for group in groups[1:])
    # 1 234 567 890 is a count, 34 612 345 678 hardly: so many digits are rather a number with its country.
    return (thousands and len(digits) < 11) or (len(groups) > 3 and bool(_VERSION.fullmatch(run)))


def _is_plain_phone(digits: str, before: str) -> bool:
    """Whether digits without grouping are a phone number: announced, with a leading 0, or of a length that few have."""
    if _ANNOUNCED.search(before):
        return 7 <= len(digits) <= 15
    if re.search(r"\w[-_/]$", before):  # the end of an id or a path
        return False
    if digits[0] == "0":
        return 9 <= len(digits) <= 13
    # A 1 begins the seconds and milliseconds since 1970, and no American number.
    return 9 <= len(digits) <= 13 and not (digits[0] == "1" and len(digits) in (10, 13))


def _is_book(digits: str, before: str) -> bool:
    if re.search(r"\b(?:ISBN|ISSN|EAN|DOI)\b", before[-16:], re.I):
        return True
    if len(digits) != 13 or not digits.startswith(("978", "979")):
        return False
    return sum(int(digit) * (3 if i % 2 else 1) for i, digit in enumerate(digits)) % 10 == 0


def _is_card(digits: str, groups: list[str]) -> bool:
    """Whether it has the form of a payment card's number, and its check sum (Luhn)."""
    lengths = [len(group) for group in groups]
    # In one piece, in fours, or as American Express writes them.
    grouped = len(lengths) == 1 or lengths == [4, 6, 5] or set(lengths[:-1]) == {4}
    if not 13 <= len(digits) <= 19 or digits[0] not in "23456" or not grouped:
        return False
    doubled = (int(digit) * (2 if i % 2 else 1) for i, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _scrub_addresses(text: str) -> tuple[str, int]:
    """E-mail addresses replaced, and how many."""
    if "@" not in text:
        return text, 0
    found = sum(match[1] is not None for match in _EMAIL.finditer(text))
    return _EMAIL.sub(lambda match: "[email]" if match[1] else match[0], text), found


@lru_cache(maxsize=10_000)
def scrub_name(name: str) -> str:
    """What to call a speaker: a messenger calls people who are not in its address book by their number."""
    return name if scrub(name)[1] == 0 else f"person {fingerprint(name)[:6]}"
