"""The texts that programs write of Signal's chats: sigtop (long and short), signal-export, signalbackup-tools.

Where lines have a stamp, a line without one continues the message before it. `signal.py` is their reader.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Head, iso
from gistchat.dialogue.lines import text_lines
from gistchat.dialogue.turns import Malformed, Turn
from gistchat.dialogue.visible import has_text

NOTICES, DELETED, POLLS = "notices of Signal (calls, groups)", "deleted messages", "polls"
# signal-export writes a call as if somebody had said it.
CALL = re.compile(r"(?:Incoming|Outgoing|Missed) (?:voice |video |group )?call(?: \([^()]{1,60}\))?")
_SHORT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d \d\d:\d\d|unknown) (?![-–—])(?P<name>[^:]{1,80}):"
    r"(?: \[(?P<about>[^\]]*)\])?(?: (?P<words>.*))?",
    re.S,
)
_MARKDOWN = re.compile(
    r"\[(?P<date>\d{4}-\d\d-\d\d,? \d\d:\d\d(?::\d\d)?)\] (?P<name>[^:]{1,80}):(?: (?P<words>.*))?", re.S
)
_BACKUP = re.compile(
    r"\[(?P<date>[A-Z][a-z]{2} \d\d, \d{4} \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?)\] "
    r"(?:(?P<notice>\*\*\*)|<(?P<name>[^<>]{1,80})>) (?P<words>.*)",
    re.S,
)
# Attachments and stickers; reactions and stickers on lines of their own.
_PICTURE = re.compile(r"!?\[[^\]]*\]\((?:\.{1,2}/|media/).*?\) *|^\(- .{1,200} -\)$|^\(\( .{0,40} \)\)$")
_REACTIONS = re.compile(r" \((?:\S{1,20} from [^()]{1,80})(?:, \S{1,20} from [^()]{1,80})*\)$")
_OPTION = re.compile(r" {20,}.*\[\d+\] ")  # of a poll
_FIELD = re.compile(r"(Type|Sent|Received|Attachment|Reaction|Edited): (.*)")
_TYPE = re.compile(r"Type: [a-z][\w-]*")
_MOMENT = re.compile(r"(?:Sent|Received): (?:unknown|[A-Z][a-z]{2}, \d)")
_ABOUT = re.compile(r"(?:reply to .+|edited|\d+ attachments?|.+ message)(?:, .*)?")

Piece = tuple[str, str, Turn]  # the chat's id, why the turn is left out, the turn


def looks_like(head: Head) -> bool:
    """Whether it is one of these texts."""
    lines = [line for line in head.lines if line.strip()]
    if not lines or head.columns:
        return False
    if lines[0].startswith("Conversation: "):
        return len(lines) == 1 or lines[1].startswith(("From: ", "Type: "))
    return bool(_stamp(head.path, lines[0]).match(lines[0]))


def messages(path: Path) -> Iterator[Piece | Malformed]:
    first = next((line for _, line in text_lines(path) if isinstance(line, str)), "")
    return _from_fields(path) if first.startswith("Conversation: ") else _from_lines(path, _stamp(path, first))


def _stamp(path: Path, line: str) -> re.Pattern[str]:
    if path.suffix == ".md":
        return _MARKDOWN
    return _BACKUP if line.startswith("[") else _SHORT


def _from_lines(path: Path, pattern: re.Pattern[str]) -> Iterator[Piece | Malformed]:
    begins, more, begun_at = None, [], ""
    for location, line in text_lines(path, as_typed=True):
        if isinstance(line, Malformed):
            yield line
        elif match := pattern.fullmatch(line):
            if begins:
                yield _piece(begun_at, _from_stamp, pattern, begins, more)
            begins, more, begun_at = match, [], location
        elif begins:
            more.append(line)
        elif line.strip():
            yield Malformed(location, "no date and name before the words")
    if begins:
        yield _piece(begun_at, _from_stamp, pattern, begins, more)


def _piece(location: str, build: Callable[..., Piece], *parts: Any) -> Piece | Malformed:
    try:
        return build(*parts)
    except (ValueError, OverflowError):
        return Malformed(location, "a date that is none")


def _from_stamp(pattern: re.Pattern[str], match: re.Match[str], more: list[str]) -> Piece:
    found = match.groupdict()
    words, about = found["words"] or "", found.get("about")
    if about and not _ABOUT.fullmatch(about):  # brackets that somebody typed
        words, about = f"[{about}] {words}", None
    lines, reason = [words, *more], ""
    if found.get("notice") or CALL.fullmatch(words.strip()):
        reason = "" if " sent file" in words else NOTICES
        lines = [""]
    elif about and about.endswith(" message") and not has_text(words):
        reason = NOTICES
    elif words.strip() == "(This message was deleted)":
        reason = DELETED
    elif pattern is _BACKUP:
        lines[-1] = _REACTIONS.sub("", lines[-1])
        reason = POLLS if words.startswith("Poll: ") and more and _OPTION.match(more[0]) else ""
    elif pattern is _MARKDOWN:
        lines = [_PICTURE.sub("", line) for line in lines if not line.startswith("> ")]
    return "", reason, Turn((found["name"] or "").strip(), "\n".join(lines).strip(), _date(found["date"]))


def _date(text: str) -> str:
    if text == "unknown":
        return ""
    if text[0].isalpha():
        return iso(datetime.strptime(text, "%b %d, %Y %H:%M:%S"))
    return iso(datetime.fromisoformat(text.replace(",", "")))


def _from_fields(path: Path) -> Iterator[Piece | Malformed]:
    """sigtop's long text: fields of a message, an empty line, its words; lines of quotes and versions have a mark."""
    fields: dict[str, str] = {}
    words: list[str] = []
    in_fields, begun_at = False, ""
    for (location, line), (_, following) in itertools.pairwise(
        itertools.chain(text_lines(path, as_typed=True), [("", "")])
    ):
        if isinstance(line, Malformed):
            yield line
        elif line.startswith("Conversation: ") and not fields:
            continue
        elif not in_fields and _is_head(line, following):
            if "Type" in fields:
                yield _piece(begun_at, _from_block, fields, words)
            key, _, rest = line.partition(": ")
            fields, words, in_fields, begun_at = {key: rest}, [], True, location
        elif in_fields and (field := _FIELD.fullmatch(line)):
            fields.setdefault(field[1], field[2])
        else:
            in_fields = False
            words.append(line)
    if fields:
        yield _piece(begun_at, _from_block, fields, words)


