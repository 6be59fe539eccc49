"""Your own text files: a turn a line as "Name: words"; an empty line, or a line of dashes, ends a dialogue.

A line that names nobody continues the turn before it, as does everything in a block of code between lines of ```, and
what Markdown marks as a list, quote, table, heading or code. Line ends and indentations are kept.

Messenger exports are recognised by the time stamp before the name, as in "12/31/23, 9:15 PM - Ann: Hi" or
"[31.12.23, 21:15] Ann: Hi". In them, a new day begins a new dialogue and a line without a stamp continues the message
before it. The messenger's notices ("Ann added Ben") and placeholders for pictures and deleted messages are left out
and counted.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from gistchat.corpora.corpus import Corpus
from gistchat.dialogue.lines import parse_records, strip, text_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn, Unreadable

_STAMP = re.compile(
    r"^\W?\[?[\d./-]{4,10}[,.]?\s+\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:\s?[ap]\.?m\.?)?\]?\s*[-–:]?\s*", re.I
)
_TIME = re.compile(r"^\[\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]m)?\]\s*", re.I)
_NAMED = re.compile(r"([^:\n]{1,60}):(?:\s+(.*)|$)", re.S)
# Marks of a line in Markdown that continues a turn, even with a colon in it: indented code, lists, quotes, tables.
_MARKDOWN = re.compile(r" {4}|\t| {0,3}(?:[-–*+•>|] |#{1,6} |\d+[.)] )")
_FENCE = "```"  # opens and closes a block of code; a longer one may hold others
_OPENING_FENCE = re.compile(r"(?:.*:)?\s*(```+)[^`]*$")
_DAY = re.compile(r"[\d./-]+")
_RULE = re.compile(r"[-=_*]{3,}")
_MARKS = str.maketrans("", "", "\u200e\u200f\u202a\u202c\ufeff")  # messengers put marks of direction around names
_NO_WORDS = re.compile(
    r"<[^<>]*>|(?:media|image|video|gif|sticker|audio|document|contact card|photo)s? omitted"
    r"|[^\s]+\.\w{3,4} \(file attached\)"
    r"|(?:this message was deleted|you deleted this message)\.?|null|missed (?:voice|video) call"
    r"|diese nachricht wurde gelöscht\.?|du hast diese nachricht gelöscht\.?|se eliminó este mensaje\.?"
    r"|eliminaste este mensaje\.?|ce message a été supprimé\.?|vous avez supprimé ce message\.?"
    r"|questo messaggio è stato eliminato\.?|mensagem apagada\.?|삭제된 메시지입니다\.?",
    re.I,
)
_EDITED = re.compile("edited|bearbeitet|modifié|editad|modificat", re.I)  # in < > at a message's end
# In every language, a text by the messenger itself (not by the named sender) begins with this mark.
_SYSTEM = "\u200e"
_NOTICE = re.compile(r"(?:changed|added|removed|left|joined|created|pinned)\b[^:]*[\"“„]", re.I)
NOTICES = "messenger's notices"
NO_WORDS = "messages without words (media, deleted)"


def parse_lines(lines: Iterable[str]) -> tuple[list[Turn], dict[str, int]]:
    """Turns of one dialogue, and how many messages were left out, by what they are.

    Raises:
        Unreadable: the first line names no speaker.
    """
    said: list[tuple[str, list[str]]] = []  # the lines of each turn: joined one by one, a long turn would take for ever
    left_out = {NOTICES: 0, NO_WORDS: 0}
    export = False  # in a messenger's export, only stamped lines begin a message
    fence = ""  # of the block of code that a line stands in
    listed = False  # whether names stand in a list, as in "- Ann: Hi"
    for typed in lines:
        line = typed.translate(_MARKS).lstrip()
        stamp = None if fence else _STAMP.match(line) or _TIME.match(line)
        export = export or bool(stamp)
        continues = fence or (said and not stamp and not listed and _MARKDOWN.match(typed))
        named = None if continues else _NAMED.fullmatch(line[stamp.end() if stamp else 0 :].lstrip())
        fence = "" if export else _fence_after(fence, line)
        if stamp and named and _NOTICE.search(named[1]):
            left_out[NOTICES] += 1
        elif stamp and named and f": {_SYSTEM}" in typed:
            left_out[NO_WORDS] += 1
        elif named and (stamp or not export):
            listed = listed if said else bool(_MARKDOWN.match(typed))
            mark = _MARKDOWN.match(named[1]) if listed else None
            said.append((strip(named[1][mark.end() if mark else 0 :]), [named[2] or ""]))
        elif stamp:
            left_out[NOTICES] += 1
        elif said:
            said[-1][1].append(typed)
        elif not export:
            raise Unreadable("expected 'Name: words'")
    turns = [Turn(speaker, _without_edit_mark("\n".join(texts))) for speaker, texts in said]
    kept = [turn for turn in turns if not (export and _NO_WORDS.fullmatch(turn.text.strip()))]
    left_out[NO_WORDS] += len(turns) - len(kept)
    return kept, left_out


def _without_edit_mark(text: str) -> str:
    """A message without "<This message was edited>" at its end, in whatever language."""
    stripped = text.rstrip()
    start = stripped.rfind("<")
    marked = start >= 0 and stripped.find(">", start) == len(stripped) - 1 and _EDITED.search(stripped, start)
    return stripped[:start].rstrip() if marked else text


def _fence_after(before: str, line: str) -> str:
    """The fence of the block of code that the lines after this one are in; empty outside of code."""
    if before:
        return "" if line.rstrip().endswith(before) else before
    opening = _OPENING_FENCE.match(line) if _FENCE in line else None
    return opening[1] if opening else ""


def read(path: Path) -> Iterator[ReadResult]:
    """Dialogues of a transcript: between empty lines; in a messenger's export, of one day."""
    return parse_records(_parse, path.stem, _blocks(path))


def _blocks(path: Path) -> Iterator[tuple[str, list[str] | Malformed]]:
    """Lines of one dialogue each, with the location of the first."""
    start, block = "", []
    day = ""
    code = fence = ""  # the location at which a block of code was opened, and what closes it
    for location, typed in text_lines(path, as_typed=True):
        bad = isinstance(typed, Malformed)
        line = "" if bad else strip(typed.translate(_MARKS))
        stamp = None if code else _STAMP.match(line)
        today = _DAY.search(stamp[0])[0] if stamp else day
        ends = bad or (not today and not code and (not line or _RULE.fullmatch(line)))
        if block and (ends or (day and day != today)):
            yield start, block
            block = []
        day = today
        fence = "" if bad or day else _fence_after(fence, line)
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
    """The dialogue of a block of lines; none if it holds only notices."""
    turns, left_out = parse_lines(block)
    yield from (LeftOut(what, count) for what, count in left_out.items() if count)
    if turns:
        yield Dialogue(name, tuple(turns), corpus=file)


CORPUS = Corpus(
    name="transcript",
    description='your text files or messenger exports: lines of "Name: words", an empty line between dialogues',
    read=read,
    patterns=("*.txt",),
    mark=b"\n\n",
    looks_like=lambda head: head.path.suffix == ".txt",
    scrub=True,
)
