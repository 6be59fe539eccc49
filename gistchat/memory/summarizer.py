"""What every summarizer does: a gist and the turns that left the window -> a new gist."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gistchat.context.types import Sentence
from gistchat.dialogue.turns import Turn


@dataclass(frozen=True)
class Job:
    """What a summarizer is asked for."""

    gist: tuple[Sentence, ...]  # the one so far
    turns: tuple[Turn, ...]  # those that left the verbatim window since; none where only the gist is to be shorter
    first: int  # index of the first of these in the dialogue
    budget: int  # tokens that the lines of the new gist may have
    cost: Callable[[Sentence], int]  # tokens of a line in the prompt


@dataclass(frozen=True)
class Update:
    """A new gist, and why the extractive summarizer had to make it where another was asked."""

    sentences: tuple[Sentence, ...]
    fell_back: str = ""


class Summarizer(Protocol):
    """Makes a new gist of an old one and the turns that left."""

    def update(self, jobs: Sequence[Job]) -> list[Update]: ...
