"""Does a summary say what its source said? Names and numbers that occur there, and the guards on written summaries."""

import re
from collections import Counter
from collections.abc import Iterable

import regex

from gistchat.dialogue.words import UNSPACED, count_unspaced, nfc
from gistchat.memory.sentences import STOP_WORDS

_LETTERS = rf"[\p{{L}}--{UNSPACED}][\p{{L}}\p{{M}}--{UNSPACED}]*"
_TOKEN = regex.compile(rf"\d+(?:[.,:]\d+)*|{_LETTERS}(?:['’]{_LETTERS})*|{UNSPACED}\p{{M}}*", regex.V1)
# From right to left, so that a long row of marks is looked at once and not again from each of them.
_SENTENCE_END = regex.compile(r"(?r)[\p{STerm}:…][^\w\n]*$|\n")
# Capitalised anywhere in English, and names of nobody.
NOT_NAMES = frozenset(
    ["i", "i'm", "i'll", "i've", "i'd", "ok", "mr", "mrs", "ms", "dr", "user", "you", "assistant", "person", "speaker"]
)

LONG_COPY = 5  # words in a row; of scripts without spaces, twice as many letters, as two make about a word
MOST_COPIED = 0.8  # of a summary's words, in such rows
REPEATED_WORDS = 4  # a run of so many words
MOST_REPEATS = 3  # that stands so often


def names_and_numbers(text: str) -> list[str]:
    """Numbers, and words that are capitalised inside a sentence, in lower case; in order, with repetition.

    The first word of a sentence is capitalised whatever it is, so it counts only where the same word also stands
    capitalised inside one, or another capitalised word follows and it is no function word. This misses some names, and
    takes few plain words for one.
    """
    inside: dict[int, str] = {}  # by place in the text
    first: dict[int, str] = {}
    words = list(_TOKEN.finditer(text := nfc(text)))
    for place, match in enumerate(words):
        word = _bare(match[0])
        if word[0].isdigit():
            inside[place] = word
        elif match[0][0].isupper() and word not in NOT_NAMES:
            begins = place == 0 or _SENTENCE_END.search(text, words[place - 1].end(), match.start())
            (first if begins else inside)[place] = word
    sure = set(inside.values())
    names = {place: word for place, word in first.items() if word not in STOP_WORDS}
    kept = inside | {place: word for place, word in names.items() if word in sure or place + 1 in inside}
    return [kept[place] for place in sorted(kept)]


def _bare(word: str) -> str:
    """A name without the ending of the possessive, in lower case."""
    return re.sub(r"['’]s$", "", word.lower())


def unsupported(summary: str, source: str) -> list[str]:
    """Names and numbers of a summary that its source does not hold, in whatever case."""
    there = {_bare(word) for word in _TOKEN.findall(nfc(source))}
    return [item for item in names_and_numbers(summary) if item not in there]


def faithfulness(pairs: Iterable[tuple[str, str]]) -> list[tuple[int, int]]:
    """(supported, all) names and numbers of each (summary, source)."""
    counts = []
    for summary, source in pairs:
        total = len(names_and_numbers(summary))
        counts.append((total - len(unsupported(summary, source)), total))
    return counts


def fault(summary: str, source: str) -> str:
    """Why a written summary cannot be trusted to stand for its source; empty where it can.

    Returns:
        empty | longer than its source | copies its source | repeats itself | names X, which the source does not
    """
    words, given = _words(summary), _words(source)
    scale = 2 if 2 * count_unspaced(summary) > len(words) else 1
    if not words:
        return "empty"
    if len(words) > len(given):
        return "longer than its source"
    if _copied(words, given, scale * LONG_COPY) > MOST_COPIED:
        return "copies its source"
    runs = Counter(zip(*(words[i:] for i in range(scale * REPEATED_WORDS)), strict=False))
    if max(runs.values(), default=0) >= MOST_REPEATS:
        return "repeats itself"
    if strangers := unsupported(summary, source):
        return f"names {strangers[0]}, which the source does not"
    return ""


def _words(text: str) -> list[str]:
    return [word.lower() for word in _TOKEN.findall(nfc(text))]


def _copied(words: list[str], given: list[str], length: int) -> float:
    """The share of `words` that stand in runs of that length which `given` has, too."""
    runs = set(zip(*(given[i:] for i in range(length)), strict=False))
    copied = set()
    for start in range(len(words) - length + 1):
        if tuple(words[start : start + length]) in runs:
            copied.update(range(start, start + length))
    return len(copied) / len(words)
