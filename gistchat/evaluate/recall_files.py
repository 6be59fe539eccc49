"""Conversations with questions, and the turns that hold the answers: LoCoMo, REALTALK, BEAM, and a JSON of one's own.

The layouts are told apart by what is in the files (docs/memory.md). Turns are repaired as a chat would hold them; a
turn that shows a picture says so. What is left out is counted.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gistchat.dialogue.lines import json_lines, require_text
from gistchat.dialogue.text_repair import clean_line, clean_text
from gistchat.dialogue.turns import LONGEST_DATE, Malformed, Turn, Unreadable, parse_dialogue
from gistchat.errors import UserError, shown
from gistchat.files import read_json

LOCOMO, REALTALK, BEAM, OWN = "LoCoMo", "REALTALK", "BEAM", "own"
# Codes of LoCoMo's file (arXiv 2402.17753); REALTALK's 1 to 3 mean the same.
CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
UNANSWERABLE = ("adversarial", "abstention")  # what is asked for was never said
GROUPS = ("all", "answerable")  # of questions, beside their categories
LONGEST_CATEGORY = 60  # characters: it is a name in tables
CHAT, PROBES = "chat.json", "probing_questions.json"  # of a BEAM chat
NO_EVIDENCE = "questions without evidence"
NO_TEXT = "turns without text"
SAME_ID = "turns with the id of an earlier one"

_SESSION = re.compile(r"session_(\d{1,9})")
_TURN_ID = re.compile(r"D:?(\d{1,9}):(\d{1,9})")  # D8:6, and misspelled D:8:6 and D8:06
_TIME_OF_DAY = re.compile(r"^\d{1,2}:\d\d [ap]m on |, \d{1,2}:\d\d(?::\d\d)?$")  # beside LoCoMo's and REALTALK's dates
_PHOTO_OF = re.compile(r"^an? (?:photo|photograph|photography|picture|image) of ", re.I)  # how all captions begin


@dataclass(frozen=True)
class Question:
    """A question about a conversation.

    Attributes:
        evidence: the turns that hold the answer, from 0, in order; at least one.
        category: empty where the file gives none.
        answerable: whether what is asked for was said at all.
    """

    text: str
    evidence: tuple[int, ...]
    category: str = ""
    answerable: bool = True


@dataclass(frozen=True)
class Conversation:
    """A conversation, and what is asked at its end."""

    id: str
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]


@dataclass
class LeftOut:
    """What was in the files and is not measured.

    Attributes:
        counts: how many, by what it is.
        unknown_ids: evidence that names no turn, as it was written. The question keeps its other evidence.
    """

    counts: Counter[str] = field(default_factory=Counter)
    unknown_ids: list[str] = field(default_factory=list)

    def in_words(self) -> str:
        """One line for people; empty where nothing was left out."""
        parts = [f"{count:,} {what}" for what, count in sorted(self.counts.items())]
        if self.unknown_ids:
            names = ", ".join(name[:40] for name in self.unknown_ids[:5])
            more = ", ..." if len(self.unknown_ids) > 5 else ""
            parts.append(f"{len(self.unknown_ids):,} evidence ids of no turn ({names}{more})")
        return ", ".join(parts)


@dataclass(frozen=True)
class Collection:
    """What was read: conversations that questions are asked of.

    `layout` is LoCoMo where the file's conversations have LoCoMo's own names, too, so that published figures apply.
    """

    layout: str
    conversations: tuple[Conversation, ...]
    left_out: LeftOut

    @property
    def questions(self) -> int:
        return sum(len(conversation.questions) for conversation in self.conversations)


def read_collection(path: Path) -> Collection:
    """Read a file or a folder of conversations with questions.

    Raises:
        UserError: nothing there, a layout that is none of these, a broken record, or not one question with evidence.
    """
    left_out = LeftOut()
    conversations, layouts = [], []
    for layout, conversation in _read(path, left_out):
        conversations.append(conversation)
        layouts.append(layout)
    if len(set(layouts)) > 1:
        raise UserError(f"{path}: holds several layouts ({', '.join(sorted(set(layouts)))}); give them one by one")
    collection = Collection(layouts[0] if layouts else OWN, tuple(conversations), left_out)
    if not collection.questions:
        about = left_out.in_words()
        raise UserError(f"{path}: no question with evidence in it{f' ({about})' if about else ''}; see docs/memory.md")
    return collection


def _read(path: Path, left_out: LeftOut) -> Iterator[tuple[str, Conversation]]:
    if not path.is_dir():
        yield from _read_file(path, left_out)
        return
    if chats := [folder for folder in (path, *_inside(path)) if (folder / CHAT).is_file()]:
        for folder in chats:
            yield _read_beam(folder, left_out)
        return
    files = [file for file in _inside(path) if file.suffix in (".json", ".jsonl") and file.is_file()]
    if not files:
        raise UserError(f"{path}: neither .json or .jsonl files nor folders with {CHAT} in this folder")
    for file in files:
        yield from _read_file(file, left_out)


def _inside(folder: Path) -> list[Path]:
    """What a folder holds; 2 before 10."""
    parts = {path: re.split(r"(\d{1,9})", path.name) for path in folder.iterdir() if not path.name.startswith(".")}
    return sorted(parts, key=lambda path: [int(part) if i % 2 else part for i, part in enumerate(parts[path])])


def _read_file(path: Path, left_out: LeftOut) -> Iterator[tuple[str, Conversation]]:
    for number, (location, value) in enumerate(_records(path), 1):
        layout, parse = _parser_of(location, value)
        yield layout, _checked(location, parse, value, f"{path.stem}-{number}", left_out)


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """Records of a file with their location: lines of JSONL, entries of a JSON list, or the one object."""
    require_text(path)
    if path.suffix == ".jsonl":
        yield from _lines(path)
        return
    try:
        value = read_json(path)
    except UserError:
        first = next(json_lines(path), ("", Malformed("", "")))[1]
        if isinstance(first, Malformed):
            raise
        yield from _lines(path)  # lines of JSON under another name
        return
    if isinstance(value, list):
        yield from ((f"{path}: entry {number}", entry) for number, entry in enumerate(value, 1))
    else:
        yield str(path), value


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    for location, value in json_lines(path):
        if isinstance(value, Malformed):
            raise UserError(str(value))
        yield location, value


Parse = Callable[[Any, str, LeftOut], Conversation]


def _parser_of(location: str, value: Any) -> tuple[str, Parse]:
    names = value.keys() if isinstance(value, dict) else ()
    if "questions" in names:
        return OWN, _own
    if "qa" in names and isinstance(value.get("conversation"), dict):
        return LOCOMO if re.fullmatch(r"conv-\d+", str(value.get("sample_id"))) else f"{LOCOMO}'s layout", _locomo
    if "qa" in names and any(map(_SESSION.fullmatch, names)):
        return REALTALK, _locomo
    if "batch_number" in names:
        raise UserError(f"{location}: a chat of BEAM; name the folder that holds it and {PROBES}")
    found = ", ".join(sorted(map(str, names))[:8]) or "no object"
    raise UserError(
        f"{location}: expected 'turns' and 'questions' (docs/memory.md), or LoCoMo's 'conversation' and 'qa'; found: "
        f"{found}"
    )


def _checked(location: str, parse: Parse, value: Any, name: str, left_out: LeftOut) -> Conversation:
    """Raises UserError, with the location, where a record is not as its layout wants it."""
    try:
        return parse(value, name, left_out)
    except Unreadable as error:
        raise UserError(f"{location}: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{location}: unexpected layout ({shown(error)})") from None


class _Talk:
    """A conversation while it is read."""

    def __init__(self, left_out: LeftOut) -> None:
        self.left_out = left_out
        self.turns: list[Turn] = []
        self.places: dict[str, int] = {}  # turns by their names, of which a turn may have several
        self.questions: list[Question] = []
        self.asked = 0  # questions, those that were left out included

    def say(self, names: Sequence[str], speaker: str, text: str, date: str) -> None:
        """Add a turn that evidence may call by any of the names; one without text is left out."""
        turn = Turn(clean_line(speaker), clean_text(text), _TIME_OF_DAY.sub("", clean_line(date))[:LONGEST_DATE])
        if not turn.text:
            self.left_out.counts[NO_TEXT] += 1
            return
        if not turn.speaker:
            raise Unreadable(f"turn {len(self.turns) + 1} has no speaker")
        if any(name in self.places for name in names):
            self.left_out.counts[SAME_ID] += 1
        for name in names:
            self.places.setdefault(name, len(self.turns))
        self.turns.append(turn)

    def ask(self, text: Any, evidence: Iterable[str], category: str, answerable: bool) -> None:
        """Add a question; one without evidence that is a turn is left out."""
        self.asked += 1
        if not isinstance(text, str) or not clean_text(text):
            raise Unreadable(f"question {self.asked} has no text")
        category = clean_line(category)
        if category in GROUPS or len(category) > LONGEST_CATEGORY:
            raise Unreadable(f"a category cannot be called {shown(category)}")
        names = list(dict.fromkeys(evidence))
        self.left_out.unknown_ids += (name for name in names if name not in self.places)
        if not (turns := sorted({self.places[name] for name in names if name in self.places})):
            self.left_out.counts[NO_EVIDENCE] += 1
            return
        self.questions.append(Question(clean_text(text), tuple(turns), category, answerable))

    def conversation(self, name: str) -> Conversation:
        return Conversation(name, tuple(self.turns), tuple(self.questions))


def _locomo(value: Any, name: str, left_out: LeftOut) -> Conversation:
    """LoCoMo's entry, or REALTALK's, which has its sessions beside the questions and calls texts `clean_text`."""
    inside = value.get("conversation")
    sessions = inside if isinstance(inside, dict) else value
    numbers = sorted(int(match[1]) for match in map(_SESSION.fullmatch, sessions) if match)
    talk = _Talk(left_out)
    for number in numbers:
        date = str(sessions.get(f"session_{number}_date_time") or "")
        for turn in sessions[f"session_{number}"] or []:
            said = str(turn.get("date_time") or date)
            names = [_turn_id(str(turn["dia_id"]))] if "dia_id" in turn else []
            talk.say(names, str(turn["speaker"]), _with_photo(turn), said)
    for entry in value["qa"]:
        code = entry.get("category")
        category = CATEGORIES.get(int(code), str(code)) if str(code).isdecimal() else str(code or "")
        evidence = _turn_ids(entry.get("evidence") or [])
        talk.ask(entry["question"], evidence, category, category not in UNANSWERABLE)
    return talk.conversation(str(value.get("sample_id") or name))


def _with_photo(turn: dict[str, Any]) -> str:
    """A turn's text, and what the picture shows that was shared with it: its caption is all that can be read of it."""
    text, caption = str(turn["text"] if "text" in turn else turn["clean_text"]), turn.get("blip_caption")
    if caption:
        return f"{text} [shares a photo: {_PHOTO_OF.sub('', str(caption).strip())}]".strip()
    # A picture alone, that nobody described; beside text it adds nothing.
    return text if text.strip() or not (turn.get("img_url") or turn.get("img_file")) else "[shares a photo]"


