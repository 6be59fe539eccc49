"""Your own LINE chats, as phones and LINE for Windows save them: a line a day, then "21:15", name and words.

On phones tabs stand between the three, on Windows spaces. Left out and counted: notices, and media, which LINE writes
as a word in square brackets.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, time
from pathlib import Path
from typing import NamedTuple

from gistchat.corpora.calendars import day_of, order_of
from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.whatsapp_texts import MEDIA, NOTICES, OTHERS
from gistchat.dialogue.lines import strip, text_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn
from gistchat.errors import UserError

_DAY = re.compile(r"(?:\w{2,9}[,.]? )?(\d{1,4})[./年-](\d{1,2})[./月-](\d{1,4})日? ?[(（]?(?:\w{1,12}\.?)?[)）]?")
_MESSAGE = re.compile(
    r"((?:[AaPp]\.?[Mm]\.?|上午|下午|午前|午後|오전|오후) ?)?(\d{1,2}):(\d\d) ?([AaPp]\.?[Mm]\.?)?([\t ])(.*)"
)
_AFTER_NOON = ("pm", "下午", "午後", "오후")
_MORNING = ("am", "上午", "午前", "오전")
_MEDIA = re.compile(r"\[[^\[\]\n]{1,30}\]|\([^()\n]{1,12}\)$(?<=emoji\))")
_WINDOWS_MEDIA = re.compile(
    "Stickers?|Photos?|Videos?|Images?|Files?|スタンプ|写真|動画|貼圖|圖片|照片|影片|스티커|사진|동영상"
)
_CALL = re.compile(r"☎.*")
_UNSENT = re.compile(
    r".*(?:unsent a message\.?|メッセージの送信を取り消しました"
    r"|已?收回了?(?:一則)?訊息|메시지를 취소했습니다\.?|ยกเลิกข้อความ)"
)


class Message(NamedTuple):
    day: tuple[str, str, str]
    clock: time
    gap: str  # what stands behind the time: a tab on phones, a space on Windows
    lines: list[str]


def looks_like(head: Head) -> bool:
    lines = [strip(line) for line in head.lines[:200] if line.strip()]
    if head.columns or not lines:
        return False
    days = any(map(_DAY.fullmatch, lines))
    messages = [found for line in lines if (found := _MESSAGE.fullmatch(line))]
    tabs = any(found[5] == "\t" for found in messages)
    return days and bool(messages) and (tabs or lines[0].startswith("[LINE]") or bool(_DAY.fullmatch(lines[0])))


def read(path: Path) -> Iterator[ReadResult]:
    """Raises UserError where no day with a message is found."""
    title: list[str] = []
    messages: list[Message] = []
    yield from _gather(path, title, messages)
    if not messages:
        raise UserError(f"{path}: no message of LINE in it (a line a day, then time, name and words)")
    order = order_of([message.day for message in messages], month_first=True)
    names = _names([lines[0] for _, _, gap, lines in messages if gap == " "], "\n".join(title))
    turns, left_out = [], Counter()
    for day, clock, gap, lines in messages:
        name, text = _split(lines, names) if gap == " " else _columns(lines)
        reason = _reason(name, text, gap)
        if reason:
            left_out[reason] += 1
        else:
            date = day_of(day, order)
            turns.append(Turn(name, text, iso(datetime.combine(date, clock)) if date else ""))
    yield from (LeftOut(what, count) for what, count in left_out.items())
    if turns:
        yield Dialogue(path.stem, tuple(turns), corpus=path.stem)


def _gather(path: Path, title: list[str], messages: list[Message]) -> Iterator[Malformed]:
    """Put the lines of a file into `title` and `messages`; what cannot be read comes out."""
    day = None
    for _, line in text_lines(path, as_typed=True):
        if isinstance(line, Malformed):
            yield line
        elif found := _DAY.fullmatch(strip(line)):
            day = found.groups()
        elif day and (found := _MESSAGE.fullmatch(line)) and (not messages or found[5] == messages[0].gap):
            messages.append(Message(day, _time(found), found[5], [found[6]]))
        elif messages:
            messages[-1].lines.append(line)
        elif line.lstrip("\ufeff").startswith("[LINE]"):
            title.append(line)


def _time(found: re.Match[str]) -> time:
    hour, noon = int(found[2]) % 24, strip(found[1] or found[4] or "").lower().replace(".", "")
    if noon in _AFTER_NOON + _MORNING:
        hour = hour % 12 + 12 * (noon in _AFTER_NOON)
    return time(hour, int(found[3]) % 60)


def _columns(lines: list[str]) -> tuple[str, str]:
    """Name and words of a message from a phone, which quotes words of several lines; no name: a notice."""
    name, tab, first = lines[0].partition("\t")
    text = strip("\n".join([first, *lines[1:]]))
    if text.startswith('"') and text.endswith('"') and "\n" in text:
        text = text[1:-1].replace('""', '"')
    return (strip(name), text) if tab else ("", lines[0])


def _names(lines: list[str], title: str) -> list[str]:
    """Who speaks in an export of Windows: the words that all lines with the same first word begin with."""
    groups: dict[str, list[list[str]]] = {}
    for line in lines:
        words = line.split(" ")
        groups.setdefault(words[0], []).append(words)
    names = []
    for first, group in groups.items():
        length = 1
        while (
            len(group) > 2
            and all(len(words) > length + 1 for words in group)
            and len({words[length] for words in group}) == 1
        ):
            length += 1
        named = next((" ".join(group[0][:n]) for n in range(4, 1, -1) if " ".join(group[0][:n]) in title), "")
        names.append(named or " ".join([first, *group[0][1:length]]))
    return sorted(names, key=len, reverse=True)


def _split(lines: list[str], names: list[str]) -> tuple[str, str]:
    line = lines[0]
    name = next((name for name in names if line.startswith(f"{name} ")), "")
    return name, strip("\n".join([line[len(name) + 1 :], *lines[1:]]))


def _reason(name: str, text: str, gap: str) -> str:
    """As what a message is left out; empty where it is words of a person."""
    if not name or _UNSENT.fullmatch(text):
        return NOTICES
    if _CALL.fullmatch(text):
        return OTHERS
    return MEDIA if not text or _MEDIA.fullmatch(text) or (gap == " " and _WINDOWS_MEDIA.fullmatch(text)) else ""


CORPUS = Corpus(
    name="line",
    description="your LINE chats, as phones and LINE for Windows save them",
    read=read,
    patterns=("*.txt",),
    mark=b"\n",
    looks_like=looks_like,
    export="in the chat: the menu, Settings, Export chat history; on Windows the three dots, Save chat",
    scrub=True,
    split_by="time",
)
