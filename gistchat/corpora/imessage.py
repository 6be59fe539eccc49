"""iMessage, SMS and WhatsApp as iMazing writes them (CSV), and iMessage as imessage-exporter does (TXT).

A chat session is one dialogue. What the phone's owner sent bears no name: it is by "Me". The columns of iMazing may be
named in another language; their order is the same. Of an edited message the latest version is kept. Left out and
counted: notices, messages without words (attachments), and replies that a TXT shows a second time, below what they
answer.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.dates import as_date
from gistchat.corpora.people import Message, named
from gistchat.corpora.sources import csv_rows
from gistchat.dialogue.lines import text_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn
from gistchat.dialogue.visible import has_text

ME = "Me"
COLUMNS = {"chat session", "message date", "type", "text"}
# In the languages of iMazing: the columns by which the others are found, and what notices are called.
TYPE = {"type", "typ", "tipo", "soort", "tür", "rodzaj", "тип", "タイプ", "種類", "类型", "類型", "유형", "종류"}
TEXT = {"text", "texte", "texto", "testo", "tekst", "metin", "текст", "テキスト", "本文", "文本", "文字", "텍스트"}
_ATTACHMENT = re.compile("attach|anhang|anlage|jointe|adjunt|allegat|anex|bijlage|załącz|вложен|添付|附件|첨부")
_NOTICE = re.compile("notif|benachr|meldung|avis|melding|powiad|bildirim|уведом|通知|알림|system|delet|gelösch|supprim")
NOTICES, WORDLESS = "notices (groups, calls, deleted messages)", "messages without words (attachments)"
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
    if set(head.columns) >= COLUMNS or _columns(head.columns):
        return True
    lines = head.lines
    return head.path.suffix == ".txt" and bool(lines) and bool(_STAMP.fullmatch(lines[0].strip()))


def refused(head: Head) -> str:
    """What to say of web pages of imessage-exporter; empty for all else."""
    is_page = head.text.lstrip()[:15].lower().startswith(("<!doctype html", "<html"))
    if is_page and re.search(r'class="(?:sent|received)\b', head.text):
        return "a page of messages to look at; export them as text (imessage-exporter --format txt)"
    return ""


def read(path: Path) -> Iterator[ReadResult]:
    return _read_table(path) if path.suffix.lower() == ".csv" else _read_text(path)


def _columns(names: Sequence[str]) -> dict[str, str]:
    """What the columns of iMazing are called here; empty where these are none of its columns."""
    kind = next((place for place, name in enumerate(names) if name in TYPE and place > 1), None)
    text = next((place for place, name in enumerate(names) if name in TEXT and kind and place > kind + 2), None)
    if text is None or not any(map(_ATTACHMENT.search, names[text + 1 :])):
        return {}
    person, name = names[kind + 1 : kind + 3]
    if "id" in re.findall(r"\w+", name):
        person, name = name, person
    status = names[kind + 3] if text > kind + 3 else ""
    places = {"chat session": names[0], "message date": names[1], "type": names[kind], "text": names[text]}
    return places | {"sender id": person, "sender name": name, "status": status}


def _read_table(path: Path) -> Iterator[ReadResult]:
    chats: dict[str, list[Message]] = {}
    left_out: Counter[str] = Counter()
    for location, row in csv_rows(path):
        if isinstance(row, Malformed):
            yield row
            continue
        if "chat session" not in row:
            row |= {name: row.get(own, "") for name, own in _columns(list(row)).items()}
        messages = chats.setdefault(row["chat session"].strip(), [])
        text = row["text"].replace(PLACE_OF_ATTACHMENT, "").strip()
        name = row.get("sender name", "").strip()
        # Somebody's telephone number and address are two ids of one name.
        person = name or row.get("sender id", "").strip()
        kind = _kind(row["type"].strip().lower(), person, row.get("status", "sent"))
        date = as_date(row["message date"], day_first=row["message date"][-1:].lower() != "m")  # AM, PM
        if not kind or row.get("deleted date", "").strip():
            left_out[NOTICES] += 1
        elif not has_text(text):
            left_out[WORDLESS] += 1
        elif kind == "incoming" and not person:
            yield Malformed(location, "an incoming message without a sender")
        else:
            person, name = (person, name) if kind == "incoming" else (ME, ME)
            messages.append(Message(person, name, text, iso(date) if date else ""))
    yield from (LeftOut(reason, count) for reason, count in left_out.items())
    for chat, messages in chats.items():
        yield Dialogue(chat or path.stem, named(messages), corpus="imessage")


def _kind(word: str, person: str, status: str) -> str:
    """Whether a message is incoming or outgoing, in any language; empty for a notice."""
    if word in ("incoming", "outgoing"):
        return word
    if not word or _NOTICE.search(word):
        return ""
    return "incoming" if person else "outgoing" if status.strip() else ""


def _read_text(path: Path) -> Iterator[ReadResult]:
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
    if not has_text(text):
        return WORDLESS, None
    date = iso(datetime.strptime(" ".join(stamp[1].split()), "%b %d, %Y %I:%M:%S %p"))
    return "", Turn(block[0].strip(), text, date)


CORPUS = Corpus(
    name="imessage",
    description="iMessage: CSV of iMazing, TXT of imessage-exporter",
    read=read,
    patterns=("*.csv", "*.txt"),
    mark=b"\n",
    looks_like=looks_like,
    refused=refused,
    export="iMazing, Messages, Export to CSV; or imessage-exporter --format txt.",
    scrub=True,
    split_by="time",
)
