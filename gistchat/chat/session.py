"""ChatSession: turns -> context -> reply. The one chat logic, under the terminal and whatever else talks."""

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gistchat.context.budget import fit_limit
from gistchat.context.strategies import build_context
from gistchat.context.types import MODEL as ANSWERS
from gistchat.context.types import USER as ASKS
from gistchat.context.types import Context, Gist, Sentence
from gistchat.dialogue.text_repair import clean_text
from gistchat.dialogue.turns import Turn
from gistchat.engines.engine import Engine, stream_reply
from gistchat.engines.open import open_engine
from gistchat.engines.sampling import Sampling
from gistchat.errors import UserError
from gistchat.files import fingerprint
from gistchat.memory.factory import gist_budget, make_summarizer
from gistchat.memory.rolling import RollingMemory, Window, turn_cost
from gistchat.memory.sentences import split_sentences
from gistchat.memory.summarizer import Summarizer
from gistchat.memory.summarizers.extractive import METHODS, summarize_prefixes
from gistchat.models.base import model_limit
from gistchat.models.checkpoint import PACKAGED, Checkpoint, load_checkpoint
from gistchat.prompts.token_count import token_counter
from gistchat.recipe.load import apply_overrides
from gistchat.recipe.schema import Recipe

PERSON, MODEL = "user", "model"


