"""Replace e-mail addresses, web addresses and phone numbers by placeholders."""

import re

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_URL = re.compile(
    r"(?:https?://|www\.)\S+"
    r"|\b[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|edu|gov|io)\b(?:/\S*)?"
    r"|\b[\w-]+(?:\.[\w-]+)*\.[a-z]{2,3}/\S+",
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
    total = 0
    for pattern, name in ((_EMAIL, "[email]"), (_URL, "[link]"), (_PHONE, "[phone]")):
        text, count = pattern.subn(name, text)
        total += count
    return text, total
