"""Google's export of what was asked in the Gemini app: My Activity of Takeout, as JSON.

It lists single questions with their answers, the newest first, and often does not tell which of them belong together:
those with the link of one conversation are a dialogue, every other question is one of its own. Answers are HTML, of
which the text is read. Other activities (feedback, settings), questions without an answer, and files are left out and
counted.
"""

import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.dates import as_date
from gistchat.corpora.sources import json_entries
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn
from gistchat.dialogue.visible import has_text

# What stands before a question, by language; of other languages it stays a part of the question.
ASKED = "Prompted|Asked|Said|Submitted query|Has dicho:|Hiciste la petición|送信したメッセージ:|Υποβλήθηκε το ερώτημα"
PREFIX = re.compile(rf"\A(?:{ASKED})\s+")
CONVERSATION = re.compile(r"gemini\.google\.com/app/(?:c/)?(\w+)")
FILES = "attached files and pictures"
LINES = ("p", "div", "li", "tr", "pre", "ul", "ol", "table", "h1", "h2", "h3", "h4", "h5", "h6")  # of their own


def looks_like(head: Head) -> bool:
    return _is_activity(head.at(0))


def _is_activity(value: Any) -> bool:
    names = f"{value.get('header')} {value.get('products')}" if isinstance(value, dict) else ""
    return bool(re.search("gemini|bard", names, re.I)) and {"title", "time"} <= value.keys()


def read(path: Path) -> Iterator[ReadResult]:
    left_out: Counter[str] = Counter()
    dialogues: dict[str, list[Turn]] = {}
    for location, value in json_entries(path, "item"):
        if not isinstance(value, dict):
            yield Malformed(location, "no activity")
        elif not _is_activity(value):
            left_out["activities of other services"] += 1
        else:
            question, answer = PREFIX.sub("", str(value["title"])), _text(value.get("safeHtmlItem"))
            left_out[FILES] += len(files) if isinstance(files := value.get("attachedFiles"), list) else 0
            if not has_text(answer) or not has_text(question):
                left_out["questions without an answer, and other activities"] += 1
                continue
            date = as_date(value["time"])
            link = CONVERSATION.search(f"{value.get('titleUrl')} {value.get('details')}")
            name = link[1] if link else f"{path.stem}-{location.rsplit(' ', 1)[1]}"
            written = iso(date) if date else ""
            turns = [Turn("user", question, written), Turn("assistant", answer, written)]
            dialogues[name] = [*turns, *dialogues.get(name, [])]  # the newest came first
    yield from (LeftOut(what, count) for what, count in left_out.items() if count)
    for name, turns in dialogues.items():
        yield Dialogue(name, tuple(turns), corpus=path.stem, scored_speakers=("assistant",))


def _text(items: Any) -> str:
    items = items if isinstance(items, list) else []
    parts = [part.get("html") for part in items if isinstance(part, dict)]
    reader = _Text()
    reader.feed("\n".join(part for part in parts if isinstance(part, str)))
    reader.close()
    return re.sub(r"\n{3,}", "\n\n", "".join(reader.parts)).strip()


class _Text(HTMLParser):
    """The text of HTML, with an end of line where a block begins or ends."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._end_line(tag in LINES or tag == "br")
        if tag == "li":
            self.parts.append("- ")

    def handle_endtag(self, tag: str) -> None:
        self._end_line(tag in LINES)

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def _end_line(self, is_block: bool) -> None:
        if is_block and self.parts and not self.parts[-1].endswith(("\n", "- ")):
            self.parts.append("\n")


CORPUS = Corpus(
    name="gemini",
    description="your questions to Gemini: My Activity of Google's Takeout, as JSON",
    read=read,
    looks_like=looks_like,
    patterns=("*.json",),
    mark=b'"title"',
    export="takeout.google.com: only My Activity, of it only Gemini Apps, and there JSON in place of HTML.",
)
