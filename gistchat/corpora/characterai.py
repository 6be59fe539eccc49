"""Character.AI's chats, as its data export and browser tools save them: old histories with `msgs` (`messages` in what
its interface answers), new ones with `turns`, each with candidates.

What is learned are the character's replies: the candidate that the chat went on with; the others are counted, and so is
what was deleted.
"""

from collections.abc import Iterator
from typing import Any

from gistchat.corpora.corpus import Corpus, Head, iso
from gistchat.corpora.dates import as_date
from gistchat.corpora.sources import reader
from gistchat.dialogue.turns import Dialogue, LeftOut, ReadResult, Turn, Unreadable
from gistchat.dialogue.visible import has_text


def looks_like(head: Head) -> bool:
    return next(_chats(head.value), None) is not None


def _chats(value: Any) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """What a file says of each chat, and its messages, wherever it holds them."""
    if isinstance(value, list) and value and _is_message(value[0]):
        yield {}, value
    elif isinstance(value, list):
        for part in value:
            yield from _chats(part)
    if isinstance(value, dict):
        for key, part in value.items():
            if key in ("msgs", "turns", "messages") and isinstance(part, list) and part and _is_message(part[0]):
                yield value, part
            else:
                yield from _chats(part)


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    old = isinstance(value.get("src"), dict) and "is_human" in value["src"]
    new = isinstance(value.get("candidates"), list) and isinstance(value.get("author"), dict)
    return old or new or "src__is_human" in value


def parse(file: str, name: str, value: Any) -> Iterator[ReadResult]:
    chats = list(_chats(value))
    if not chats:
        raise Unreadable("no histories with 'msgs', and no chats with 'turns'")
    for number, (about, messages) in enumerate(chats):
        readable = [message for message in messages if _is_message(message)]
        shown = [message for message in readable if not (message.get("is_alternative") or message.get("deleted"))]
        others = sum(max(0, len(message.get("candidates") or [0]) - 1) for message in shown)
        others += len(readable) - len(shown)
        turns = [(turn, human) for turn, human in map(_turn, shown) if has_text(turn.text)]
        dates = [turn.date for turn, _ in turns if turn.date]
        if dates and dates[0] > dates[-1]:  # its service gives the newest first
            turns.reverse()
        if others:
            yield LeftOut("other candidates for a reply, and deleted messages", others)
        if wordless := len(messages) - len(readable) + len(shown) - len(turns):
            yield LeftOut("messages without words", wordless)
        characters = tuple(dict.fromkeys(turn.speaker for turn, human in turns if not human))
        said = tuple(
            turn._replace(speaker=f"{turn.speaker} (user)") if human and turn.speaker in characters else turn
            for turn, human in turns  # people may have the name of a character
        )
        own = about.get("external_id") or about.get("chat_id") or (name if len(chats) == 1 else f"{name}-{number}")
        yield Dialogue(str(own), said, corpus=file, scored_speakers=characters)


def _turn(message: dict[str, Any]) -> tuple[Turn, bool]:
    """A turn, and whether a human speaks."""
    if "candidates" not in message:
        author = message["src"] if isinstance(message.get("src"), dict) else {}
        human = bool(author.get("is_human", message.get("src__is_human")))
        name = author.get("name") or message.get("src__name") or message.get("display_name")
        text = message.get("text")
    else:
        author, candidates = message["author"], message["candidates"] or [{}]
        human = bool(author.get("is_human"))
        name = author.get("name")
        primary = message.get("primary_candidate_id")
        chosen = next((part for part in candidates if primary and part.get("candidate_id") == primary), candidates[0])
        text = chosen.get("raw_content")
    date = as_date(message.get("create_time") or message.get("created") or "")
    speaker = str(name or ("user" if human else "character"))
    return Turn(speaker, text if isinstance(text, str) else "", iso(date) if date else ""), human


CORPUS = Corpus(
    name="characterai",
    description="your chats with characters on Character.AI",
    read=reader(parse),
    parse=parse,
    looks_like=looks_like,
    patterns=("*.json",),
    mark=b'"is_human"',
    export="In Character.AI: Settings, Account, Export data; or with the browser extension CAI Tools, a chat's history "
    "as JSON.",
)
