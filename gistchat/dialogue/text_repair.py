"""Text clean-up, the same for training, test and live text."""

import re
import unicodedata

import ftfy
from sacremoses import MosesDetokenizer

from gistchat.dialogue.visible import has_text

# Signs of text that was cut into tokens, once white space is collapsed: a mark that stands alone, a contraction that
# fell apart, LaTeX quotes. It begins with a class of rare characters, so that `re` skips to them: it searches all text
# there is, and most has none of these signs.
_TOKENISED = re.compile(
    r"[.,!?;:'’`](?:(?<= [.,!?;:])(?= |$)"
    r"|(?:(?<=\w['’])|(?<=\w ['’])) (?:s|t|re|ve|m|ll|d)\b"
    r"|(?<= ')(?:s|re|ve|m|ll|d)\b|(?<= n')t\b"
    r"|(?<=`)`|(?<=')')",
    re.I,
)
_SPLIT_CONTRACTION = re.compile(r"(?<=\w)\s?['’]\s(?=(?:s|t|re|ve|m|ll|d)\b)", re.I)
_SPLIT_NOT = re.compile(r"(?<=\w)\s(?=n't\b)", re.I)
_LATEX_QUOTE = re.compile(r"``|''")
_MISSING_SPACE = re.compile(r"(?<=[a-z])([.?!])(?=[A-Z][a-z' ])")
_DETOKENIZER = MosesDetokenizer("en")
_MOST_PASSES = 10


def clean_text(text: str) -> str:
    """Repair text and leave good text alone.

    Control characters are dropped, white space collapsed, broken encodings and typographic quotes made plain (`ftfy`),
    and text that shows signs of tokenisation is put together again (`sacremoses`). Letters keep their case.
    Idempotent: the repairs are repeated until nothing changes. Nothing is left of text that shows nothing.
    """
    for _ in range(_MOST_PASSES):
        repaired = _repair(text)
        if repaired == text:
            break
        text = repaired
    return text if has_text(text) else ""


def clean_texts(texts: list[str]) -> list[str]:
    """`clean_text` of each, with one look at all of them together: most texts need no repair."""
    joined = " ".join(texts)  # an empty text, and one that begins or ends in a space, shows as a space too many
    single_spaces = joined.isascii() and joined.isprintable() and "  " not in joined and joined == joined.strip()
    if single_spaces and not _TOKENISED.search(joined):
        return texts
    return [clean_text(text) for text in texts]


def _repair(text: str) -> str:
    if not text.isprintable():  # printable text holds neither control characters nor odd white space
        # Cc: terminal escapes and NULs. Cs: lone surrogates, which no file can hold. Joiners and marks (Cf) are part
        # of words and emoji in many scripts, so they stay.
        spaced = (" " if char.isspace() else char for char in text)
        text = "".join(char for char in spaced if unicodedata.category(char) not in ("Cc", "Cs"))
    if not text.isascii():
        text = ftfy.fix_text(text, unescape_html=False, remove_terminal_escapes=False)
    text = " ".join(text.split())
    if _TOKENISED.search(text):
        text = _SPLIT_CONTRACTION.sub("'", _SPLIT_NOT.sub("", _LATEX_QUOTE.sub('"', text)))
        text = _DETOKENIZER.detokenize(text.split(" "), unescape=False)
    return text


def separate_sentences(text: str) -> str:
    """Put the space back that DailyDialog lost after a sentence: "too far.Can you" becomes "too far. Can you"."""
    return _MISSING_SPACE.sub(r"\1 ", text)
