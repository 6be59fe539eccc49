"""Stories that KoboldAI and koboldcpp save: a prompt and what followed, in instruct mode or chat mode.

What is learned are the assistant's replies, or the characters'. Memory and the system's words are `meta["system"]`;
reasoning is left out and counted. A story in which nobody speaks by name or tag is refused.
"""

import re
from collections.abc import Iterator
from typing import Any

from gistchat.corpora.corpus import Corpus, Head
from gistchat.corpora.roles import without_reasoning
from gistchat.corpora.sources import reader
from gistchat.dialogue.turns import Dialogue, LeftOut, ReadResult, Turn, Unreadable
from gistchat.dialogue.visible import has_text

# Tags of a story, and the settings with the ones of one's own.
TAGS = {
    "user": ("{{[INPUT]}}", "instruct_starttag"),
    "assistant": ("{{[OUTPUT]}}", "instruct_endtag"),
    "system": ("{{[SYSTEM]}}", "instruct_systag"),
    "": ("{{[INPUT_END]}}", "instruct_starttag_end"),
}
ENDS = ("{{[OUTPUT_END]}}", "{{[SYSTEM_END]}}")
USUAL = {"user": "### Instruction:", "assistant": "### Response:"}


def looks_like(head: Head) -> bool:
    return isinstance(head.value, dict) and {"gamestarted", "prompt", "actions"} <= head.value.keys()


def parse(file: str, name: str, value: Any) -> Iterator[ReadResult]:
    if not isinstance(value, dict) or "actions" not in value:
        raise Unreadable("expected a story with 'prompt' and 'actions'")
    settings = value.get("savedsettings") or {}
    actions = [part for part in value["actions"] if isinstance(part, str)]
    story = "".join([value.get("prompt") or "", *actions])
    pieces, scored = _instructions(story, settings), ("assistant",)
    if not any(speaker == "assistant" for speaker, _ in pieces):
        pieces, user = _chat(story, settings)
        scored = tuple(dict.fromkeys(speaker for speaker, _ in pieces if speaker not in ("", user)))
    if not scored or len({speaker for speaker, _ in pieces} - {"", "system"}) < 2:
        raise Unreadable("a story in which nobody speaks by name or tag: not a chat")
    spoken = [(who, without_reasoning(text) if who in scored else text) for who, text in pieces]
    if thought := sum(one != two for one, two in zip(pieces, spoken, strict=True)):
        yield LeftOut("reasoning", thought)
    pieces = spoken
    pieces = [(speaker, text.strip()) for speaker, text in pieces if has_text(text)]
    turns = tuple(Turn(speaker, text) for speaker, text in pieces if speaker not in ("", "system"))
    texts = [settings.get("instruct_sysprompt"), value.get("memory")]
    texts = [text.strip() for text in texts if isinstance(text, str) and has_text(text)]
    texts += [text for speaker, text in pieces if speaker == "system"]
    if outside := sum(speaker == "" for speaker, _ in pieces):
        yield LeftOut("text that nobody says", outside)
    meta = {"system": "\n".join(texts)} if texts else {}
    yield Dialogue(name, turns, corpus=file, scored_speakers=scored, meta=meta)


def _instructions(story: str, settings: dict[str, Any]) -> list[tuple[str, str]]:
    speakers = dict.fromkeys(ENDS, "")
    for speaker, (tag, setting) in TAGS.items():
        own = str(settings.get(setting) or "").replace("\\n", "\n").strip()
        speakers |= {known: speaker for known in (tag, own, USUAL.get(speaker)) if known}
    for setting in ("instruct_endtag_end", "instruct_systag_end"):
        if own := str(settings.get(setting) or "").replace("\\n", "\n").strip():
            speakers[own] = ""
    tags = sorted(speakers, key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, tags))})", story)
    return [("", parts[0]), *((speakers[tag], text) for tag, text in zip(parts[1::2], parts[2::2], strict=True))]


def _chat(story: str, settings: dict[str, Any]) -> tuple[list[tuple[str, str]], str]:
    """What each says, by lines that begin with a name, and the user's name."""
    user = str(settings.get("chatname") or "You")
    others = [name for name in str(settings.get("chatopponent") or "").split("||$||") if name.strip()]
    names = [re.escape(name) for name in (user, *others)] if others else [re.escape(user), r"[^\W\d_][^:\n]{0,40}"]
    parts = re.split(rf"^({'|'.join(names)}):", story, flags=re.MULTILINE)
    return [("", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)], user


CORPUS = Corpus(
    name="koboldcpp",
    description="your chats in KoboldAI or koboldcpp: a saved story",
    read=reader(parse),
    parse=parse,
    looks_like=looks_like,
    patterns=("*.json",),
    mark=b'"actions"',
    export="In KoboldAI Lite: Save / Load, Download Save File, as JSON.",
)
