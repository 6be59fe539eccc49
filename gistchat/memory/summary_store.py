"""Stage 2: summaries of dialogues, on disk, keyed by content, summarizer and settings."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gistchat.context.types import Gist, Sentence
from gistchat.dialogue.turns import Dialogue
from gistchat.errors import UserError
from gistchat.files import fingerprint
from gistchat.locks import locked
from gistchat.memory.factory import summary_settings
from gistchat.memory.rolling import GistHistory, gist_and_since
from gistchat.memory.summarizers.extractive import ALL_RANKED, BEST, LATEST, METHODS, Summaries, summarize
from gistchat.memory.workers import ENGINES, Settings
from gistchat.processes import batched
from gistchat.progress import progress, say
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.token_count import token_counter
from gistchat.recipe.schema import ContextConfig, SummaryConfig
from gistchat.resumable import ResumableJsonl

VERSION = 6  # raise it when a summarizer's output changes
CHUNK = 50  # dialogues written, and so at most lost, at a time


class SummaryStore:
    """One JSONL file per summarizer and settings; a line holds all summaries of one dialogue."""

    def __init__(
        self, folder: Path, config: SummaryConfig, context: ContextConfig, prompt_format: PromptFormat, key: str
    ) -> None:
        """The dialogue model's `prompt_format` says what a turn costs; its tokenizer, of fingerprint `key`, counts."""
        self.config, self.context, self.format = config, context, prompt_format
        self.written = config.method not in METHODS
        settings: list[Any] = [VERSION, {"method": config.method, "recency": config.recency}, context.budget, key]
        if self.written:
            settings[1] = summary_settings(config)
            settings += [context.summary_share, prompt_format.name]
        self.path = folder / f"{config.method}-{context.budget}-{fingerprint(settings)}.jsonl"
        self._stored = ResumableJsonl(self.path)

    def __contains__(self, dialogue: Dialogue) -> bool:
        return dialogue.content_hash in self._stored

    def get(self, dialogue: Dialogue) -> "Summaries | Written":
        """The stored summaries of a dialogue. Raises UserError when there are none or the line is damaged."""
        value = self._stored.get(dialogue.content_hash)
        if value is None:
            raise UserError(f"no {self.config.method} summaries of dialogue {dialogue.id}: run gistchat summarize")
        try:
            if self.written:
                gists = (
                    (said, Gist(tuple(Sentence(*line[:3], tuple(line[3])) for line in lines), end, digest, made_by))
                    for said, end, digest, made_by, lines in value["gists"]
                )
                return Written(dialogue, GistHistory(tuple(gists)))
            sentences = tuple(Sentence(turn, dialogue.turns[turn].speaker, text) for turn, text in value["sentences"])
            return Summaries(sentences, tuple(tuple(pick) for pick in value["picks"]))
        except (ValueError, KeyError, IndexError, TypeError):
            raise UserError(
                f"{self.path}: damaged summary of {dialogue.id}; delete the file to make it again"
            ) from None

    def add(self, dialogues: Sequence[Dialogue], engine: str = "local") -> int:
        """Summarise what is not stored yet; returns how many dialogues that was.

        Args:
            engine: local (the cores of this machine) | ray (those of a cluster); both write the same bytes.
        Raises:
            UserError: a summarizer that cannot be had, or that fails; what was finished is stored.
        """
        if all(dialogue in self for dialogue in dialogues):
            return 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Another run may be adding to the same file. Single appends lock the file itself.
        with locked(self.path.with_suffix("")):
            self._stored.refresh()
            missing = list({d.content_hash: d for d in dialogues if d not in self}.values())
            fell_back: Counter[str] = Counter()
            long = 0
            parts = list(batched(missing, CHUNK))
            settings = Settings(self.config, self.context, self.format.name, self.format.tokenizer)
            title = f"summarize ({self.config.method})"
            with progress(title, len(dialogues), len(dialogues) - len(missing)) as advance:
                for part, chunk in zip(parts, ENGINES[engine](settings, parts), strict=True):
                    self._stored.append_lines(chunk.lines)
                    fell_back.update(chunk.refused)
                    long += chunk.long
                    advance(len(part))
        if fell_back:
            reasons = ", ".join(f"{count} {reason}" for reason, count in fell_back.most_common())
            say(f"summarize: {fell_back.total()} summaries refused, extractive ones in their place ({reasons})")
        if long:
            say(
                f"summarize: {long} dialogues have more than {ALL_RANKED:,} sentences: later summaries of these are "
                f"picked from about {LATEST} latest sentences and the {BEST} best before"
            )
        return len(missing)


@dataclasses.dataclass(frozen=True)
class PickedOnDemand:
    """In the place of a store of picked sentences where few summaries are asked for: each is made when it is, the same
    as the store would hold, and nothing is kept."""

    store: SummaryStore
    written = False

    @property
    def config(self) -> SummaryConfig:
        return self.store.config

    def get(self, dialogue: Dialogue) -> "Picked":
        return Picked(dialogue, self.store)


@dataclasses.dataclass(frozen=True)
class Picked:
    """Summaries of a dialogue that are made one by one."""

    dialogue: Dialogue
    store: SummaryStore

    def of_prefix(self, turns: int) -> list[Sentence]:
        """As `Summaries.of_prefix`."""
        config, count = self.store.config, token_counter(self.store.format.tokenizer)
        return summarize(self.dialogue.turns[:turns], config.method, self.store.context.budget, count, config.recency)


@dataclasses.dataclass(frozen=True)
class Written:
    """The gists that a writer made as the dialogue went on, and the sentences that were said since each."""

    dialogue: Dialogue
    history: GistHistory

    def of_prefix(self, turns: int) -> list[Sentence]:
        """Sentences that may stand for the first `turns` turns, best first."""
        return gist_and_since(self.history.at(turns), self.dialogue.turns[:turns])
