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
from gistchat.summarize.extractive import summarize_prefixes
from gistchat.summarize.store import token_counter

PERSON, MODEL = "user", "model"


@dataclass(frozen=True)
class EditedGist:
    """A gist written by hand; it stands for the turns before `boundary`, and later ones are summarised after it."""

    text: str
    boundary: int


@dataclass
class ChatSession:
    """A conversation with a checkpoint.

    Attributes:
        turns: all turns so far, by PERSON and MODEL.
        context: what the model saw before its latest reply; None before the first.
        notice: what the user should know about the latest turn, such as that it was shortened.
    """

    checkpoint: Checkpoint
    seed: int | None = None
    turns: list[Turn] = field(default_factory=list)
    context: Context | None = None
    edited: EditedGist | None = None
    notice: str = ""
    saved: Path | None = None

    @classmethod
    def open(cls, folder: Path, overrides: list[str] | None = None, seed: int | None = None) -> "ChatSession":
        """A session with the checkpoint of a run. Raises UserError when there is none."""
        checkpoint = load_checkpoint(folder)
        recipe = apply_overrides(checkpoint.recipe, overrides or [])
        return cls(dataclasses.replace(checkpoint, recipe=recipe), seed)

    def reply(self, text: str) -> Iterator[str]:
        """Yield the model's answer to `text` piece by piece.

        The turn and whatever was said of the answer are kept, also when the caller stops early.
        """
        text = self._shorten(clean_text(text))
        self.turns.append(Turn(PERSON, text))
        self.context, prompt = self._prompt()
        if self.edited and not any(line.turn < 0 for line in self.context.lines):
            self.notice = "the edited gist was not read: " + (
                "it is too long for its share of the budget; shorten it"
                if self.checkpoint.recipe.chat.strategy in ("summary", "hybrid")
                else f"the strategy {self.checkpoint.recipe.chat.strategy!r} has no gist"
            )
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

    def _limit(self) -> int:
        limit = model_limit(self.checkpoint.model.config) - self.checkpoint.recipe.chat.max_reply_tokens
        if limit < 32:
            raise UserError("chat.max_reply_tokens leaves no room for a prompt; lower it")
        return limit

    def _shorten(self, text: str) -> str:
        """Cut a turn that the model could not take, at its start: what comes last is what is answered."""
        self.notice = ""
        prompt_format = self.checkpoint.format
        bare = len(self._encode([Turn(PERSON, "")], 0)[1])
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

    def _encode(self, turns: list[Turn], budget: int) -> tuple[Context, list[int]]:
        recipe, prompt_format = self.checkpoint.recipe, self.checkpoint.format
        strategy, share = recipe.chat.strategy, recipe.context.summary_share
        context = build_context(turns, MODEL, strategy, budget, prompt_format, self._summary, share)
        return context, prompt_format.encode(context)

    def _summary(self, turns: int) -> list[Sentence]:
        """The sentences that stand for the first turns, best first; an edited gist comes before all others."""
        first = self.edited.boundary if self.edited else 0
        sentences = [] if self.edited is None else [Sentence(-1, "", self.edited.text)]
        recipe = self.checkpoint.recipe
        later = self.turns[first : turns + 1]
        if turns > first and len(later) > 1:
            count = token_counter(self.checkpoint.tokenizer)
            summary = recipe.summary
            made = summarize_prefixes(later, summary.method, recipe.context.budget, count, summary.recency)
            sentences += [
                dataclasses.replace(sentence, turn=sentence.turn + first) for sentence in made.of_prefix(turns - first)
            ]
        return sentences

    def edit_gist(self, text: str) -> None:
        """Replace the gist of the turns that it covers now. Raises UserError when the text is empty."""
        text = clean_text(text)
        if not text:
            raise UserError("an empty gist says nothing; /reset starts over")
        boundary = self.context.boundary if self.context else 0
        self.edited = EditedGist(text, boundary)

    def reset(self) -> None:
        """Forget everything that was said."""
        self.turns, self.context, self.edited, self.notice = [], None, None, ""

    def save(self, path: Path) -> None:
        """Write the conversation as one dialogue that `gistchat prepare jsonl` reads."""
        if len(self.turns) < 2:
            raise UserError("nothing to save yet")
        if path.exists() and path != self.saved:
            raise UserError(f"{path} exists; give another name")
        if not path.parent.is_dir():
            raise UserError(f"{path.parent}: no such folder")
        name = fingerprint([[turn.speaker, turn.text] for turn in self.turns])
        meta = {"gist": self.edited.text} if self.edited else {}
        write_jsonl(path, [Dialogue(f"chat-{name}", tuple(self.turns), corpus="chat", meta=meta)])
        self.saved = path
