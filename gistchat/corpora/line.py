"""Your own LINE chats, as phones and LINE for Windows save them: a line a day, then "21:15", name and words.

On phones tabs stand between the three, on Windows spaces. Left out and counted: notices, and media, which LINE writes
as a word in square brackets.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, time
from pathlib import Path
from typing import NamedTuple

from gistchat.corpora.calendars import Date, day_of, order_of
from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.noon import means_noon, of_24_hours
from gistchat.corpora.stamps import FIRST_LINES
from gistchat.corpora.whatsapp_texts import MEDIA, NOTICES, OTHERS
from gistchat.dialogue.lines import strip, text_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn
from gistchat.errors import UserError

_WEEKDAY = r"[^\s\d()（）]{1,15}"
_DATE = r"(\d{1,4})(?:[./-]|[年년] ?)(\d{1,2})(?:[./-]|[月월] ?)(\d{1,4})[日일]?"
_DAY = re.compile(rf"(?:{_WEEKDAY},? ){{0,2}}{_DATE} ?[(（]?(?:{_WEEKDAY})?[)）]?")
_ENGLISH = re.compile("(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)")  # who write the month first
_MESSAGE = re.compile(
    r"(?P<before>[^\W\d]\S{0,11}? ?)?(?P<hour>\d{1,2})[:.](?P<minute>\d\d)"
    r"(?P<after> ?[AaPp]\.?[Mm]\.?| ?[^\W\d]\S{0,7}(?=\t))?(?P<gap>[\t ])(?P<rest>.*)"
)
_MEDIA = re.compile(r"\[[^\[\]\n]{1,30}\]|\([^()\n]{1,12}\)$(?<=emoji\))")
_WINDOWS_MEDIA = re.compile(  # no sign tells them from words
    "(?:Sticker|Photo|Video|Image|File|Voice message|Album|Note)s?|Stiker|Foto|Berkas|スタンプ|写真|動画|画像|ファイル"
    "|ボイスメッセージ|アルバム|ノート|貼圖|圖片|照片|影片|檔案|語音訊息|相簿|記事本|贴图|图片|视频|文件|语音信息"
    "|스티커|사진|동영상|파일|음성메시지|สติกเกอร์|รูป|รูปภาพ|วิดีโอ|ไฟล์"
)
_CALL = re.compile(r"☎.*")
_UNSENT = re.compile(  # on Windows
    r".*(?:unsent a message\.?|メッセージの送信を取り消しました"
    r"|已?收回了?(?:一則)?訊息|撤回了一条消息|메시지를 취소했습니다\.?|ยกเลิกข้อความ|membatalkan pesan\.?)"
)


class Message(NamedTuple):
    day: Date
    clock: time
    gap: str  # what stands behind the time: a tab on phones, a space on Windows
    lines: list[str]


@dataclass
class Chat:
    """What is gathered of a file."""

    title: str = ""
    first_day: str = ""  # the line of the first day, whose shape all others have
    messages: list[Message] = field(default_factory=list)
    malformed: int = 0  # lines that cannot be read


def looks_like(head: Head) -> bool:
    lines = [line.strip("\ufeff\n ") for line in head.lines[:FIRST_LINES] if line.strip()]
    if head.columns or not lines:
        return False
    if lines[0].startswith("[LINE] ") and len(lines) < 3:
        return True  # nothing was said
    days = any(map(_DAY.fullmatch, lines))
    messages = [found for line in lines if (found := _message(line))]
    tabs = any(found["gap"] == "\t" for found in messages)
    return days and bool(messages) and (tabs or lines[0].startswith("[LINE]") or bool(_DAY.fullmatch(lines[0])))


def read(path: Path) -> Iterator[ReadResult]:
    """Raises UserError where no day with a message is found."""
    chat = Chat()
    yield from _gather(path, chat)
    if chat.malformed and not chat.messages:
        return  # which says what is wrong with it
    if not chat.messages:
        raise UserError(f"{path}: no message of LINE in it (a line a day, then time, name and words)")
    order = order_of((message.day for message in chat.messages), bool(_ENGLISH.match(chat.first_day)))
    names = _names([message.lines[0] for message in chat.messages if message.gap == " "], chat.title)
    turns, left_out = [], Counter()
    for day, clock, gap, lines in chat.messages:
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


def _gather(path: Path, chat: Chat) -> Iterator[Malformed]:
    """Put the lines of a file into `chat`; what cannot be read comes out."""
    day, messages = None, chat.messages
    for _, line in text_lines(path, as_typed=True):
        if isinstance(line, Malformed):
            chat.malformed += 1
            yield line
            continue
        line = line.removeprefix("\ufeff")
        if (found := _DAY.fullmatch(strip(line))) and _shape(line) == _shape(chat.first_day or line):
            day, chat.first_day = found.groups(), chat.first_day or line
        elif day and (found := _message(line)) and (not messages or found["gap"] == messages[0].gap):
            clock = time(int(found["hour"]) % 24, int(found["minute"]))
            clock = of_24_hours(clock, (found["before"] or found["after"] or "",))
            messages.append(Message(day, clock, found["gap"], [found["rest"]]))
        elif messages:
            messages[-1].lines.append(line)
        elif line.startswith("[LINE]"):
            chat.title += line


def _shape(line: str) -> str:
    """A line for a day with a 9 for each number and an "a" for each word: the same for all of a file."""
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d_][^\s\d()（）,]*", "a", strip(line)))


def _message(line: str) -> re.Match[str] | None:
    found = _MESSAGE.fullmatch(line)
    if not found or int(found["hour"]) > 24 or int(found["minute"]) > 59:
        return None
    return found if not found["before"] or means_noon(found["before"]) else None


def _columns(lines: list[str]) -> tuple[str, str]:
    """Name and words of a message from a phone, which quotes words of several lines; no name: a notice."""
    name, tab, first = lines[0].partition("\t")
    text = strip("\n".join([first, *lines[1:]]))
    if text.startswith('"') and text.endswith('"') and "\n" in text:
        text = text[1:-1].replace('""', '"')
    return (strip(name), text) if tab else ("", lines[0])


def _names(lines: list[str], title: str) -> dict[str, list[str]]:
    """Who speaks in an export of Windows, by the first word of the name, the longest first."""
    groups: dict[str, list[list[str]]] = {}
    for line in lines:
        words = line.split(" ")
        groups.setdefault(words[0], []).append(words)
    return {first: sorted(_longer([first], group, title), key=len)[::-1] for first, group in groups.items()}


def _longer(begin: list[str], group: list[list[str]], title: str) -> list[str]:
    """A name with the words that belong to it: those in the title, or where each next word comes again and again."""
    name, place = " ".join(begin), len(begin)
    nexts = Counter(words[place] if len(words) > place + 1 else "" for words in group)
    in_title = [word for word in nexts if word and f" {name} {word} " in f" {title} "]
    if not in_title and (min(nexts.values()) < 3 or "" in nexts or place > 4):
        return [name]
    names = [name] if in_title else []
    for word in in_title or nexts:
        names += _longer([*begin, word], [words for words in group if words[place : place + 1] == [word]], title)
    return names


def _split(lines: list[str], names: dict[str, list[str]]) -> tuple[str, str]:
    line = lines[0]
    name = next((name for name in names[line.partition(" ")[0]] if line.startswith(f"{name} ")), "")
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
