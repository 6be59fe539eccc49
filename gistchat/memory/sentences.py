"""Turns cut into sentences, and the words of a sentence that carry its content; in any script."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import regex
from nupunkt import sent_tokenize

from gistchat.context.types import Sentence
from gistchat.dialogue.turns import Turn
from gistchat.dialogue.words import UNSPACED, count_unspaced, count_words, normalized, words

LONGEST = 30  # words of a sentence that stays whole; 4 % of chitchat's are longer
PART = 20  # words of a part of a longer one: some 25 tokens, which fit the gist's share of a small budget

_MAY_END = re.compile(r"[.!?…][^\w\s]{0,9}\s")  # bounded: otherwise a row of 50,000 marks takes minutes

_CLOSING = r"[\p{Pe}\p{Pf}\"']"  # quotes and brackets
_AFTER_UNSPACED = rf"(?<={UNSPACED}\p{{M}}*)"
# Marks that stand for a script's own, which some keyboards lack: Greek's question mark, the full stop of Armenian and
# that of Indian scripts.
_STAND_INS = r"(?:(?<=\p{Greek}\p{M}*);|(?<=\p{Armenian}\p{M}*):|(?<=[\p{Devanagari}\p{Bengali}]\p{M}*\s?)\|)(?=\s|$)"
# Marks that end a sentence whether or not a space follows: those of all scripts but ours, and ours beside a letter of a
# script without spaces, as text repair and many keyboards write them there. No full stop within a number. After a
# closing quote the sentence may go on (「行く？」と聞いた。), unless there is a space or another quote.
_END = regex.compile(
    rf"""(?: [[\p{{STerm}}།༎]--[!?.．]] | (?<!\d)．(?!\d)
           | {_AFTER_UNSPACED}(?:[!?]|\.(?![.\w])) | [!?](?={UNSPACED}) | (?<![\d.])\.(?={UNSPACED})
           | {_STAND_INS}
         )[\p{{STerm}}\p{{M}}]*+(?:{_CLOSING}++(?=\s|$|[\p{{Ps}}\p{{Pi}}])|(?!{_CLOSING}))""",
    regex.V1 | regex.X,
)
_FINISHED = regex.compile(rf"(?:[\p{{STerm}}།༎…]|{_STAND_INS}|{_CLOSING}|\p{{Line_Break=SA}})\s*$", regex.V1)
# Where items of a list begin that has lost its lines.
_BULLET = regex.compile(r"(?<=\s)[•‣◦▪●·]\s")
_NUMBER = re.compile(r"(?:^|(?<=\s))(\d{1,2})[.)]\s")
_CONJUNCTION = r"(?:and|but|so|because|then|which|while|und|aber|weil|y|pero|porque|et|mais|e|mas|ma|и|но|или)"
# Where a long sentence is cut, best first: after a comma or another mark of that kind, before a dash or a bracket, and
# at a space in Thai or Chinese, which stands there for one; before a conjunction; between words; where kana end and a
# new word begins; between letters of a script without spaces, but for vowels that belong to a neighbour.
_CUTS = [
    regex.compile(pattern, regex.V1 | regex.I)
    for pattern in (
        rf"[,;:…]+{_CLOSING}*(?=\s|{UNSPACED})|\.{{3,}}(?=\s|{UNSPACED})|{_AFTER_UNSPACED}[,;:]"
        rf"|(?<!\d)[\p{{Term}}--[.,;:!?]]|—|(?=\s[-–(])|{_AFTER_UNSPACED}(?=\s)",
        rf"(?<!\s{_CONJUNCTION})\s(?={_CONJUNCTION}\s)",
        r"\s",
        r"(?<=\p{Hiragana})(?=[\p{Han}\p{Katakana}])",
        rf"{_AFTER_UNSPACED}(?<!\p{{Logical_Order_Exception}})(?=[{UNSPACED}--[ะาำๅๆະາຳໆー]])",
    )
]
# The same for English, much faster.
_ENGLISH_CUTS = [
    re.compile(pattern, re.I)
    for pattern in (
        r"[,;:]+[)\]}\"']*(?=\s)|\.{3,}(?=\s)|(?=\s[-(])",
        r"(?<!\sand)(?<!\sbut)(?<!\sso)\s(?=(?:and|but|so|because|then|which|while)\s)",
        r"\s",
    )
]


def split_sentences(turns: Sequence[Turn], first: int = 0) -> list[Sentence]:
    """Sentences with their speaker and turn index, counted from `first`; long ones in parts of at most `PART` words.

    Nothing is lost or changed but white space at the cuts. Two letters of a script without spaces count as a word.
    """
    # Most chat turns are one sentence, and this sees that a hundred times faster than the tokenizer.
    return [
        Sentence(number, turn.speaker, text)
        for number, turn in enumerate(turns, first)
        for text in ([turn.text] if _is_one_sentence(turn.text) else _sentences_and_parts(turn.text))
        if text.strip()
    ]


def _is_one_sentence(text: str) -> bool:
    """Whether a text needs no closer look: English, on one line, not long, with no mark before its end."""
    return text.isascii() and text.count(" ") < LONGEST and not _MAY_END.search(text) and not _may_hold_lines(text)


def _may_hold_lines(text: str) -> bool:
    """Whether there are lines, or numbers of a list that has lost them."""
    return "\n" in text or "\r" in text or "2. " in text or "2) " in text


def _sentences_and_parts(text: str) -> Iterator[str]:
    for sentence in whole_sentences(text):
        # A word and its space are two characters or more, and so are two letters that count as a word.
        if len(sentence) > 2 * LONGEST and _length(sentence) > LONGEST:
            yield from _parts(sentence)
        else:
            yield sentence


def whole_sentences(text: str) -> list[str]:
    """The sentences of a text, however long: each line and each item of a list is one, or several."""
    if text.isascii() and not _may_hold_lines(text):
        parts = [text]
    else:
        parts = [
            part
            for line in text.splitlines()
            for item in _cut(line, _item_starts(line))
            for part in _cut(item, [match.end() for match in _END.finditer(item)])
        ]
    sentences = (sentence for part in parts for sentence in (sent_tokenize(part) if _MAY_END.search(part) else [part]))
    return [stripped for sentence in sentences if (stripped := sentence.strip())]


def is_finished(sentence: str) -> bool:
    """Whether a sentence has its end and did not break off. Thai has no full stop, so there every sentence has."""
    return bool(_FINISHED.search(sentence))


def _item_starts(line: str) -> list[int]:
    """Where the items of a list begin that stands in one line: at bullets, or at the numbers 1, 2, ..."""
    if bullets := [] if line.isascii() else [match.start() for match in _BULLET.finditer(line)]:
        return bullets
    numbers = list(_NUMBER.finditer(line))
    counted = [int(match[1]) for match in numbers] == list(range(1, len(numbers) + 1))
    return [match.start() for match in numbers] if counted else []


def _cut(text: str, places: Sequence[int]) -> list[str]:
    return [text[start:end] for start, end in pairwise([0, *places, len(text)])]


def _length(text: str) -> int:
    """In words; two letters of a script without spaces make about one."""
    return len(text.split()) if text.isascii() else count_words(text) - count_unspaced(text) // 2


def _parts(text: str) -> list[str]:
    """A sentence halved near its middle, and its halves, until none is longer than `PART`."""
    if _length(text) <= PART or not (place := _near_middle(text)):
        return [text]
    return [*_parts(text[:place].rstrip()), *_parts(text[place:].lstrip())]


def _near_middle(text: str) -> int:
    """The place for a cut that is nearest to the middle, of the best kind that there is in the middle half; or 0."""
    first, end = len(text) // 4, 3 * len(text) // 4
    for cuts in _ENGLISH_CUTS if text.isascii() else _CUTS:
        if places := [match.end() for match in cuts.finditer(text, first, end)]:
            return min(places, key=lambda place: abs(2 * place - len(text)))
    return 0


def _read_stop_words() -> dict[str, frozenset[str]]:
    """Function words and chat filler by language; `any` is laughter and the like, understood in all.

    Each file has words as people type them. Scripts without spaces have single letters, and words of several, which
    `_PHRASES` finds in the text.
    """
    files = sorted(Path(__file__).with_name("stop_words").glob("*.txt"))
    return {file.stem: frozenset(normalized(file.read_text(encoding="utf-8")).split()) for file in files}


_BY_LANGUAGE = _read_stop_words()
STOP_WORDS = frozenset().union(*_BY_LANGUAGE.values())  # of all languages
_PHRASES = regex.compile("|".join(sorted((w for w in STOP_WORDS if count_unspaced(w) > 1), key=len, reverse=True)))
# Words of other scripts are what they are. "die" and "war" are function words only if the sentence is German.
_OTHER_SCRIPTS = frozenset(word for word in STOP_WORDS if not regex.search(r"\p{Latin}", word))
_LATIN = {
    language: listed | _OTHER_SCRIPTS | _BY_LANGUAGE["any"]
    for language, listed in _BY_LANGUAGE.items()
    if language != "any" and not listed <= _OTHER_SCRIPTS
}
_ENGLISH = _LATIN["en"]
_NOT_ENGLISH = frozenset().union(*_LATIN.values()) - _ENGLISH


def content_words(text: str) -> list[str]:
    """`words` without function words and chat filler; sentences of nothing else carry no gist.

    Function words are those of the one language that has most of them in the text, English where none has two and
    more than English; a text of nothing but one language's ("Merci !") is filler. Text in a language without a list
    keeps all its words.
    """
    found = words(text) if text.isascii() else words(_PHRASES.sub(" ", normalized(text)))
    stop_words = _ENGLISH if _NOT_ENGLISH.isdisjoint(found) else _stop_words_for(found)
    return [word for word in found if word not in stop_words]


def _stop_words_for(found: Sequence[str]) -> frozenset[str]:
    def count(listed: frozenset[str]) -> int:
        return sum(map(listed.__contains__, found))

    to_beat = max(count(_ENGLISH), 1)
    best = max(_LATIN.values(), key=count)
    return best if count(best) > to_beat or count(best) == len(found) else _ENGLISH