def _turn_ids(evidence: Any) -> Iterator[str]:
    """The ids in evidence, whose entries may hold several ("D8:6; D9:17"); what is no id comes out as it is."""
    for entry in [evidence] if isinstance(evidence, str) else evidence:
        for part in re.split(r"[;,\s]+", str(entry)):
            found = [_turn_id(match[0]) for match in _TURN_ID.finditer(part)]
            yield from found or ([part] if part else [])


def _turn_id(text: str) -> str:
    match = _TURN_ID.fullmatch(text.strip())
    return f"D{int(match[1])}:{int(match[2])}" if match else text.strip()


def _read_beam(folder: Path, left_out: LeftOut) -> tuple[str, Conversation]:
    """A chat of BEAM (arXiv 2510.27246): batches of turns of messages, and questions by the ability that they test."""
    # In BEAM's own repository the questions have a folder of their own.
    path = next((path for path in (folder / PROBES, folder / PROBES[:-5] / PROBES) if path.is_file()), None)
    if path is None:
        raise UserError(f"{folder}: {CHAT} without {PROBES}")

    return BEAM, _checked(str(folder), _beam, (read_json(folder / CHAT), read_json(path)), folder.name, left_out)


def _beam(value: Any, name: str, left_out: LeftOut) -> Conversation:
    chat, probes = value
    talk = _Talk(left_out)
    date = ""
    for message in _messages(chat):
        date = str(message.get("time_anchor") or date)  # stands at the first message of a day
        names = [str(message["id"])] if "id" in message else []
        talk.say(names, str(message["role"]), str(message["content"]), date)
    for ability, entries in probes.items():
        for entry in entries:
            evidence = map(str, _numbers(entry.get("source_chat_ids")))
            talk.ask(entry["question"], evidence, ability, ability not in UNANSWERABLE)
    return talk.conversation(name)


