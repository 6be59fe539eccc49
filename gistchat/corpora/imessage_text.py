"""The texts of imessage-exporter: a stamp, who, the words, what others made of them. `imessage.py` is their reader."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from gistchat.corpora.corpus import Head, iso
from gistchat.corpora.dates import as_date
from gistchat.dialogue.lines import text_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn
from gistchat.dialogue.visible import has_text

NOTICES, WORDLESS = "notices (groups, calls, deleted messages)", "messages without words (attachments)"
REACTIONS = "reactions"
# Tapbacks, as phones without iMessage get them.
_REACTION = re.compile(
    r"(?:Loved|Liked|Disliked|Laughed at|Emphasi[sz]ed|Questioned|Reacted \S{1,12} to|Removed an? [\w ]{1,20} from) "
    r"(?:[“\"].*[”\"]|an? (?:image|movie|video|audio message|attachment|link|sticker|location))",
    re.S,
)
TWICE = "replies shown a second time"
PLACE_OF_ATTACHMENT = "\ufffc"
_STAMP = re.compile(
    r"([A-Z][a-z]{2} \d{2}, \d{4} {1,2}\d{1,2}:\d{2}:\d{2} [AP]M)(?: \((?:Read|Delivered|Sent)[^()]*\))?(?: (\S.*))?"
)
_PATH = re.compile(
    r"(?:/|~/|[A-Z]:\\|attachments/|\S*/attachments/).+\.\w{2,5}|Attachment missing!|Sticker from .{1,60}: .+"
)
# What follows the words of a message: what others made of it, and how it flew in.
_AFTERWARDS = re.compile(
    r"(?:Tapbacks|Reactions):|This message responded to an earlier message\.|Translated from:?.*"
    r"|Sent with (?:Echo|Spotlight|Balloons|Confetti|Love|Heart|Lasers|Fireworks|Shooting Star|Sparkles|Celebration"
    r"|Slam|Loud|Gentle|Invisible Ink)"
)
_EDITED = re.compile(r"Edited [\w ,]{1,60} later: (.*)")  # below what was written first
_GONE = re.compile(r"This message was deleted from the conversation!|.{1,60} unsent this message part\b.*!")


def looks_like(head: Head) -> bool:
    lines = head.lines
    return head.path.suffix == ".txt" and bool(lines) and bool(_STAMP.fullmatch(lines[0].strip()))


def read(path: Path) -> Iterator[ReadResult]:
    turns: list[Turn] = []
    left_out: Counter[str] = Counter()
    block: list[str] = []
    stamp = None

    def close() -> None:
        """What stands below a stamp: who, the words, and what became of them."""
        reason, turn = _message(stamp, block)
        if reason:
            left_out[reason] += 1
        else:
            turns.append(turn)

    for _, line in text_lines(path, as_typed=True):
        if isinstance(line, Malformed):
            yield line
        elif begins := _STAMP.fullmatch(line):
            if stamp:
                close()
            stamp, block = begins, []
        elif line.startswith("    ") and _STAMP.fullmatch(line.strip()):
            left_out[TWICE] += 1
            block.append(line)
        else:
            block.append(line)
    if stamp:
        close()
    yield from (LeftOut(reason, count) for reason, count in left_out.items())
    yield Dialogue(path.stem, tuple(turns), corpus="imessage")


def _message(stamp: re.Match[str], block: list[str]) -> tuple[str, Turn | None]:
    if stamp[2] or not block or not block[0].strip():  # "May 17, 2022  5:29:42 PM You named the conversation ..."
        return NOTICES, None
    words = []
    for line in block[1:]:
        nested = line.startswith("    ") and _STAMP.fullmatch(line.strip())
        if nested or _AFTERWARDS.fullmatch(line.strip()):
            break
        if _GONE.fullmatch(line.strip()):
            return NOTICES, None
        if edited := _EDITED.fullmatch(line.strip()):
            words = [edited[1]]
        elif not _PATH.fullmatch(line.strip()):
            words.append(line)
    text = "\n".join(words).replace(PLACE_OF_ATTACHMENT, "").strip()
    if reason := not_said(text):
        return reason, None
    date = as_date(stamp[1])
    return "", Turn(block[0].strip(), text, iso(date) if date else "")


def not_said(text: str) -> str:
    """Why a text is no words of a person; empty if it is."""
    if not has_text(text):
        return WORDLESS
    return REACTIONS if _REACTION.fullmatch(text) else ""
