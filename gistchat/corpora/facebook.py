"""Facebook's and Instagram's `message_1.json`, and the file that Messenger writes of an end-to-end encrypted chat.

A file is one dialogue, named by its thread; of a long thread there are several files, the newest first. What a link or
a photo says beside one's own words is no part of them. Left out and counted: unsent messages, calls, reactions,
sentences of the service itself ("Ann named the group ...", polls) and media without words.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.sources import is_web_page, json_entries, json_fields
from gistchat.dialogue.text_repair import clean_text
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn
from gistchat.dialogue.visible import has_text

MEDIA = ("photos", "videos", "audio_files", "gifs", "files", "sticker", "share", "media")
NOTICES, WORDLESS = "notices of the service", "messages without words (media, links)"
UNSENT, CALLS, REACTIONS = "unsent messages", "calls", "reactions"
NO_NAME = "Facebook user"  # what Facebook calls those who are gone
# In other languages: an emoji, a word like "reagiert", and one for a message.
_REACTION = re.compile(
    r"Liked a message|Reacted .{1,40} to (?:your|a|the|his|her|their) message.*"
    r"|(?=.*[^\x00-\x7f])(?=.*(?:reag|reacc|réag|rÃ©ag))(?=.*(?:nachricht|mensaje|mensagem|messag|bericht)).{1,80}",
    re.I,
)
# The service writes "Ann sent a photo." beside the photo; to oneself "You sent a photo."
_VERBS = (
    "sent|shared|named|changed|set|cleared|created|added|removed|left|joined|started|ended|missed|pinned|unpinned|"
    "turned|voted|reacted|liked|unsent|called|waved|is now|can now|are now|renamed|updated|invited|made|deleted"
)
_SENT = re.compile(
    r"(?:You|Du|Vous|Has|Hai|Você|Je) (?:sent|shared|hast|avez|enviado|inviato|enviou|hebt)\b.{1,60}\.", re.I | re.S
)
_YOUR_ACT = re.compile(
    r"You (?:named the group|changed the (?:group|theme|chat|quick)|cleared (?:the|your) nickname|created the group"
    r"|set (?:the|your|a) (?:nickname|emoji|quick|group|theme)|added .{1,60} to the group|left the group|joined the"
    r"|removed .{1,60} from the group|missed an?|started (?:an? (?:audio |video )?(?:call|chat)|sharing)"
    r"|(?:un)?pinned a message|unsent a message|turned (?:on|off)|sent an? (?:attachment|photo|video|sticker|GIF)"
    r")\b.{0,120}\."
    r"|You (?:are now connected|can now (?:message|call)|created a poll|voted for)\b.{0,200}"
    r"|Say hi to your new (?:Facebook|Messenger) friend,? .{1,80}|.{1,60} waved at (?:you|each other)!?"
    r"|This (?:poll|group|chat|person) (?:is|was)(?: no longer|n't)? (?:available|unavailable|read-only)\b.{0,80}"
    r"|Messages and calls (?:in this chat )?are (?:now )?(?:secured|protected).{0,200}"
)
# Instagram writes some without a full stop.
_STOPLESS = re.compile(
    r"You (?:unsent a message|(?:started|missed|ended|joined) an? (?:audio |video |voice )?(?:call|chat)"
    r"(?: with .{1,60})?)|(?:Video|Audio|Voice) (?:call|chat) ended\.?"
)
_THEIR_CALL = re.compile(r"(?:started|missed|ended|joined) (?:an?|the|your) (?:audio |video |voice )?(?:call|chat)\.?")
_ATTACHMENT = re.compile(  # as it is called where the post or the file is gone
    r"(?:hat einen Anhang gesendet|ha enviado un archivo adjunto|envió un archivo adjunto|a envoyé une pièce jointe"
    r"|ha inviato un allegato|enviou um anexo|heeft een bijlage (?:gestuurd|verzonden|verstuurd)"
    r"|wysłał(?:\(a\)|a)? załącznik|bir (?:dosya )?eki? gönderdi|mengirim(?:kan)? lampiran|skickade en bilaga"
    r"|отправил(?:\(а\)|а)? вложение)\.?"
)
_CALL = re.compile(
    r"\b(?:missed|started|ended|joined) (?:an? |the |your )?(?:audio |video |voice )?(?:call|chat)\b|\bcalled\b"
)


def looks_like(head: Head) -> bool:
    first = head.at("messages", 0)
    if isinstance(first, dict) and first:
        return {"sender_name", "timestamp_ms"} <= set(first) or {"senderName", "timestamp"} <= set(first)
    empty = isinstance(head.value, dict) and head.value.get("messages") == []
    return (
        empty and "participants" in head.value and any(field in head.value for field in ("thread_path", "threadName"))
    )


def refused(head: Head) -> str:
    """What to say of web pages of Facebook and Instagram; empty for all else."""
    if is_web_page(head.text) and re.search(r'class=["\'][^"\']*\b(?:_a6-g|_2ph_|_3-95)\b', head.text):
        return "a page to look at; download the information anew with the format JSON"
    return ""


def read(path: Path) -> Iterator[ReadResult]:
    turns, left_out = [], Counter()
    fields = json_fields(path, "messages")
    people = _people(fields)
    for location, message in json_entries(path, "messages.item"):
        try:
            turn = _turn(message)
            reason = _left_out(message, turn, people)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError):
            yield Malformed(location, "not a message as Facebook and Instagram write it")
            continue
        if reason:
            left_out[reason] += 1
        else:
            turns.append(turn)
    yield from (LeftOut(reason, count) for reason, count in left_out.items())
    thread = fields.get("thread_path") or fields.get("threadName") or fields.get("title") or ""
    yield Dialogue(str(thread).rpartition("/")[2] or path.stem, tuple(turns), corpus="facebook")


def _people(fields: dict[str, Any]) -> tuple[str, ...]:
    """Who takes part, as the file says."""
    people = fields.get("participants")
    people = people if isinstance(people, list) else []
    names = (person.get("name") if isinstance(person, dict) else person for person in people)
    return tuple(name for name in names if isinstance(name, str) and name)


def _turn(message: dict[str, Any]) -> Turn:
    speaker = (message["sender_name"] if "sender_name" in message else message["senderName"]) or NO_NAME
    text = message.get("content") or message.get("text") or ""
    moment = message["timestamp_ms"] if "timestamp_ms" in message else message["timestamp"]
    if not isinstance(speaker, str) or not isinstance(text, str):
        raise TypeError("names and texts are strings")
    return Turn(speaker, text, iso(datetime.fromtimestamp(moment / 1000, UTC)))


def _left_out(message: dict[str, Any], turn: Turn, people: tuple[str, ...]) -> str:
    """Why it is no turn; empty if it is one."""
    text = turn.text.strip()
    if message.get("is_unsent") or message.get("isUnsent"):
        return UNSENT
    if "call_duration" in message or message.get("type") == "Call":
        return CALLS
    if message.get("type") in ("Subscribe", "Unsubscribe", "placeholder"):
        return NOTICES
    if not has_text(text):
        return WORDLESS
    if _REACTION.fullmatch(text):
        return REACTIONS
    beside_media = any(message.get(field) for field in MEDIA)
    if beside_media and (_SENT.fullmatch(text) or _of_service(turn.speaker, text, beside_media)):
        return WORDLESS
    return _act(turn.speaker, text, people)


def _act(speaker: str, text: str, people: tuple[str, ...]) -> str:
    """What a sentence of the service says that somebody did; empty for words of a person."""
    name, _, act = clean_text(text).partition(f"{clean_text(speaker)} ")
    if not name and _ATTACHMENT.fullmatch(act):
        return WORDLESS
    if any(text.startswith(f"{name} ") and _THEIR_CALL.fullmatch(text[len(name) + 1 :]) for name in people):
        return CALLS
    if not (_of_service(speaker, text) or _YOUR_ACT.fullmatch(text) or _STOPLESS.fullmatch(text)):
        return ""
    if re.search(r"\bsent an? (?:attachment|photo|video|sticker|GIF)\b", text):
        return WORDLESS
    return CALLS if _CALL.search(text) or text.rstrip(".").endswith(" ended") else NOTICES


def _of_service(speaker: str, text: str, beside_media: bool = False) -> bool:
    """Whether it speaks of its sender by name, in any language where that is a full name or stands beside media."""
    names = [name for name in (speaker, speaker.split(" ")[0]) if name]
    if any(re.match(rf"{re.escape(name)} (?:{_VERBS})\b", text) for name in names):
        return True
    said_whole = [name for name in names if beside_media or " " in name]
    return text.endswith(".") and any(text.startswith(f"{name} ") for name in said_whole)


CORPUS = Corpus(
    name="facebook",
    description="Facebook and Instagram: message_1.json",
    read=read,
    patterns=("message_*.json", "*.json"),
    mark=b'"timestamp',
    looks_like=looks_like,
    refused=refused,
    export="Accounts Centre, Your information, Download your information: messages, as JSON. Of an encrypted chat: "
    "Messenger, Privacy and safety, End-to-end encrypted chats, Download messages.",
    scrub=True,
    split_by="time",
)
