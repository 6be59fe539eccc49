"""Who speaks in chats with roles, by all names that files have for them, and what of a reply was only thought."""

import re
from collections.abc import Iterator

from gistchat.dialogue.turns import Dialogue, LeftOut, ReadResult, Turn

NOT_SPEAKERS = ("tool", "function", "function_call", "observation", "ipython")  # said to nobody
SYSTEM = ("system", "developer")
ASSISTANT = ("assistant", "gpt", "bot", "model", "chatgpt", "bing", "bard", "ai", "response")
ROLES = dict.fromkeys(("user", "human", "prompt"), "user") | dict.fromkeys(ASSISTANT, "assistant")
ROLES |= {role: role for role in (*SYSTEM, *NOT_SPEAKERS)}
# What a model thought before it spoke; where its prompt opened the thought, only the end of it is marked.
THOUGHT = r"(?:<think(?:ing)?>)?(?:(?!<think).)*?</think(?:ing)?>"
REASONING = re.compile(rf'\s*(?:{THOUGHT}|<details type="reasoning".*?</details>)\s*', re.DOTALL)


def role_of(speaker: str) -> str:
    """user or assistant where a name is another word for it, in small letters where it is a role; else the name."""
    return ROLES.get(speaker.strip().lower(), speaker)


def without_reasoning(text: str) -> str:
    """What a model said, without what it thought before."""
    thought = REASONING.match(text) if "</" in text else None  # most texts are told apart fast
    return text[thought.end() :] if thought else text


def said_by(name: str, file: str, turns: list[Turn]) -> Iterator[ReadResult]:
    """A dialogue of these turns. Where all who speak are roles, the assistant's are scored."""
    roles = [role_of(turn.speaker) for turn in turns]
    if not {"user", "assistant"} <= set(roles) <= {"user", "assistant", *SYSTEM, *NOT_SPEAKERS}:
        yield Dialogue(name, tuple(turns), corpus=file)
        return
    if tools := sum(role in NOT_SPEAKERS for role in roles):
        yield LeftOut("turns of tools", tools)
    system = [turn.text for turn, role in zip(turns, roles, strict=True) if role in SYSTEM]
    spoken = [(turn, role) for turn, role in zip(turns, roles, strict=True) if role in ("user", "assistant")]
    said = tuple(turn._replace(speaker=role) for turn, role in spoken)
    meta = {"system": "\n".join(system)} if system else {}
    yield Dialogue(name, said, corpus=file, scored_speakers=("assistant",), meta=meta)
