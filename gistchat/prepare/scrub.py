"""Replace e-mail addresses, web addresses and phone numbers by placeholders."""

import re

# Every text is searched, pasted code and minified lines included, so the work must grow with its length and no faster:
# a run of letters is looked at once, not again from each of its letters. Here it is taken whole, address or not.
_EMAIL = re.compile(r"[\w.+-]+(@[\w-]+(?:\.[\w-]+)+)?")
# A name of a host is looked at from its beginning only: not within a label, nor after a label and its dot. Hyphens
# before it stay.
_URL = re.compile(
    r"(?:https?://|www\.)\S+"
    r"|(?<![\w-])(?<![\w-]\.)(?P<hyphens>(?:-++\.)*+-*+)\b(?!www\.\S)[\w-]++(?:\.[\w-]++)*"
    r"\.(?:(?:com|org|net|edu|gov|io)\b(?:/\S*)?|[a-z]{2,3}/\S+)",
    re.I,
)
# Ten digits in the American grouping, with or without a country code, or seven as 555-1234. Plain numbers,
# years and scores keep their digits.
_PHONE = re.compile(
    r"(?<![\w.])(?:\+?\d{1,3}[\s.-]?)?(?:\(\d{3}\)\s?|\d{3}[\s.-])\d{3}[\s.-]?\d{4}(?!\w)"
    r"|(?<![\w.-])\d{3}-\d{4}(?![\w-])"
    r"|(?<![\w.])\+\d[\d\s.-]{7,14}\d(?!\w)"
)


def scrub(text: str) -> tuple[str, int]:
    """Replace e-mail addresses, web addresses and phone numbers by [email], [link] and [phone].

    Returns the text and how many were replaced.
    """
    text, addresses = _scrub_addresses(text)
    text, links = _URL.subn(r"\g<hyphens>[link]", text)
    text, numbers = _PHONE.subn("[phone]", text)
    return text, addresses + links + numbers


def _scrub_addresses(text: str) -> tuple[str, int]:
    """E-mail addresses replaced, and how many."""
    if "@" not in text:
        return text, 0
    found = sum(match[1] is not None for match in _EMAIL.finditer(text))
    return _EMAIL.sub(lambda match: "[email]" if match[1] else match[0], text), found
