"""Thinking aloud: what models write between marks before they answer. It is no part of a reply."""

import re
from collections.abc import Sequence

from gistchat.prompts.tokenizer import Tokenizer

# What begins a thought, and what ends it, by the families that write so.
MARKS = (
    ("<think>", "</think>"),  # Qwen 3, DeepSeek R1, SmolLM3, Hunyuan, GLM, Nemotron
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),  # EXAONE Deep
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<|channel>thought", "<channel|>"),  # Gemma 4
)
_ALL = tuple(mark for pair in MARKS for mark in pair)
_BLOCKS = "|".join(rf"{re.escape(begin)}.*?(?:{re.escape(end)}|\Z)" for begin, end in MARKS)
# A mark that ends no thought shows nothing, either.
_PART = rf"\s*(?:{_BLOCKS}|{'|'.join(re.escape(end) for _, end in MARKS)})"
_THOUGHT, _FIRST_THOUGHTS = re.compile(_PART, re.DOTALL), re.compile(rf"\A(?:{_PART})+", re.DOTALL)


def without_thoughts(text: str) -> str:
    """What of a text is said; a thought that does not end goes on to the end of the text."""
    return _THOUGHT.sub("", text)


def after_thoughts(text: str) -> str:
    """What comes after the thoughts that a text begins with. Marks within may be what is talked about."""
    return _FIRST_THOUGHTS.sub("", text)


def begun_mark(text: str) -> int:
    """How many characters at the end of a growing text may become a mark."""
    return max((n for mark in _ALL for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0)


def closing(asked: str) -> str:
    """What ends the thought that a text leaves open, so that a model answers at once; empty where it leaves none."""
    for begin, end in MARKS:
        if asked.rfind(begin) > asked.rfind(end):
            return ("\n" if asked.endswith("\n") else "\n\n") + f"{end}\n\n"
    return ""


def is_mark(token: str) -> bool:
    """Whether a token begins or ends thoughts, or is what such a mark begins with."""
    return token in _ALL or any(mark.startswith(token) and token.startswith("<|") for mark in _ALL)


class Decoder:
    """Decodes what a model wrote, without control tokens and thoughts."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        special = {i: token.content for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        # Marks that are control tokens have to be seen, so that what is between them can be left out.
        self.marks = {i: content for i, content in special.items() if is_mark(content)}
        self._others = special.keys() - self.marks
        self._tokenizer = tokenizer

    def __call__(self, ids: Sequence[int]) -> str:
        if self.marks.keys().isdisjoint(ids):
            return without_thoughts(self._tokenizer.decode(ids, skip_special_tokens=True))
        return without_thoughts(self._tokenizer.decode([i for i in ids if i not in self._others]))
