"""Your own KakaoTalk chats, in Korean or English: text from Android, iPhones and Windows, CSV from a Mac.

Left out and counted: notices (a stamp without "Name :"), media, emoticons and deleted messages.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.whatsapp_texts import DELETED, MEDIA, NOTICES, POLLS
from gistchat.dialogue.lines import require_text, strip, text_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn
from gistchat.errors import UserError
from gistchat.limits import LONGEST_LINE

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_KOREAN_DAY = r"(?P<y>\d{4})(?:년|\.|-|/) ?(?P<m>\d{1,2})(?:월|\.|-|/) ?(?P<d>\d{1,2})(?:일|\.)?(?: ?\w요일)?"
_MONTH_DAY = r"(?P<B>[A-Z][a-z]{2,8})\.? (?P<e>\d{1,2})|(?P<f>\d{1,2}) (?P<C>[A-Z][a-z]{2,8})\.?"
_ENGLISH_DAY = rf"(?:[A-Z][a-z]+day, )?(?:{_MONTH_DAY}),? (?P<z>\d{{4}})"
_CLOCK = r"(?:(?P<n>오전|오후|AM|PM) ?)?(?P<H>\d{1,2}):(?P<M>\d\d)(?::\d\d)?(?:\s?(?P<N>[AaPp]\.?[Mm]\.?))?"
_DAY = rf"(?:{_KOREAN_DAY}|{_ENGLISH_DAY})"
_DAY_LINE = re.compile(rf"(?:-{{5,}} )?{_DAY}(?:,? (?:at )?{_CLOCK})?(?: -{{5,}})?")
_PHONE = re.compile(rf"{_DAY}(?:,| at)?\s?{_CLOCK}(?:, (?P<name>.+?) : (?P<text>.*)|[,:] (?P<notice>.+))", re.S)
_WINDOWS = re.compile(rf"\[(?P<name>[^\n]+?)\] \[{_CLOCK}\] ?(?P<text>.*)", re.S)
# On Windows a notice has no stamp.
_NOTICE = re.compile(
    r".+님이 (?:들어왔습니다|나갔습니다|.+님을 (?:초대했습니다|초대하였습니다|내보냈습니다))\.?"
    r"|.+님을 (?:초대|내보).{2,5}\.?|채팅방 관리자가 메시지를 가렸습니다\.?"
    r"|.+ (?:joined|left) (?:this|the) chat ?room\.?|.+ invited .+ to (?:this|the) chat ?room\.?"
)
_TITLE = re.compile(r".+ 카카오톡 대화|KakaoTalk Chats with .+|.+ KakaoTalk Chats")
_MAC = ("date", "user", "message")
_DELETED = re.compile(
    r"(?:삭제된 메시지입니다|메시지가 삭제되었습니다|This message was deleted|(?:This is a )?deleted message)\.?",
    re.I,
)
_POLL = re.compile(r"(?:투표|poll)(?: ?: .+)?|\[(?:투표|poll)\].*", re.I | re.S)
_MEDIA = re.compile(
    r"\(?이모티콘\)?|사진(?: \d+장)?|동영상|음성메시지|라이브톡.*|(?:보이스톡|페이스톡).{0,20}"
    r"|파일: .+|지도: .+|연락처: .+|샵검색: .+"
    r"|<[^<>\n]{2,40}>|\(?emoticons?\)?|photos?|\d+ photos?|videos?|voice (?:note|message)s?"
    r"|file: .+|map: .+|contact: .+|(?:voice|face) talk.{0,20}|\S{20,}\.(?:jpe?g|png|gif|mp4|m4a|webp)",
    re.I,
)


def looks_like(head: Head) -> bool:
    if head.columns:
        return head.columns == _MAC
    lines = [strip(line) for line in head.lines[:300] if line.strip()]
    if 0 < len(lines) < 3 and _TITLE.fullmatch(lines[0].lstrip("\ufeff")):
        return True  # nothing was said
    if any(found["name"] for line in lines if (found := _PHONE.fullmatch(line))):
        return True
    return any(line.startswith("-----") and _DAY_LINE.fullmatch(line) for line in lines) and any(
        map(_WINDOWS.fullmatch, lines)
    )


def read(path: Path) -> Iterator[ReadResult]:
    """Raises UserError where nothing is a message."""
    messages = _rows(path) if path.suffix == ".csv" else _messages(path)
    turns, left_out, seen = [], Counter(), False
    for message in messages:
        seen = True
        if isinstance(message, Malformed):
            yield message
            continue
        text = strip(message.text)
        reason = _reason(message.speaker, text)
        if reason:
            left_out[reason] += 1
        else:
            turns.append(message._replace(text=text))
    if not seen:
        raise UserError(f"{path}: no message of KakaoTalk in it")
    yield from (LeftOut(what, count) for what, count in left_out.items())
    if turns:
        yield Dialogue(path.stem, tuple(turns), corpus=path.stem)


def _reason(speaker: str, text: str) -> str:
    """As what a message is left out; empty where it is words of a person."""
    if not speaker or (text.startswith(speaker) and _NOTICE.fullmatch(text)):
        return NOTICES
    if _POLL.fullmatch(text):
        return POLLS
    if _DELETED.fullmatch(text):
        return DELETED
    return MEDIA if not text or _MEDIA.fullmatch(text) else ""


def _messages(path: Path) -> Iterator[Turn | Malformed]:
    """Messages of a text file; a notice has no speaker."""
    day: dict[str, str | None] = {}
    turn, lines = None, []
    for _, line in text_lines(path, as_typed=True):
        if isinstance(line, Malformed):
            yield line
            continue
        line = line.lstrip("\ufeff")
        phone = _PHONE.fullmatch(line)
        found = phone or (_WINDOWS.fullmatch(line) if day else None)
        notice = not found and bool(day) and _NOTICE.fullmatch(line)
        divider = None if found else _DAY_LINE.fullmatch(strip(line))
        if found or divider or notice:
            if turn:
                yield turn._replace(text="\n".join(lines))
            turn = None
        if notice:
            yield Turn("", line)
        elif divider:
            day = divider.groupdict()
        elif found:
            parts = {**day, **found.groupdict()}
            turn, lines = Turn(strip(parts["name"] or ""), "", _date(parts)), [parts["text"] or ""]
        elif turn:
            lines.append(line)
    if turn:
        yield turn._replace(text="\n".join(lines))


def _date(parts: dict[str, str | None]) -> str:
    month = parts["B"] or parts["C"]
    hour, noon = int(parts["H"]), (parts["n"] or parts["N"] or "").lower().replace(".", "")
    if noon:
        hour = hour % 12 + 12 * (noon in ("오후", "pm"))
    try:
        number = _MONTHS.index(month[:3].lower()) + 1 if month else int(parts["m"] or 0)
        day = int(parts["d"] or parts["e"] or parts["f"] or 0)
        return iso(datetime(int(parts["y"] or parts["z"] or 0), number, day, hour % 24, int(parts["M"])))
    except ValueError:
        return ""


def _rows(path: Path) -> Iterator[Turn | Malformed]:
    """Messages of a Mac's CSV."""
    require_text(path)
    csv.field_size_limit(LONGEST_LINE)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.reader(line.replace("\0", "") for line in file)
        next(rows, None)
        for row in rows:
            if any("\udc80" <= char <= "\udcff" for cell in row for char in cell):
                yield Malformed(f"{path}:{rows.line_num}", "not UTF-8; save the file as UTF-8")
            elif len(row) == 3:
                yield Turn(strip(row[1]), row[2], strip(row[0]))
            elif row:
                yield Malformed(f"{path}:{rows.line_num}", f"expected 3 columns, found {len(row)}")


CORPUS = Corpus(
    name="kakaotalk",
    description="your KakaoTalk chats: text from phones and Windows, CSV from a Mac",
    read=read,
    patterns=("*.txt", "*.csv"),
    mark=b"\n",
    looks_like=looks_like,
    export="in the chat: the menu, Settings, Export messages (text only); on a computer Save chat",
    scrub=True,
    split_by="time",
)
