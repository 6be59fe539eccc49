"""Plain text, a turn a line as "Name: words"; an empty line, or a line of dashes, ends a dialogue.

Time stamps before the name, as messengers export them, are dropped: "12/31/23, 9:15 PM - Ann: Hi", "[9:15] Ann: Hi".
A line without a name goes on with the turn before.
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
_RULE = re.compile(r"[-=_*]{3,}")


def parse_lines(lines: Iterable[tuple[str, str]]) -> list[Turn]:
    """Turns of one dialogue from (where, line).

    Raises:
        ValueError: the first line names no speaker.
    """
    turns: list[Turn] = []
    for where, line in lines:
        stamped = _STAMP.match(line) or _TIME.match(line)
        rest = line[stamped.end() :] if stamped else line
        named = _NAMED.fullmatch(rest.strip())
        if named:
            turns.append(Turn(named[1].strip(), named[2] or ""))
        elif stamped:
            continue  # a notice of the messenger, such as "Ann added Ben"
        elif turns:
            turns[-1] = Turn(turns[-1].speaker, f"{turns[-1].text} {line.strip()}")
        else:
            raise ValueError(f"{where}: expected 'Name: words'")
    return turns


def read(path: Path) -> Iterator[Dialogue | Malformed]:
    block: list[tuple[str, str]] = []
    for where, line in _raw_lines(path):
        if line.strip() and not _RULE.fullmatch(line.strip()):
            block.append((where, line))
        elif block:
            yield _dialogue(path, block)
            block = []
    if block:
        yield _dialogue(path, block)


def _raw_lines(path: Path) -> Iterator[tuple[str, str]]:
    # Here empty lines mean something, so `text_lines`, which passes over them, does not serve.
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: not UTF-8; save the file as UTF-8 text") from None
    for number, line in enumerate(text.split("\n"), 1):
        yield f"{path}:{number}", line


def _dialogue(path: Path, block: list[tuple[str, str]]) -> Dialogue | Malformed:
    where = block[0][0]
    try:
        turns = parse_lines(block)
    except ValueError as error:
        return Malformed(where, str(error).split(": ", 1)[-1])
    return Dialogue(f"{path.stem}-{where.rsplit(':', 1)[1]}", tuple(turns), corpus=path.stem)
