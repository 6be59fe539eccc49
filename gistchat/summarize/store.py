"""Stage 2: summaries of every prefix of every dialogue, on disk, keyed by content, summarizer and settings."""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock

from gistchat.context import Sentence
from gistchat.dialogue import Dialogue
from gistchat.errors import UserError
from gistchat.progress import progress
from gistchat.recipe import SummaryConfig
from gistchat.storage import fingerprint
from gistchat.summarize.extractive import Summaries, summarize_prefixes

VERSION = 2  # raise it when a summarizer's output changes
CHUNK = 50  # dialogues written, and so at most lost, at a time

Count = Callable[[list[str]], list[int]]


class SummaryStore:
    """One JSONL file per summarizer and settings; a line holds all summaries of one dialogue.

    Lines are only ever appended. A line torn by a kill does not count; the next one is written over it.
    """

    def __init__(self, folder: Path, config: SummaryConfig, budget: int, tokenizer_key: str) -> None:
        key = fingerprint([VERSION, dataclasses.asdict(config), budget, tokenizer_key])
        self.config, self.budget = config, budget
        self.path = folder / f"{config.method}-{budget}-{key}.jsonl"
        self._lines: dict[str, tuple[int, int]] = {}  # content hash -> (offset, length) of its line
        self._end = 0  # where the last whole line that was seen ends
        self._index()

    def _index(self) -> None:
        """Remember where each line is that was added since the last look; the texts stay on disk."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._end)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                # A line begins {"key": "<12 hex digits>"; reading just that keeps opening fast.
                if not line.startswith(b'{"key": "'):
                    number = len(self._lines) + 1
                    raise UserError(f"{self.path}:{number}: not a summary line; delete the file to make it again")
                self._lines[line[9:21].decode()] = (self._end, len(line))
                self._end += len(line)

    def __contains__(self, dialogue: Dialogue) -> bool:
        return dialogue.content_hash in self._lines

    def get(self, dialogue: Dialogue) -> Summaries:
        """The stored summaries of a dialogue. Raises UserError when there are none or the line is damaged."""
        try:
            offset, length = self._lines[dialogue.content_hash]
        except KeyError:
            raise UserError(
                f"no {self.config.method} summaries of dialogue {dialogue.id}: run gistchat summarize"
            ) from None
        with self.path.open("rb") as file:
            file.seek(offset)
            line = file.read(length)
        try:
            value = json.loads(line)
            sentences = tuple(Sentence(turn, dialogue.turns[turn].speaker, text) for turn, text in value["sentences"])
            return Summaries(sentences, tuple(tuple(pick) for pick in value["picks"]))
        except (ValueError, KeyError, IndexError, TypeError):
            raise UserError(
                f"{self.path}: damaged summary of {dialogue.id}; delete the file to make it again"
            ) from None

    def add(self, dialogues: Sequence[Dialogue], count: Count) -> int:
        """Summarise what is not stored yet; returns how many dialogues that was."""
        if all(dialogue in self for dialogue in dialogues):
            return 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_suffix(".lock")):  # another run may be adding to the same file
            self._index()
            missing = list({d.content_hash: d for d in dialogues if d not in self}.values())
            title = f"summarize ({self.config.method})"
            with (
                progress(title, len(dialogues), len(dialogues) - len(missing)) as advance,
                self.path.open("ab") as file,
            ):
                file.truncate(self._end)
                for start in range(0, len(missing), CHUNK):
                    chunk = missing[start : start + CHUNK]
                    file.write("".join(self._line(dialogue, count) for dialogue in chunk).encode())
                    file.flush()
                    os.fsync(file.fileno())
                    self._index()
                    advance(len(chunk))
        return len(missing)

    def _line(self, dialogue: Dialogue, count: Count) -> str:
        made = summarize_prefixes(dialogue.turns, self.config.method, self.budget, count, self.config.recency)
        value = {
            "key": dialogue.content_hash,
            "sentences": [[sentence.turn, sentence.text] for sentence in made.sentences],
            "picks": made.picks,
        }
        return json.dumps(value, ensure_ascii=False) + "\n"


def token_counter(tokenizer: Callable[..., dict[str, list[list[int]]]]) -> Count:
    """Counts tokens of many texts at once, control tokens spelled out as in a prompt."""

    def count(texts: list[str]) -> list[int]:
        if not texts:
            return []
        ids = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [len(item) for item in ids]

    return count
