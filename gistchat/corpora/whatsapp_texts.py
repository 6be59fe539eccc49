"""What of a WhatsApp message a person wrote, and as what the rest is left out.

WhatsApp writes in the language of the phone, so its own words are told by signs: on iPhones a mark of direction stands
before them; brackets, names of files, the lines of a poll. Words are compared only where there is no sign; they stand
in `whatsapp_words.toml`.
"""

import functools
import re
import tomllib
from pathlib import Path

from gistchat.corpora.stamps import MARKS
from gistchat.dialogue.lines import strip
from gistchat.dialogue.visible import has_text

NOTICES, MEDIA, DELETED = "messenger's notices", "media without words", "deleted messages"
POLLS, OTHERS = "polls", "calls, places and other messages without words"
OWN = "\u200e"  # the mark on iPhones, and on Android before names of files
LONGEST_OWN = 300  # characters of a line that WhatsApp writes

_MARKS = re.compile(f"[{MARKS}]")
_IN_ANGLES = re.compile(r"<[^<>\n]{3,80}>")
_ATTACHED = re.compile(rf"{OWN}?<[^<>:：,،\n]{{1,30}}[:：,،]\s?([^<>\n]+\.\w{{2,5}})>")  # on iPhones, beside words
_SENT = re.compile(r"([^\n]+\.\w{2,5}) \(([^()\n]+)\)")  # a file, on Android
_MEDIA_FILE = re.compile(r"\S*(?:[A-Z]{3}-\d{8}-WA\d{4}|\d{8}-[A-Z]{3,8}-[\d-]+)\S*\.\w{2,5}(?: \([^()]*\))?")
_DOCUMENT = re.compile(
    r"[^\n]+\.(?:pdf|docx?|xlsx?|pptx?|od[tsp]|txt|csv|zip|rar|apk|epub|mp3|m4a|vcf)|[^\n]+ •[^\n]*\d[^\n]*", re.I
)
_PLACE = re.compile(
    r"(?:[^\n:]{1,40}: ?)?https?://maps\.google\.com/\?q=\S+"
    r"|(?:[^\n]{1,100}\n){0,2}[^\n]{0,200}https?://(?:www\.)?foursquare\.com/v/\S+",
    re.I,
)
_BY_ADMIN = re.compile(  # behind the words for a deleted message
    r"(?: [^\n]{0,15})?\W(?:admin|amministrat|beheerder|yönetici|админ|адмін|pengurus|المشرف)[^\n]{0,60}", re.I
)
_POLL = re.compile(r"[^\W\d_][^:：]{1,25}[:：]")
_OPTION = re.compile(r"([^\W\d_][^:：\n]{1,25})[:：].*[(（][^()（）]+[)）]")


def words_of(text: str, iphone: bool) -> tuple[str, str]:
    """What a person wrote of a message; where that is nothing, as what the message is left out."""
    first, _, more = text.partition("\n")
    line = plain(first[: LONGEST_OWN + 10])
    if _is_poll(line, more):
        return "", POLLS
    if _is_deleted(line):
        return "", DELETED
    if _PLACE.fullmatch(plain(text)) or (not more.strip() and _listed("others").fullmatch(line)):
        return "", OTHERS
    caption = _beside_file(text)
    if caption is None and _is_media(first, line):
        caption = "" if _is_name_of_file(plain(more), line) else more
    if caption is None and iphone:
        caption = _beside_own_words(text)
        if caption == "" and (line[-1:] in (".", ":") or len(line) > 40):
            return "", NOTICES
    words = _typed(text if caption is None else caption)
    return (words, "") if has_text(words) else ("", MEDIA)


def plain(text: str) -> str:
    """A text without marks of direction."""
    return strip(_MARKS.sub("", text))


def _typed(text: str) -> str:
    """Words without "<This message was edited>" behind them, and without marks."""
    start = text.rfind("<")
    mark = plain(text[start:]) if start >= 0 else ""
    if _IN_ANGLES.fullmatch(mark) and (text[:start].endswith(OWN) or _listed("edited").search(mark)):
        text = text[:start]
    return strip(_MARKS.sub("", text))


def _beside_file(text: str) -> str | None:
    """What stands beside a file that an iPhone names: a caption; None without such a file."""
    found = _ATTACHED.search(text)
    if not found:
        return None
    caption = plain(text[: found.start()] + text[found.end() :])
    return "" if caption.partition(" •")[0] in found[1] else caption


def _is_media(first: str, line: str) -> bool:
    """Whether the first line stands in place of media; a caption is on the lines after it."""
    if len(line) > LONGEST_OWN:
        return False
    sent = _SENT.fullmatch(line)
    named = sent and (first.startswith(OWN) or _listed("attached").fullmatch(sent[2]))
    return bool(named or _IN_ANGLES.fullmatch(line) or _MEDIA_FILE.fullmatch(line) or _listed("media").fullmatch(line))


def _is_name_of_file(text: str, line: str) -> bool:
    return bool(text) and (line.startswith(f"{text} (") or bool(_DOCUMENT.fullmatch(text)))


def _beside_own_words(text: str) -> str | None:
    """What stands before words of WhatsApp's own on an iPhone: a caption; None where a person wrote all."""
    first, _, more = text.partition("\n")
    if first.lstrip().startswith(OWN):
        return "" if OWN in more else more
    caption, mark, own = text.rpartition(OWN)
    if not mark or not 0 < len(own.strip()) < 40 or "\n" in own or not caption.endswith((" ", "\n", "\u00a0")):
        return None
    if _IN_ANGLES.fullmatch(own.strip()):
        return None  # the mark of a message that was edited
    # With a colon before the mark it is a notice under the name of a group that has a colon in it.
    return "" if plain(caption).endswith(":") or _DOCUMENT.fullmatch(plain(caption)) else caption


def _is_deleted(line: str) -> bool:
    begin = _listed("deleted").match(line)
    by_admin = begin and _BY_ADMIN.fullmatch(line[begin.end() :])
    return bool(by_admin or _listed("deleted").fullmatch(line.rstrip(".。।۔ ")))


def _is_poll(line: str, more: str) -> bool:
    """A word and a colon, the question, and at least two lines of choices with their votes, in any language."""
    if not more or not _POLL.fullmatch(line):
        return False
    choices = [_OPTION.fullmatch(plain(choice)) for choice in more.splitlines() if len(choice) < LONGEST_OWN]
    begins = [choice[1] for choice in choices if choice]
    return len(begins) > 1 and len(set(begins)) == 1


@functools.cache
def _listed(what: str) -> re.Pattern[str]:
    lists = tomllib.loads(Path(__file__).with_name("whatsapp_words.toml").read_text(encoding="utf-8"))
    pattern = "|".join(f"(?:{words})" for words in lists[what])
    document = r"(?:[^\n]+\.\w{2,5}(?: • [^\n]{1,20}?)? )?" if what == "media" else ""
    return re.compile(f"{document}(?:{pattern})", re.I)
