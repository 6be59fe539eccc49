"""Plain text, a turn a line as "Name: words"; an empty line, or a line of dashes, ends a dialogue.

Messenger exports are known by the stamp before the name: "12/31/23, 9:15 PM - Ann: Hi", "[31.12.23, 21:15] Ann: Hi".
There a new day begins a new dialogue, a line without a stamp goes on with the message before, and the messenger's own
notices ("Ann added Ben") are left out.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from gistchat.dialogue import Dialogue, Malformed, Turn
from gistchat.errors import UserError

PATTERNS = ("*.txt",)
_STAMP = re.compile(
    r"^\W?\[?[\d./-]{4,10}[,.]?\s+\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:\s?[ap]\.?m\.?)?\]?\s*[-–:]?\s*", re.I
)
_TIME = re.compile(r"^\[\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]m)?\]\s*", re.I)
_NAMED = re.compile(r"([^:\n]{1,60}):(?:\s+(.*)|$)", re.S)
_DAY = re.compile(r"[\d./-]+")
_RULE = re.compile(r"[-=_*]{3,}")


def parse_lines(lines: Iterable[tuple[str, str]]) -> list[Turn]:
    """Turns of one dialogue from (where, line).

    Raises:
        ValueError: the first line names no speaker.
    """
    turns: list[Turn] = []
    export = False  # in a messenger's export, only stamped lines begin a message
    for where, line in lines:
        stamp = _stamp(line)
        export = export or bool(stamp)
        rest = line.removeprefix(stamp).strip()
        named = _NAMED.fullmatch(rest)
        if named and (stamp or not export):
            turns.append(Turn(named[1].strip(), named[2] or ""))
        elif stamp:
            continue  # a notice of the messenger, such as "Ann added Ben"
        elif turns:
            turns[-1] = Turn(turns[-1].speaker, f"{turns[-1].text} {line.strip()}")
        elif not export:
            raise ValueError(f"{where}: expected 'Name: words'")
    return turns


def _stamp(line: str) -> str:
    """The time stamp at the start of a messenger's line, or nothing."""
    found = _STAMP.match(line) or _TIME.match(line)
    return found[0] if found else ""


def read(path: Path) -> Iterator[Dialogue | Malformed]:
    """Dialogues of a transcript: between empty lines; in a messenger's export, of one day."""
    block: list[tuple[str, str]] = []
    day = ""
    for where, line in _raw_lines(path):
        stamp = _STAMP.match(line)
        if stamp and day and _DAY.search(stamp[0])[0] != day:
            yield from _dialogues(path, block)
            block = []
        if stamp:
            day = _DAY.search(stamp[0])[0]
        if line.strip() and (day or not _RULE.fullmatch(line.strip())):
            block.append((where, line))
        elif not day:
            yield from _dialogues(path, block)
            block = []
    yield from _dialogues(path, block)


def _raw_lines(path: Path) -> Iterator[tuple[str, str]]:
    # Here empty lines mean something, so `text_lines`, which passes over them, does not serve.
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: not UTF-8; save the file as UTF-8 text") from None
    for number, line in enumerate(text.split("\n"), 1):
        yield f"{path}:{number}", line


def _dialogues(path: Path, block: list[tuple[str, str]]) -> Iterator[Dialogue | Malformed]:
    """The dialogue of a block of lines; none where the block is empty or holds notices only."""
    if not block:
        return
    where = block[0][0]
    try:
        turns = parse_lines(block)
    except ValueError as error:
        yield Malformed(where, str(error).split(": ", 1)[-1])
        return
    if turns:
        yield Dialogue(f"{path.stem}-{where.rsplit(':', 1)[1]}", tuple(turns), corpus=path.stem)
