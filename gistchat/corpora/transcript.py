"""Your own text files: a turn a line as "Name: words"; an empty line, or a line of dashes, ends a dialogue.
Where empty lines stand between all turns, they end none.

A line that names nobody continues the turn before it, as does everything in a block of code between lines of ```, and
what Markdown marks as a list, quote, table, heading or code. Line ends and indentations are kept.

A time before the name, as in "[21:15] Ann: Hi", is left out; what messengers export with dates has readers of its own.
A text is refused whose lines begin with headers ("From:", "Subject:") or mostly with nobody's name.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.roles import said_by
from gistchat.corpora.stamps import layout_of
from gistchat.dialogue.lines import parse_records, strip, text_lines
from gistchat.dialogue.turns import Malformed, ReadResult, Turn, Unreadable
from gistchat.errors import UserError

_BOLD = re.compile(r"(\*\*|__)([^*_:\n]{1,60})(?::\1|\1:)")  # a name, as Markdown writes it
_TIME = re.compile(r"^\[\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]m)?\]\s*", re.I)
_NAMED = re.compile(r"([^:\n]{1,60}):(?:\s+(.*)|$)", re.S)
# Marks of a line in Markdown that continues a turn, even with a colon in it: indented code, lists, quotes, tables.
_MARKDOWN = re.compile(r" {4}|\t| {0,3}(?:[-–*+•>|] |#{1,6} |\d+[.)] )")
_FENCE = "```"  # opens and closes a block of code; a longer one may hold others
_OPENING_FENCE = re.compile(r"(?:.*:)?\s*(```+)[^`]*$")
_RULE = re.compile(r"[-=_*]{3,}")
_MARKS = str.maketrans("", "", "\u200e\u200f\u202a\u202c\ufeff")  # messengers put marks of direction around names
HEADERS = {"guild", "channel", "topic", "from", "to", "cc", "bcc", "subject", "date", "sent", "reply-to", "message-id"}
HEADERS |= {"content-type", "mime-version", "return-path", "x-mailer"}
LEVELS = {"trace", "debug", "info", "notice", "warn", "warning", "error", "critical", "fatal"}
FIRST_LINES = 300  # by which dates and headers are told


def parse_lines(lines: Iterable[str]) -> list[Turn]:
    """Turns of one dialogue.

    Raises:
        Unreadable: the first line names no speaker.
    """
    said: list[tuple[str, list[str]]] = []  # the lines of each turn: joined one by one, a long turn would take for ever
    fence = ""  # of the block of code that a line stands in
    listed = bold = False  # whether names stand in a list, as in "- Ann: Hi", or are bold
    for typed in lines:
        line = typed.translate(_MARKS).lstrip()
        stamp = None if fence else _TIME.match(line)
        continues = fence or (said and not stamp and not listed and _MARKDOWN.match(typed))
        named, is_bold = (None, False) if continues else _named(line[stamp.end() if stamp else 0 :].lstrip())
        fence = _fence_after(fence, line)
        if named and (is_bold or not bold):
            bold = bold if said else is_bold
            listed = listed if said else bool(_MARKDOWN.match(typed))
            mark = _MARKDOWN.match(named[1]) if listed else None
            said.append((strip(named[1][mark.end() if mark else 0 :]), [named[2] or ""]))
        elif said:
            said[-1][1].append(typed)
        else:
            raise Unreadable("expected 'Name: words'")
    return [Turn(speaker, "\n".join(texts)) for speaker, texts in said]


def _named(line: str) -> tuple[re.Match[str] | None, bool]:
    """The name that a line begins with and the words behind it, and whether the name is bold."""
    bold = _BOLD.match(line)
    return _NAMED.fullmatch(f"{bold[2]}:{line[bold.end() :]}" if bold else line), bool(bold)


def _fence_after(before: str, line: str) -> str:
    """The fence of the block of code that the lines after this one are in; empty outside of code."""
    if before:
        return "" if line.rstrip().endswith(before) else before
    opening = _OPENING_FENCE.match(line) if _FENCE in line else None
    return opening[1] if opening else ""


def read(path: Path) -> Iterator[ReadResult]:
    """Dialogues of a transcript, between empty lines. Raises UserError where it is none."""
    require_dialogue(path)
    yield from parse_records(_parse, path.stem, _blocks(path, _is_spaced(path)))


def require_dialogue(path: Path) -> None:
    """Raises UserError for a text that is no dialogue."""
    first_lines = [line for _, line in islice(text_lines(path), FIRST_LINES) if isinstance(line, str)]
    if 2 * sum(map(_is_dated, first_lines)) > len(first_lines):
        problem = "its lines begin with dates, as messengers' exports and logs do"
        raise UserError(
            f"{path}: {problem}; read an export as whatsapp={path}, if need be with --stamp '%d.%m.%Y, %H:%M - '"
        )
    names = [named[1].strip() for line in first_lines if (named := _NAMED.fullmatch(line))]
    if len(headers := {name for name in names if name.lower() in HEADERS}) > 1:
        raise UserError(
            f"{path}: its lines begin with headers ({', '.join(sorted(headers))}), not with who speaks: no dialogue"
        )
    if names and all(name.lower() in LEVELS for name in names):
        raise UserError(f"{path}: a program's log, no dialogue")
    kept = nobody = 0  # lines
    first = ""
    for location, block in _blocks(path):
        if isinstance(block, Malformed):
            continue
        if _is_dialogue(block):
            kept += len(block)
        else:
            nobody += len(block)
            first = first or location
    if nobody > kept:
        problem = f"expected 'Name: words'; {nobody:,} lines belong to nobody and {kept:,} to a speaker: no dialogue"
        raise UserError(f"{first}: {problem}")


def _is_dated(line: str) -> bool:
    """Whether a date stands before the name, in whatever layout; who has no name may have a telephone number."""
    name = line.partition(": ")[0]
    return bool(layout_of(line) or (len(re.findall(r"\d", name[:60])) > 5 and re.search(r"[^\W\d]", name)))


def _is_dialogue(block: list[str]) -> bool:
    try:
        return bool(parse_lines(block[:1]))
    except Unreadable:
        return False


def _is_spaced(path: Path) -> bool:
    """Whether empty lines stand between all turns, so that they end none: then no two names stand in one block."""
    names = set()
    for _, block in _blocks(path):
        if isinstance(block, Malformed) or not _is_dialogue(block):
            continue
        turns = parse_lines(block)
        if len(turns) > 1:
            return False
        names.add(turns[0].speaker)
    return len(names) > 1


def _blocks(path: Path, spaced: bool = False) -> Iterator[tuple[str, list[str] | Malformed]]:
    """Lines of one dialogue each, with the location of the first.

    Args:
        spaced: empty lines end no dialogue.
    """
    start, block = "", []
    code = fence = ""  # the location at which a block of code was opened, and what closes it
    for location, typed in text_lines(path, as_typed=True):
        bad = isinstance(typed, Malformed)
        line = "" if bad else strip(typed.translate(_MARKS))
        ends = bad or (not code and (_RULE.fullmatch(line) if line else not spaced))
        if block and ends:
            yield start, block
            block = []
        fence = "" if bad else _fence_after(fence, line)
        code = (code or location) if fence else ""
        if bad:
            yield location, typed
        elif not ends and (line or block):
            start = start if block else location
            block.append(typed)
    if code:
        yield code, Malformed(code, f"a block of code begins here ({_FENCE}) and never ends")
    elif block:
        yield start, block


def _parse(file: str, name: str, block: list[str]) -> Iterator[ReadResult]:
    yield from said_by(name, file, parse_lines(block))


CORPUS = Corpus(
    name="transcript",
    description='your text files: lines of "Name: words", an empty line between dialogues',
    read=read,
    patterns=("*.txt",),
    mark=b"\n\n",
    looks_like=lambda head: head.path.suffix == ".txt",
    scrub=True,
)