@dataclass
class ChatSession:
    """A conversation with a checkpoint.

    Attributes:
        engine: what computes the replies.
        turns: all turns so far, by PERSON and MODEL.
        memory: what is kept of them word for word, and the gist of those before.
        context: what the model saw before its latest reply; None before the first.
        gist_by: what made the gist in it.
        gist_end: of how many turns it is.
        notice: what the user should know about the latest turn, such as that it was shortened.
        saved: the file that the conversation was saved to or loaded from.
    """

    checkpoint: Checkpoint
    engine: Engine
    summarizer: Summarizer
    memory: RollingMemory
    seed: int | None = None
    overrides: tuple[str, ...] = ()  # of the checkpoint's recipe, as they were asked for
    edited_up_to: int = 0  # for how many turns a gist written by hand stands
    turns: list[Turn] = field(default_factory=list)
    context: Context | None = None
    gist_by: str = ""
    gist_end: int = 0
    notice: str = ""
    saved: Path | None = None
    draws: int = 0  # replies drawn so far: one that is drawn again comes out differently

    @classmethod
    def open(
        cls, folder: Path | str | None = None, overrides: Sequence[str] = (), seed: int | None = None
    ) -> "ChatSession":
        """A session with the checkpoint of a run; without one, with the adapter that comes with gistchat.

        Args:
            overrides: `field=value` of the checkpoint's recipe.
        Raises:
            UserError: there is no checkpoint, or no such summarizer.
        """
        checkpoint = load_checkpoint(Path(folder) if folder else PACKAGED)
        recipe = apply_overrides(checkpoint.recipe, list(overrides))
        checkpoint = dataclasses.replace(checkpoint, recipe=recipe)
        engine, summarizer, memory = open_engine(checkpoint), new_summarizer(checkpoint), new_memory(checkpoint)
        return cls(checkpoint, engine, summarizer, memory, seed, tuple(overrides))

    @property
    def recipe(self) -> Recipe:
        return self.checkpoint.recipe

    def say(self, text: str) -> str:
        """The model's answer, whole."""
        answer = "".join(self.reply(text))
        self.remember()
        return answer

    def reply(self, text: str) -> Iterator[str]:
        """Yield the model's answer to `text` piece by piece.

        The turn and whatever was said of the answer are kept, also when the caller stops early.
        """
        text = clean_text(text)
        if not text:
            raise UserError("nothing in that turn that can be read")
        self.notice = ""
        if self.memory.turns < len(self.turns):
            self.remember()  # it was not called after the last reply
        yield from self._answer(Turn(PERSON, text))

    def regenerate(self) -> Iterator[str]:
        """Yield another answer to the last turn, which takes the place of the one before.

        Raises:
            UserError: nothing was said yet.
        """
        turns = list(self.turns)
        try:
            asked = self.take_back()
            self.notice = ""
            yield from self._answer(asked)
        finally:
            if len(self.turns) < len(turns):  # no answer came: the one before stays
                self.turns = turns

    def _answer(self, asked: Turn) -> Iterator[str]:
        self.turns.append(Turn(PERSON, self._shorten(asked.text)))
        said: list[str] = []
        try:
            self.context, prompt = self._prompt()
            self.gist_by = self.memory.gist.made_by if self._remembers else self.recipe.summary.method
            self.gist_end = min(self.memory.gist.end, self.context.boundary) if self._rolls else self.context.boundary
            self._tell_what_was_not_read()
            for piece in stream_reply(self.engine, prompt, self._next_sampling()):
                said.append(piece)
                yield piece
        finally:
            answer = clean_text("".join(said))
            if answer:
                self.turns.append(Turn(MODEL, answer))
            else:
                self.turns.pop()  # no answer: the turn is taken back, so that speakers keep alternating
                self._tell("no answer came; try again or say it differently")

    def prompt_of(self, turns: Sequence[Turn]) -> list[int]:
        """The prompt that asks for an answer to the last of these turns, whoever spoke; the session forgets its own.

        Whoever spoke last is the person; everybody else is the model.
        """
        self.reset()
        person = turns[-1].speaker
        said = [Turn(PERSON if turn.speaker == person else MODEL, clean_text(turn.text)) for turn in turns]
        self.hear(said[:-1])
        self.turns.append(Turn(PERSON, self._shorten(said[-1].text)))
        self.context, prompt = self._prompt()
        self._tell_what_was_not_read()
        return prompt

    def _tell(self, notice: str) -> None:
        """Add to what the user should know."""
        self.notice = "; ".join(filter(None, [self.notice, notice]))

    def _next_sampling(self) -> Sampling:
        self.draws += 1
        # A seed of its own for every reply: repeatable, yet not the same draw each time.
        seed = None if self.seed is None else int(fingerprint([self.seed, self.draws])[:8], 16)
        return self.sampling(seed)

    def sampling(self, seed: int | None = None) -> Sampling:
        """How the recipe wants replies to be drawn; with the session's seed where none is given."""
        chat = self.recipe.chat
        seed = self.seed if seed is None else seed
        return Sampling(
            max_tokens=chat.max_reply_tokens,
            temperature=chat.temperature,
            top_p=chat.top_p,
            seed=seed,
            top_k=chat.top_k,
            repetition_penalty=chat.repetition_penalty,
            no_repeat_ngram=chat.no_repeat_ngram,
            stop=tuple(chat.stop),
            n_best=chat.n_best,
        )

    # ---- what was said

    def hear(self, turns: Sequence[Turn]) -> None:
        """Take turns into the conversation as if they had been said here, the memory refreshed as it goes."""
        for turn in turns:
            self.turns.append(turn)
            if turn.speaker == MODEL:
                self.remember()

    def take_back(self) -> Turn:
        """Undo the last turn of the person's and the answer to it; returns that turn.

        Raises:
            UserError: nothing was said yet.
        """
        spoken = [i for i, turn in enumerate(self.turns) if turn.speaker == PERSON]
        if not spoken:
            raise UserError("nothing said yet")
        asked = self.turns[spoken[-1]]
        del self.turns[spoken[-1] :]
        self._heard_otherwise()
        return asked

    def edit_turn(self, number: int, text: str) -> None:
        """Put another text into a turn, numbered from 1. Raises UserError: no such turn, or an empty text."""
        text = clean_text(text)
        if not 1 <= number <= len(self.turns):
            raise UserError(f"no turn {number}; there are {len(self.turns)}")
        if not text:
            raise UserError("an empty turn says nothing; /undo takes the last one back")
        self.turns[number - 1] = Turn(self.turns[number - 1].speaker, text)
        self._heard_otherwise()

    def _heard_otherwise(self) -> None:
        """Let the memory follow turns that changed: a gist that covers one of them has to go."""
        if self.memory.rewind(self.turns, self.summarizer if self._remembers else None):
            by_hand = ", without lines by hand, which stay as they are" if self.memory.pinned else ""
            self._tell(f"the gist covered what changed; it was made anew from an earlier one{by_hand}")
        self.edited_up_to = min(self.edited_up_to, len(self.turns))

    def reset(self) -> None:
        """Forget everything that was said."""
        self.turns, self.context, self.notice, self.edited_up_to = [], None, "", 0
        self.memory = new_memory(self.checkpoint)
        self.saved = None

    # ---- the gist

    def edit_gist(self, text: str) -> None:
        """Replace the gist of the turns that it covers now. Raises UserError when the text is empty."""
        text = clean_text(text)
        if not text:
            raise UserError("an empty gist says nothing; /reset starts over")
        self.memory.edit(text)
        self.edited_up_to = self.context.boundary if self.context else 0

    def pin(self, text: str) -> None:
        """Keep a line word for word in the gist, whatever is summarised later. Raises UserError when it is empty."""
        text = clean_text(text)
        if not text:
            raise UserError("nothing to pin; give a text, or the number of a line of /gist")
        self.memory.pin(Sentence(-1, "", text))

    def gist_lines(self) -> list[Sentence]:
        """The lines of the gist that the model saw last, or will see where it saw none yet."""
        if self.context is None:
            return list(self.memory.current().sentences)
        speakers = {ASKS: PERSON, ANSWERS: MODEL, "": ""}
        return [Sentence(line.turn, speakers[line.role], line.text, line.sources) for line in self.context.lines]

    def pin_line(self, number: int) -> str:
        """Pin a line of `gist_lines`, numbered from 1; returns its text. Raises UserError: no such line."""
        lines = self.gist_lines()
        if not 1 <= number <= len(lines):
            raise UserError(f"the gist has no line {number}; it has {len(lines)}")
        self.memory.pin(lines[number - 1])
        return lines[number - 1].text

    def unpin(self, number: int) -> str:
        """Let go of a pinned line, numbered from 1; returns its text. Raises UserError: no such line."""
        if not 1 <= number <= len(self.memory.pinned):
            raise UserError(f"there is no pinned line {number}; there are {len(self.memory.pinned)}")
        return self.memory.unpin(number - 1).text

    def versions(self) -> list[Gist]:
        """The earlier gists that are kept, with what was pinned, latest first."""
        return [
            dataclasses.replace(gist, sentences=pinned + gist.sentences)
            for gist, pinned in reversed(self.memory.versions)
        ]

    def back_to(self, number: int) -> None:
        """Go back to an earlier gist, numbered from 1, the latest; the turns after it are read word for word again.

        Raises:
            UserError: no such gist.
        """
        if not 1 <= number <= len(self.memory.versions):
            raise UserError(f"there is no earlier gist {number}; {len(self.memory.versions)} are kept")
        self.memory.back_to(number, self.turns)

    # ---- settings

    def switch_strategy(self, name: str) -> None:
        """Go on with another context strategy. Raises UserError: there is no such one."""
        recipe = apply_overrides(copy.deepcopy(self.recipe), [f"chat.strategy={name}"])
        self.checkpoint = dataclasses.replace(self.checkpoint, recipe=recipe)

    def switch_model(self, folder: Path | str) -> None:
        """Go on with another checkpoint, which hears the whole conversation; what was pinned stays.

        Raises:
            UserError: there is none. The session is as it was.
        """
        strategy = f"chat.strategy={self.recipe.chat.strategy}"
        other = ChatSession.open(folder, [*self.overrides, strategy], self.seed)
        other.memory.pinned = self.memory.pinned
        other.hear(self.turns)
        self.checkpoint, self.engine, self.summarizer = other.checkpoint, other.engine, other.summarizer
        self.memory, self.context, self.edited_up_to = other.memory, None, 0

    # ---- what the model sees

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
                self._tell(f"the summary was refused ({problem}); sentences were picked instead")
        except UserError as error:
            self._tell(f"no new summary, the last one stays: {error}")

    @property
    def _remembers(self) -> bool:
        """Whether the memory's gist is of use: sentences are picked anew for `summary` and `hybrid`."""
        recipe = self.recipe
        return self._rolls or (self._shows_gist and recipe.summary.method not in METHODS)

    @property
    def _rolls(self) -> bool:
        return self.recipe.chat.strategy == "rolling"

    @property
    def _shows_gist(self) -> bool:
        return self.recipe.chat.strategy in ("summary", "hybrid", "rolling")

    def _tell_what_was_not_read(self) -> None:
        strategy = self.recipe.chat.strategy
        shown = {line.text for line in self.context.lines}
        if unread := [line for line in self.memory.pinned if line.text not in shown]:
            self._tell(
                f"lines by hand that were not read: {len(unread)}, "
                + (
                    "too long for what budget and last turn leave them; shorten them, /unpin some, or raise --budget"
                    if self._shows_gist
                    else f"as the strategy {strategy!r} has no gist"
                )
            )
        elif strategy == "rolling" and self.context.boundary > self.memory.gist.end:
            lost = self.context.boundary - self.memory.gist.end
            self._tell(f"turns not read, as they fit no more and have no summary yet: {lost}")

    def _limit(self) -> int:
        limit = model_limit(self.checkpoint.model.config) - self.recipe.chat.max_reply_tokens
        if limit < 32:
            raise UserError("chat.max_reply_tokens leaves no room for a prompt; lower it")
        return limit

    def _shorten(self, text: str) -> str:
        """Cut a turn that the model could not take, at its start: what comes last is what is answered."""
        prompt_format = self.checkpoint.format
        bare = len(self._encode([Turn(PERSON, "")], 0, alone=True)[1])
        ids = prompt_format.encode_text(text)
        room = self._limit() - bare
        if len(ids) <= room:
            return text
        self._tell(f"the turn has {len(ids)} tokens, the model takes {room}: only its end was read")
        return clean_text(prompt_format.tokenizer.decode(ids[len(ids) - room + 8 :]))

    def _prompt(self) -> tuple[Context, list[int]]:
        return fit_limit(lambda budget: self._encode(self.turns, budget), self.budget, self._limit())

    @property
    def budget(self) -> int:
        """Tokens for everything before the last turn."""
        recipe = self.recipe
        if recipe.chat.strategy == "full":
            return recipe.context.full_limit or self._limit()
        return recipe.context.budget

    def _encode(self, turns: list[Turn], budget: int, alone: bool = False) -> tuple[Context, list[int]]:
        """The context of the last turn, and its prompt; `alone`: with nothing before it."""
        recipe, prompt_format = self.recipe, self.checkpoint.format
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
        return [*self.memory.pinned, *self._picked(turns)]

    def _picked(self, turns: int) -> list[Sentence]:
        """Sentences of the turns after those that a gist written by hand stands for."""
        recipe = self.recipe
        by_hand = self.memory.gist.made_by == "hand" and self.memory.pinned
        first = self.edited_up_to if by_hand else 0
        later = self.turns[first : turns + 1]
        if turns <= first or len(later) < 2:
            return []
        count = token_counter(self.checkpoint.tokenizer)
        made = summarize_prefixes(later, recipe.summary.method, recipe.context.budget, count, recipe.summary.recency)
        return [dataclasses.replace(line, turn=line.turn + first) for line in made.of_prefix(turns - first)]


def new_summarizer(checkpoint: Checkpoint) -> Summarizer:
    """What makes the gists of a session with this checkpoint."""
    recipe = checkpoint.recipe
    return make_summarizer(recipe.summary, gist_budget(recipe.context), token_counter(checkpoint.tokenizer))


def new_memory(checkpoint: Checkpoint) -> RollingMemory:
    """The memory of a session with this checkpoint, in which nothing was said."""
    context = checkpoint.recipe.context
    window = Window.of_budget(context.budget, context.summary_share)
    return RollingMemory(window, turn_cost(checkpoint.format), checkpoint.recipe.summary.method)
