"""Text that cannot drive the terminal."""

import unicodedata

_DIRECTION_MARKS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def printable(text: str, keep: str = "") -> str:
    """Control characters and marks that turn the direction of writing become spaces, but for the characters to keep.

    Joiners stay, as emoji and several scripts fall apart without them.
    """
    return "".join(" " if char not in keep and _drives(char) else char for char in text)


def _drives(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _DIRECTION_MARKS
