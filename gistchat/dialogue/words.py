"""Words of any script: what metrics compare, and what rankings and guards count.

Some scripts put no spaces between words. Without a dictionary, each of their letters stands for a word, as is usual
where Chinese is scored (`zh` of sacrebleu).
"""

import re
import unicodedata

import regex

# Han, kana, and the scripts whose line breaks need a dictionary (SA: Thai, Lao, Khmer, Burmese). For use in a class of
# characters of `regex` in its version 1, where classes can be intersected.
UNSPACED = r"[[\p{Han}\p{Hiragana}\p{Katakana}ー\p{Line_Break=SA}]&&\p{L}]"
_SPACED = rf"[[\p{{L}}\p{{N}}]--{UNSPACED}]"
# Marks stay with their letter: without them, Hindi and Thai words fall apart at every vowel sign.
_LETTERS = rf"{_SPACED}(?:{_SPACED}|\p{{M}})*"
_WORD = regex.compile(rf"{UNSPACED}\p{{M}}*|{_LETTERS}(?:'{_LETTERS})*", regex.V1)
_ASCII_WORD = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")
_UNSPACED_LETTER = regex.compile(rf"{UNSPACED}\p{{M}}*", regex.V1)
# What does not show: joiners, marks of direction, and the bar that stretches Arabic words. The zero-width space does
# not show either, but it ends a word.
_INVISIBLE = regex.compile(r"[\p{Cf}ـ--\u200b]", regex.V1)


def nfc(text: str) -> str:
    """One writing of each character: é as one code point, also where it was typed as two."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def normalized(text: str) -> str:
    """Text as words are compared: one case, one width, one writing of each character, one kind of apostrophe.

    NFKC_Casefold of the Unicode standard (section 3.13), but for zero-width spaces, which it would drop.
    """
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    return unicodedata.normalize("NFKC", folded).replace("’", "'")


def words(text: str) -> list[str]:
    """The words of a text, `normalized`; "don't" is one, and so is each letter of a script without spaces."""
    return _ASCII_WORD.findall(text.lower()) if text.isascii() else _WORD.findall(normalized(text))


def word_parts(text: str) -> list[str]:
    """The same, cut at apostrophes: what ROUGE and F1 compare."""
    return [part for word in words(text) for part in word.split("'")]


def spaced(text: str) -> str:
    """Text in NFC with spaces around the letters of scripts that have none, for whatever splits it at white space."""
    return text if text.isascii() else _UNSPACED_LETTER.sub(r" \g<0> ", nfc(text))


def count_words(text: str) -> int:
    """How many pieces there are between spaces, each letter of a script without spaces being one."""
    return len(spaced(text).split())


def count_unspaced(text: str) -> int:
    """How many letters there are of scripts that put no spaces between words."""
    return 0 if text.isascii() else len(_UNSPACED_LETTER.findall(text))
