"""Text that cannot drive the terminal."""

import unicodedata

_DIRECTION_MARKS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def printable(text: str) -> str:
    """Control characters and marks that turn the direction of writing become spaces.

    Joiners stay, as emoji and several scripts fall apart without them.
    """
    drives = ("Cc", "Cs", "Zl", "Zp")
    return "".join(" " if unicodedata.category(char) in drives or char in _DIRECTION_MARKS else char for char in text)