def _messages(value: Any) -> Iterator[dict[str, Any]]:
    """The messages in batches, turns, and plans of batches, in order."""
    if isinstance(value, dict) and "role" in value:
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _messages(part)


def _numbers(value: Any) -> Iterator[int]:
    """The whole numbers in a value, or in lists and objects in it."""
    if isinstance(value, str):
        yield from map(int, re.findall(r"\d{1,9}", value))
    elif isinstance(value, int):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _numbers(part)


def _own(value: Any, name: str, left_out: LeftOut) -> Conversation:
    """A conversation of one's own; see docs/memory.md."""
    dialogue = parse_dialogue({field: value[field] for field in ("id", "turns") if field in value}, name)
    talk = _Talk(left_out)
    ids = [turn.get("id") for turn in value["turns"]]
    for number, (turn, raw) in enumerate(zip(dialogue.turns, value["turns"], strict=True), 1):
        if not clean_text(turn.text):
            raise Unreadable(f"'text' of turn {number} shows nothing")
        names = [f"turn {number}"] if raw.get("id") is None else [f"turn {number}", str(raw["id"])]
        talk.say(names, turn.speaker, turn.text, str(raw.get("date") or ""))
    numbered = not any(type(name) is int for name in ids)  # else a whole number is an id, not a place
    if not isinstance(value["questions"], list):
        raise Unreadable("'questions' must be a list")
    for number, entry in enumerate(value["questions"], 1):
        try:
            text, evidence, category, answerable = _own_question(entry)
        except Unreadable as error:
            raise Unreadable(f"question {number}: {error}") from None
        named = (f"turn {name}" if numbered and isinstance(name, int) else str(name) for name in evidence)
        talk.ask(text, named, category, answerable)
    return talk.conversation(dialogue.id)


def _own_question(entry: Any) -> tuple[str, list[int | str], str, bool]:
    if not isinstance(entry, dict) or not isinstance(entry.get("question"), str):
        raise Unreadable("expected an object with 'question' and 'evidence'")
    evidence = entry.get("evidence") or []
    if not isinstance(evidence, list) or not all(type(name) in (int, str) for name in evidence):
        raise Unreadable("'evidence' must be a list of turns: numbers from 1, or ids")
    if not isinstance(category := entry.get("category") or "", str):
        raise Unreadable("'category' must be a text")
    if not isinstance(answerable := entry.get("answerable", True), bool):
        raise Unreadable("'answerable' must be true or false")
    return entry["question"], evidence, category, answerable
