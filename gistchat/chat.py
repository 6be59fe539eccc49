"""ChatSession: turns -> context -> reply. The one chat logic, under the terminal and whatever else talks."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gistchat.checkpoint import Checkpoint, load_checkpoint
from gistchat.context import Context, Sentence, build_context, fit_limit
from gistchat.dialogue import Dialogue, Turn, write_jsonl
from gistchat.errors import UserError
from gistchat.generate import Sampling, stream_reply
from gistchat.models import model_limit
from gistchat.normalize import clean_text
from gistchat.recipe import apply_overrides
from gistchat.storage import fingerprint
from gistchat.summarize.engines import token_counter
from gistchat.summarize.extractive import METHODS, split_sentences, summarize_prefixes
from gistchat.summarize.rolling import RollingMemory, Summarizer, Window, turn_cost
from gistchat.summarize.summarizers import gist_budget, make_summarizer

PERSON, MODEL = "user", "model"


@dataclass
class ChatSession:
    """A conversation with a checkpoint.

    Attributes:
        turns: all turns so far, by PERSON and MODEL.
        memory: what is kept of them word for word, and the gist of those before.
        context: what the model saw before its latest reply; None before the first.
        gist_by: what made the gist in it.
        notice: what the user should know about the latest turn, such as that it was shortened.
    """

    checkpoint: Checkpoint
    summarizer: Summarizer
    memory: RollingMemory
    seed: int | None = None
    edited_up_to: int = 0  # for how many turns a gist written by hand stands
    turns: list[Turn] = field(default_factory=list)
    context: Context | None = None
    gist_by: str = ""
    notice: str = ""
    saved: Path | None = None

    @classmethod
    def open(cls, folder: Path, overrides: list[str] | None = None, seed: int | None = None) -> "ChatSession":
        """A session with the checkpoint of a run. Raises UserError when there is none, or no such summarizer."""
        checkpoint = load_checkpoint(folder)
        recipe = apply_overrides(checkpoint.recipe, overrides or [])
        checkpoint = dataclasses.replace(checkpoint, recipe=recipe)
        count = token_counter(checkpoint.tokenizer)
        summarizer = make_summarizer(recipe.summary, gist_budget(recipe.context), count)
        return cls(checkpoint, summarizer, _new_memory(checkpoint), seed)

    def reply(self, text: str) -> Iterator[str]:
        """Yield the model's answer to `text` piece by piece.

        The turn and whatever was said of the answer are kept, also when the caller stops early.
        """
        if self.memory.turns < len(self.turns):
            self.remember()  # it was not called after the last reply
        text = self._shorten(clean_text(text))
        self.turns.append(Turn(PERSON, text))
        self.context, prompt = self._prompt()
        self.gist_by = self.memory.gist.made_by if self._remembers else self.checkpoint.recipe.summary.method
        self._tell_what_was_not_read()
        chat = self.checkpoint.recipe.chat
        # A seed of its own for every turn: repeatable, yet not the same draw each time.
        seed = None if self.seed is None else int(fingerprint([self.seed, len(self.turns)])[:8], 16)
        sampling = Sampling(chat.max_reply_tokens, chat.temperature, chat.top_p, seed)
        said: list[str] = []
        try:
            for piece in stream_reply(self.checkpoint.model, self.checkpoint.format, prompt, sampling):
                said.append(piece)
                yield piece
        finally:
            answer = clean_text("".join(said))
            if answer:
                self.turns.append(Turn(MODEL, answer))
            else:
                self.turns.pop()  # no answer: the turn is taken back, so that speakers keep alternating
                self.notice = "no answer came; try again or say it differently"

    def remember(self) -> None:
        """Let turns that left the window go into the gist. To be called after a reply, so that no reply waits for it.

        A summarizer that fails changes nothing: gist and turns stay, and the next call tries again.
        """
        for turn in self.turns[self.memory.turns :]:
            self.memory.add(turn)
        if not self._remembers:
            return
        try:
            if problem := self.memory.refresh(self.summarizer):
                self.notice = f"the summary was refused ({problem}); sentences were picked instead"
        except UserError as error:
            self.notice = f"no new summary, the last one stays: {error}"

    @property
    def _remembers(self) -> bool:
        """Whether the memory's gist is of use: sentences are picked anew for `summary` and `hybrid`."""
        recipe = self.checkpoint.recipe
        return recipe.chat.strategy == "rolling" or (self._shows_gist and recipe.summary.method not in METHODS)

    @property
    def _shows_gist(self) -> bool:
        return self.checkpoint.recipe.chat.strategy in ("summary", "hybrid", "rolling")

    def _tell_what_was_not_read(self) -> None:
        strategy = self.checkpoint.recipe.chat.strategy
        if self.memory.pinned and not any(line.turn < 0 for line in self.context.lines):
            self.notice = "the edited gist was not read: " + (
                "it is too long for its share of the budget; shorten it"
                if self._shows_gist
                else f"the strategy {strategy!r} has no gist"
            )
        elif strategy == "rolling" and self.context.boundary > self.memory.gist.end:
            lost = self.context.boundary - self.memory.gist.end
            self.notice = f"turns not read, as they fit no more and have no summary yet: {lost}"

    def _limit(self) -> int:
        limit = model_limit(self.checkpoint.model.config) - self.checkpoint.recipe.chat.max_reply_tokens
        if limit < 32:
            raise UserError("chat.max_reply_tokens leaves no room for a prompt; lower it")
        return limit

    def _shorten(self, text: str) -> str:
        """Cut a turn that the model could not take, at its start: what comes last is what is answered."""
        self.notice = ""
        prompt_format = self.checkpoint.format
        bare = len(self._encode([Turn(PERSON, "")], 0, alone=True)[1])
        ids = prompt_format.encode_text(text)
        room = self._limit() - bare
        if len(ids) <= room:
            return text
        self.notice = f"the turn has {len(ids)} tokens, the model takes {room}: only its end was read"
        return clean_text(prompt_format.tokenizer.decode(ids[len(ids) - room + 8 :]))

    def _prompt(self) -> tuple[Context, list[int]]:
        return fit_limit(lambda budget: self._encode(self.turns, budget), self.budget, self._limit())

    @property
    def budget(self) -> int:
        """Tokens for everything before the last turn."""
        recipe = self.checkpoint.recipe
        if recipe.chat.strategy == "full":
            return recipe.context.full_limit or self._limit()
        return recipe.context.budget

    def _encode(self, turns: list[Turn], budget: int, alone: bool = False) -> tuple[Context, list[int]]:
        """The context of the last turn, and its prompt; `alone`: with nothing before it."""
        recipe, prompt_format = self.checkpoint.recipe, self.checkpoint.format
        strategy, share = "last" if alone else recipe.chat.strategy, recipe.context.summary_share
        context = build_context(
            turns,
            MODEL,
            strategy,
            budget,
            prompt_format,
            self._summary,
            share,
            rolled=lambda _: self.memory.current(),  # it has not heard the last turn yet
            max_turns=recipe.context.max_turns,
        )
        return context, prompt_format.encode(context)

    def _summary(self, turns: int) -> list[Sentence]:
        """The sentences that stand for the first turns, best first; what was written by hand comes before all."""
        gist = self.memory.current()
        if self._remembers:
            since = split_sentences(self.turns[gist.end : turns], gist.end)
            return [*gist.sentences, *reversed(since)]
        return [*gist.sentences, *self._picked(turns)]

    def _picked(self, turns: int) -> list[Sentence]:
        """Sentences of the turns after those that a gist written by hand stands for."""
        recipe = self.checkpoint.recipe
        first = self.edited_up_to
        later = self.turns[first : turns + 1]
        if turns <= first or len(later) < 2:
            return []
        count = token_counter(self.checkpoint.tokenizer)
        made = summarize_prefixes(later, recipe.summary.method, recipe.context.budget, count, recipe.summary.recency)
        return [dataclasses.replace(line, turn=line.turn + first) for line in made.of_prefix(turns - first)]

    def edit_gist(self, text: str) -> None:
        """Replace the gist of the turns that it covers now. Raises UserError when the text is empty."""
        text = clean_text(text)
        if not text:
            raise UserError("an empty gist says nothing; /reset starts over")
        self.memory.edit(text)
        self.edited_up_to = self.context.boundary if self.context else 0

    def reset(self) -> None:
        """Forget everything that was said."""
        self.turns, self.context, self.notice, self.edited_up_to = [], None, "", 0
        self.memory = _new_memory(self.checkpoint)

    def save(self, path: Path) -> None:
        """Write the conversation as one dialogue that `gistchat prepare jsonl` reads."""
        if len(self.turns) < 2:
            raise UserError("nothing to save yet")
        if path.exists() and path != self.saved:
            raise UserError(f"{path} exists; give another name")
        if not path.parent.is_dir():
            raise UserError(f"{path.parent}: no such folder")
        name = fingerprint([[turn.speaker, turn.text] for turn in self.turns])
        gist = " ".join(line.text for line in self.memory.current().sentences)
        meta = {"gist": gist} if gist else {}
        write_jsonl(path, [Dialogue(f"chat-{name}", tuple(self.turns), corpus="chat", meta=meta)])
        self.saved = path


def _new_memory(checkpoint: Checkpoint) -> RollingMemory:
    context = checkpoint.recipe.context
    window = Window.of_budget(context.budget, context.summary_share)
    return RollingMemory(window, turn_cost(checkpoint.format), checkpoint.recipe.summary.method)
