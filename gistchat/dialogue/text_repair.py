"""Text clean-up, the same for training, test and live text.

People's own text is repaired only where it is broken; `join_tokens` is for corpora whose text was cut into tokens.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import ftfy

from gistchat.dialogue.visible import has_text

# What is good text to somebody stays: full-width punctuation and curly quotes, ligatures (the Dutch ij is one), HTML
# entities. Escape sequences are dealt with below, in ASCII text, too.
_REPAIRS = ftfy.TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
)
_LINE_END = re.compile(r"\r\n?|[\v\f]")
# Terminal escapes, NULs and the like, and halves of surrogate pairs, which no file can hold.
_CONTROL = re.compile(r"[\0-\x08\x0e-\x1f\x7f]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")
_C1_CONTROL = re.compile(r"[\x80-\x9f]")
_BLANK_LINES = re.compile(r"\s*\n")
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
_MOST_PASSES = 10


def clean_text(text: str) -> str:
    """Repair text and leave good text alone: code and Markdown come out byte for byte.

    Broken encodings are mended, such as UTF-8 that was read as Latin-1 in Facebook's exports (`ftfy`); letters and
    marks that can be written in two ways get their composed form (NFC); line ends become "\\n"; control characters
    are dropped but for tabs. White space goes at the ends only, and a first line of several keeps its indentation.
    Idempotent: the repairs are repeated until nothing changes. Nothing is left of text that shows nothing.
    """
    return _until_stable(_repair, text)


def clean_texts(texts: list[str]) -> list[str]:
    """`clean_text` of each, with one look at all of them together: most texts need no repair."""
    joined = " ".join(texts)
    if joined.isascii() and joined.isprintable():
        return [text.strip() for text in texts]
    return [clean_text(text) for text in texts]


def clean_line(text: str) -> str:
    """`clean_text` on one line, with single spaces: for names and the lines of a gist."""
    return _until_stable(lambda line: " ".join(_repair(line).split()), text)


def join_tokens(text: str) -> str:
    """Put clean English text together that was cut into tokens (`sacremoses`): "it ' s late ." becomes "it's late.".

    White space is collapsed. Text without a sign of tokenisation is left alone otherwise. Not for people's own text: in
    French and in code, a mark that stands alone is meant to.
    """
    return _until_stable(_joined, " ".join(text.split()))


def _until_stable(repair: Callable[[str], str], text: str) -> str:
    """Repair until nothing changes: one repair may uncover what another has to mend."""
    for _ in range(_MOST_PASSES):
        repaired = repair(text)
        if repaired == text:
            break
        text = repaired
    return text if has_text(text) else ""


def _joined(text: str) -> str:
    if not _TOKENISED.search(text):
        return text
    text = _SPLIT_CONTRACTION.sub("'", _SPLIT_NOT.sub("", _LATEX_QUOTE.sub('"', text)))
    return _detokenizer().detokenize(text.split(" "), unescape=False)


@cache
def _detokenizer() -> Any:
    from sacremoses import MosesDetokenizer  # takes a third of a second, which a chat need not wait for

    return MosesDetokenizer("en")


def _repair(text: str) -> str:
    if not text.isprintable():  # printable text holds neither control characters nor line ends
        text = _CONTROL.sub("", _LINE_END.sub("\n", text))
    if not text.isascii():
        # C1 controls go last: where UTF-8 was read as Latin-1, they are bytes of letters and emoji.
        text = _C1_CONTROL.sub("", ftfy.fix_text(_read_as_utf8(text), _REPAIRS))
    stripped = text.strip()
    if "\n" not in stripped:
        return stripped
    blank = _BLANK_LINES.match(text)
    return text[blank.end() if blank else 0 :].rstrip()


def _read_as_utf8(text: str) -> str:
    """UTF-8 that was read as Latin-1 from end to end. ftfy leaves some of it alone: Armenian, and å within a word."""
    try:
        read = text.encode("latin-1").decode()
    except UnicodeError:
        return text
    # A single pair of a capital and a sign may be meant, as in CAFÉ».
    return read if "Ã¥" in text or len(text) - len(read) > 1 else text


def separate_sentences(text: str) -> str:
    """Put the space back that DailyDialog lost after a sentence: "too far.Can you" becomes "too far. Can you"."""
    return _MISSING_SPACE.sub(r"\1 ", text)
