"""iMessage, SMS and WhatsApp as iMazing writes them (CSV), and iMessage as imessage-exporter does (TXT).

A chat session is one dialogue. What the phone's owner sent bears no name: it is by "Me". The columns of iMazing may be
named in another language; their order is the same. Of an edited message the latest version is kept. Left out and
counted: notices, messages without words (attachments), reactions that came as texts, and replies that a TXT shows a
second time, below what they answer.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from gistchat.corpora import imessage_text
from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.dates import as_date
from gistchat.corpora.imessage_text import NOTICES, PLACE_OF_ATTACHMENT, not_said
from gistchat.corpora.people import Message, named
from gistchat.corpora.sources import csv_rows, is_web_page
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult

ME = "Me"
COLUMNS = {"chat session", "message date", "type", "text"}
# In the languages of iMazing: the columns by which the others are found, and what notices are called.
TYPE = {"type", "typ", "tipo", "soort", "tür", "rodzaj", "тип", "タイプ", "種類", "类型", "類型", "유형", "종류"}
TEXT = {"text", "texte", "texto", "testo", "tekst", "metin", "текст", "テキスト", "本文", "文本", "文字", "텍스트"}
_ATTACHMENT = re.compile("attach|anhang|anlage|jointe|adjunt|allegat|anex|bijlage|załącz|вложен|添付|附件|첨부")
_NOTICE = re.compile("notif|benachr|meldung|avis|melding|powiad|bildirim|уведом|通知|알림|system|delet|gelösch|supprim")


def looks_like(head: Head) -> bool:
    return set(head.columns) >= COLUMNS or bool(_columns(head.columns)) or imessage_text.looks_like(head)


def refused(head: Head) -> str:
    """What to say of web pages of imessage-exporter; empty for all else."""
    if is_web_page(head.text) and re.search(r'class="(?:sent|received)\b', head.text):
        return "a page of messages to look at; export them as text (imessage-exporter --format txt)"
    return ""


def read(path: Path) -> Iterator[ReadResult]:
    return _read_table(path) if path.suffix.lower() == ".csv" else imessage_text.read(path)


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
        elif reason := not_said(text):
            left_out[reason] += 1
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
