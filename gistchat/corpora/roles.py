"""Who speaks in chats with roles, by all names that files have for them, and what of a reply was only thought."""

import re

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
