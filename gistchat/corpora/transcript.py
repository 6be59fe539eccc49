"""Your own text files: a turn a line as "Name: words"; an empty line, or a line of dashes, ends a dialogue.

Messenger exports are recognised by the time stamp before the name, as in "12/31/23, 9:15 PM - Ann: Hi" or
"[31.12.23, 21:15] Ann: Hi". In them, a new day begins a new dialogue and a line without a stamp continues the message
before it. The messenger's notices ("Ann added Ben") and placeholders for pictures and deleted messages are left out
and counted.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from gistchat.corpora.corpus import Corpus
from gistchat.dialogue.lines import parse_records, text_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn, Unreadable

_STAMP = re.compile(
    r"^\W?\[?[\d./-]{4,10}[,.]?\s+\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:\s?[ap]\.?m\.?)?\]?\s*[-–:]?\s*", re.I
)
_TIME = re.compile(r"^\[\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]m)?\]\s*", re.I)
_NAMED = re.compile(r"([^:\n]{1,60}):(?:\s+(.*)|$)", re.S)
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
_EDITED = re.compile(r"\s*<[^<>]*(?:edited|bearbeitet|modifié|editad|modificat)[^<>]*>\s*$", re.I)
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
    turns: list[Turn] = []
    left_out = {NOTICES: 0, NO_WORDS: 0}
    export = False  # in a messenger's export, only stamped lines begin a message
    for marked in lines:
        line = marked.translate(_MARKS)
        stamp = _STAMP.match(line) or _TIME.match(line)
        export = export or bool(stamp)
        named = _NAMED.fullmatch(line[stamp.end() if stamp else 0 :].strip())
        if stamp and named and _NOTICE.search(named[1]):
            left_out[NOTICES] += 1
        elif stamp and named and f": {_SYSTEM}" in marked:
            left_out[NO_WORDS] += 1
        elif named and (stamp or not export):
            turns.append(Turn(named[1].strip(), _EDITED.sub("", named[2] or "")))
        elif stamp:
            left_out[NOTICES] += 1
        elif turns:
            turns[-1] = Turn(turns[-1].speaker, f"{turns[-1].text} {line.strip()}")
        elif not export:
            raise Unreadable("expected 'Name: words'")
    kept = [turn for turn in turns if not (export and _NO_WORDS.fullmatch(turn.text.strip()))]
    left_out[NO_WORDS] += len(turns) - len(kept)
    return kept, left_out


def read(path: Path) -> Iterator[ReadResult]:
    """Dialogues of a transcript: between empty lines; in a messenger's export, of one day."""
    return parse_records(_parse, path.stem, _blocks(path))


def _blocks(path: Path) -> Iterator[tuple[str, list[str] | Malformed]]:
    """Lines of one dialogue each, with the location of the first."""
    start, block = "", []
    day = ""
    for location, line in text_lines(path, keep_empty=True):
        bad = isinstance(line, Malformed)
        stamp = None if bad else _STAMP.match(line.translate(_MARKS))
        today = _DAY.search(stamp[0])[0] if stamp else day
        ends = bad or (not today and (not line or _RULE.fullmatch(line)))
        if block and (ends or (day and day != today)):
            yield start, block
            block = []
        day = today
        if bad:
            yield location, line
        elif line and not ends:
            start = start if block else location
            block.append(line)
    if block:
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
    scrub=True,
)