def _is_head(line: str, following: str | Malformed) -> bool:
    """Whether a message begins here; its words may have such lines, too, but hardly two of them."""
    if isinstance(following, Malformed):
        return False
    if line.startswith("From: "):
        return bool(_TYPE.fullmatch(following))
    return bool(_TYPE.fullmatch(line) and _MOMENT.match(following))


def _from_block(fields: dict[str, str], words: list[str]) -> Piece:
    if "Edited" in fields:  # versions stand below each other, the latest first
        rest = [line for line in words if line.startswith("|")]
        ends = next((i for i, line in enumerate(rest[1:], 1) if line.startswith("| Version: ")), len(rest))
        version = [line.removeprefix("|").removeprefix(" ") for line in rest[:ends]]
        version = [line for line in version if not line.startswith((">", "Version: ", "Sent: ", "Attachment: "))]
    else:
        version = [line for line in words if not line.startswith(">")]
    sent = fields.get("Sent", "unknown")
    date = "" if sent == "unknown" else iso(parsedate_to_datetime(sent))
    reason = "" if fields.get("Type") in ("incoming", "outgoing") and fields.get("From") else NOTICES
    # After a name the number or id stands in brackets.
    speaker = re.sub(r" \([^()]*\)$", "", fields.get("From", ""))
    return "", reason, Turn(speaker, "\n".join(version).strip(), date)
