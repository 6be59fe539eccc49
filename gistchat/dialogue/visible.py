"""Whether a text shows anything."""

import unicodedata

# Control and format characters (zero-width space, joiners, marks of direction, soft hyphen, byte order mark), lone
# surrogates, white space, and marks that need a letter (variation selectors among them).
_UNSEEN = {"Cc", "Cf", "Cs", "Zs", "Zl", "Zp", "Mn", "Me"}
_FILLERS = "\u115f\u1160\u3164\uffa0\u2800"  # blanks that Unicode counts among letters (Hangul) and symbols (Braille)


def has_text(text: str) -> bool:
    """Whether any character of it can be seen; a turn or reply without one is empty."""
    return any(char not in _FILLERS and unicodedata.category(char) not in _UNSEEN for char in text)
