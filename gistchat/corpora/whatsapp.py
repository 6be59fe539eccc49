"""Your own WhatsApp chats, as phones export them: "12/31/23, 9:15 PM - Ann: Hi" or "[31.12.23, 21:15:00] Ann: Hi".

What follows a stamp (see `stamps.py`) up to the next is one message, with its empty lines. Left out and counted:
notices, media, deleted messages, polls, calls and places. Words beside media stay.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.stamps import FIRST_LINES, Stamp, given, is_in_brackets, layout_of, learn_layout, learned, moments
from gistchat.corpora.whatsapp_texts import NOTICES, OWN, plain, words_of
from gistchat.dialogue.lines import strip, text_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn
from gistchat.errors import UserError

LONGEST_NAME = 100
BEFORE = "lines before the first message"

_SPACE = re.compile(r"[\s\u200e\u200f]|$")  # behind the colon
_COLON = re.compile(r":(?=[\s\u200e\u200f]|$)")
_NOT_A_CONTACT = re.compile(r"^~\s*(?=\S)")  # before names that people gave themselves
_QUOTES = re.compile('["“”„«»「」『』״]')
_LOG = re.compile(r"\b(?:trace|debug|info|notice|warn|warning|error|critical|fatal)\b", re.I)


class Message(NamedTuple):
    stamp: Stamp | datetime
    lines: list[str]  # behind the stamp; marks of direction are still there


def refused(head: Head) -> str:
    """What to say of files of WhatsApp that cannot be read; empty for all else."""
    if head.path.suffix.startswith(".crypt"):
        return f"an encrypted backup of WhatsApp, which only WhatsApp can open; export the chat: {CORPUS.export}"
    return ""


def looks_like(head: Head) -> bool:
    lines = [line for line in head.lines[:FIRST_LINES] if line.strip()]
    layout = learn_layout(lines)
    if head.columns or not layout or not any(map(layout_of, lines[:5])):
        return False
    stamped = [found[1] for found in map(learned(layout), lines) if found]
    names = [line.partition(":")[0] for line in stamped if ":" in line]
    if 2 * sum(bool(_LOG.search(name)) for name in names) > len(names):
        return False  # a program's log
    # Discord's lines have a name and no words behind the stamp; a phone's notice has words.
    return bool(names) and (not is_in_brackets(layout) or 3 * len(names) >= len(stamped))


def read(path: Path, stamp: str = "") -> Iterator[ReadResult]:
    """The chat of a file as one dialogue.

    Args:
        stamp: how the stamp is written, where it cannot be learned: as for `strptime`, "%d.%m.%Y %H:%M - ".

    Raises:
        UserError: no line begins with a stamp.
    """
    layout = learn_layout(line for _, line in islice(text_lines(path), FIRST_LINES) if isinstance(line, str))
    stamp_at = given(stamp) if stamp else learned(layout) if layout else lambda line: None
    messages, left_out, malformed = [], Counter(), 0
    for _, line in text_lines(path, as_typed=True):
        if isinstance(line, Malformed):
            malformed += 1
            yield line
        elif found := stamp_at(line):
            messages.append(Message(found[0], [found[1]]))
        elif messages:
            messages[-1].lines.append(line)
        elif line.strip():
            left_out[BEFORE] += 1
    if malformed and not messages:
        return  # which says what is wrong with it
    if left_out[BEFORE] > sum(len(message.lines) for message in messages) or not messages:
        raise UserError(f"{path}: {_problem(path, left_out[BEFORE])}")
    turns = list(_turns(messages, is_in_brackets(layout) and not stamp, left_out))
    yield from (LeftOut(what, count) for what, count in left_out.items())
    if turns:
        yield Dialogue(path.stem, tuple(_names_with_colons(turns)), corpus=path.stem)


def _problem(path: Path, lines: int) -> str:
    if not lines:
        return "empty"
    problem = "does not begin its lines with a date and a time that WhatsApp is known to write"
    return f"{problem}; say how they are written, as in --stamp '%d.%m.%Y, %H:%M - '"


def _turns(messages: list[Message], iphone: bool, left_out: Counter[str]) -> Iterator[Turn]:
    names = _names(messages)
    dates = moments([message.stamp for message in messages])
    for number, (message, date) in enumerate(zip(messages, dates, strict=True)):
        name, first = _split(message.lines[0], names)
        if not name or (iphone and number < 2 and _is_welcome(first)):
            left_out[NOTICES] += 1
            continue
        words, reason = words_of(strip("\n".join([first, *message.lines[1:]])), iphone)
        if words:
            yield Turn(name, words, iso(date) if date else "")
        else:
            left_out[reason] += 1


def _is_welcome(text: str) -> bool:
    """Whether it is a note that iPhones put under the name of a chat; old ones have no mark."""
    return f": {OWN}" in text or (len(text) > 50 and bool(re.search("WhatsApp|واتساب", text)))


def _names(messages: list[Message]) -> Counter[str]:
    """What stands before colons, and how often; twice as much counts what has a space behind the colon."""
    counts = Counter()
    for message in messages:
        name, colon, text = message.lines[0].partition(":")
        if colon and len(name) <= LONGEST_NAME and not text.startswith("//"):
            counts[plain(name)] += 2 if _SPACE.match(text) else 1
    return counts


def _split(line: str, names: Counter[str]) -> tuple[str, str]:
    """Name and words of a line behind its stamp; no name where it is a notice."""
    name, _, text = line.partition(":")
    if names[plain(name)] < 2:
        colon = _COLON.search(line)
        name, text = (line[: colon.start()], line[colon.end() :]) if colon else ("", line)
    name = plain(name)
    # A notice may quote the name of a group that has a colon in it; but people have names as 'Dr "X' too.
    quotes = len(_QUOTES.findall(name)) % 2 and names[name] < 5
    sentence = len(name) > 40 and re.search(r"[.。] \w", name)
    return (
        ("", line)
        if not name or len(name) > LONGEST_NAME or quotes or sentence
        else (_NOT_A_CONTACT.sub("", name), text)
    )


def _names_with_colons(turns: list[Turn]) -> Iterator[Turn]:
    """Turns with whole names, where all that somebody says begins with the same words and a colon: "Ann: work"."""
    begins: dict[str, Counter[str]] = {}
    for turn in turns:
        begin = turn.text[:40].partition(": ")
        begins.setdefault(turn.speaker, Counter())[begin[0] + begin[1] if begin[1] else ""] += 1
    common = {name: next(iter(seen)) for name, seen in begins.items() if len(seen) == 1 and seen.total() > 2}
    for turn in turns:
        more = common.get(turn.speaker, "")
        name = f"{turn.speaker}: {more.removesuffix(': ')}" if more else turn.speaker
        yield turn._replace(speaker=name, text=turn.text[len(more) :])


CORPUS = Corpus(
    name="whatsapp",
    description="your WhatsApp chats, as Android and iPhones export them in any language",
    read=read,
    patterns=("*.txt",),
    mark=b"\n",
    looks_like=looks_like,
    refused=refused,
    takes=("stamp",),
    export="in the chat: the menu, More, Export chat, Without media; on an iPhone the chat's name, Export Chat",
    scrub=True,
    split_by="time",
)
