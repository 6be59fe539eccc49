"""ChatSession: turns -> context -> reply. The one chat logic, under the terminal and whatever else talks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from gistchat.chat.conversation import Conversation, sentences_of
from gistchat.chat.model import ChatModel
from gistchat.chat.remembered import FORGOTTEN, read_turns, readable_state
from gistchat.chat.speakers import BOT, PERSON
from gistchat.context.types import whole_number
from gistchat.dialogue.text_repair import clean_text
from gistchat.dialogue.turns import Turn
from gistchat.engines.engine import ConversationCache, Engine, stream_reply
from gistchat.engines.sampling import Sampling
from gistchat.errors import UserError

__all__ = ["FORGOTTEN", "ChatSession", "SavedFile", "read_turns", "sentences_of"]

WHO_ANSWERS = ("chat.url=", "chat.model=", "chat.engine=")  # settings that are for one model


class SavedFile(NamedTuple):
    """A file that holds the conversation: its absolute path, and the SHA-256 of its bytes when that was so."""

    path: Path
    digest: str


class ChatSession(Conversation):
    """A conversation with a model, which answers in it.

    Attributes:
        model: weights, engine and summarizer, which sessions may share.
        cache: what the engine keeps of the conversation between replies, and what it tells of the latest one.
        saved: the file that the conversation was saved to or loaded from, which may be written over.
        clock: gives the date that a turn is said at, as people write it; empty unless somebody sets it.
        draws: replies drawn so far: one that is drawn again comes out differently.
        seconds: that the latest reply's parts took: "context", "reply", and "memory" once it was remembered.
    """

    def __init__(self, model: ChatModel, seed: int | None = None, group: bool = False) -> None:
        """`group`: whether more than two speak, each by name."""
        self._model, self.seed, self.draws = model, seed, 0
        self.cache = ConversationCache()
        self.seconds: dict[str, float] = {}
        self.clock: Callable[[], str] = str
        super().__init__(model.engine, model.memories, model.recipe, group)

    def _start(self, group: bool, answerer: str = BOT) -> None:
        super()._start(group, answerer)
        self.saved: SavedFile | None = None

    @classmethod
    def open(
        cls, folder: Path | str | None = None, overrides: Sequence[str] = (), seed: int | None = None
    ) -> "ChatSession":
        """A session with the checkpoint of a run; without one, with the adapter that comes with gistchat.

        For several sessions with one model, load it once: `ChatSession(ChatModel.open(folder))`.

        Args:
            overrides: `field=value` of the checkpoint's recipe.
        Raises:
            UserError: there is no checkpoint, or no such summarizer.
        """
        return cls(ChatModel.open(folder, overrides), seed)

    @property
    def model(self) -> ChatModel:
        return self._model

    @model.setter
    def model(self, model: ChatModel) -> None:
        self._model, self.meter, self.memories = model, model.engine, model.memories

    @property
    def engine(self) -> Engine:
        return self.model.engine

    # ---- replies

    def say(self, text: str) -> str:
        """The model's answer, whole."""
        answer = "".join(self.reply(text))
        self.remember()
        return answer

    def reply(self, text: str, sampling: Sampling | None = None) -> Iterator[str]:
        """Yield the model's answer to `text` piece by piece.

        The turn and whatever was said of the answer are kept, also when the caller stops early, or cancels (`cache`).

        Args:
            sampling: for this answer; its seed is taken as it is. Else as the recipe wants it, and another draw each
                time.
        """
        if not (text := clean_text(text)):
            raise UserError("nothing in that turn that can be read")
        self.notice = ""
        if self.memory.turns < len(self.turns):
            self.remember()  # it was not called after the last reply
        yield from self._answer(Turn(PERSON, text, self.clock()), sampling)

    def regenerate(self, sampling: Sampling | None = None) -> Iterator[str]:
        """Yield another answer to the last turn, in place of the one before; `sampling` as for `reply`.

        Raises UserError: nothing was said yet.
        """
        turns = list(self.turns)
        try:
            asked = self.take_back()
            self.notice = ""
            yield from self._answer(asked, sampling)
        finally:
            if len(self.turns) < len(turns):  # no answer came: the one before stays
                self.turns = turns

    def _answer(self, asked: Turn, sampling: Sampling | None) -> Iterator[str]:
        self.reply_tokens, self.seconds = sampling.max_tokens if sampling else None, {}
        with self._timed("context"):
            text = self._shorten(asked.text)
        self.turns.append(asked._replace(text=text))
        pieces: list[str] = []
        try:
            with self._timed("context"):
                context = self._next_context()
            self.draws += 1
            if sampling is None:
                usual = self.sampling()
                # A seed of its own for every reply: repeatable, yet not the same draw each time.
                sampling = replace(usual, seed=usual.seed_of(self.draws))
            self.cache.begin(0)
            with self._timed("reply"):
                for piece in stream_reply(self.engine, context, sampling, self.cache):
                    pieces.append(piece)
                    yield piece
        finally:
            if answer := clean_text("".join(pieces)):
                self.turns.append(Turn(self.answerer, answer, asked.date))
            else:
                self.turns.pop()  # without an answer the turn is taken back, so that speakers keep alternating
                self._tell("no answer came; try again or say it differently")
            self.reply_tokens = None

    def remember(self) -> None:
        with self._timed("memory"):
            super().remember()

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + perf_counter() - start

    def sampling(self) -> Sampling:
        """How the recipe wants replies to be drawn, with the session's seed."""
        chat = self.recipe.chat
        return Sampling(
            max_tokens=chat.max_reply_tokens,
            temperature=chat.temperature,
            top_p=chat.top_p,
            seed=self.seed,
            top_k=chat.top_k,
            repetition_penalty=chat.repetition_penalty,
            no_repeat_ngram=chat.no_repeat_ngram,
            stop=tuple(chat.stop),
            n_best=chat.n_best,
        )

    def switch_model(self, folder: Path | str) -> None:
        """Go on with another run or GGUF file, which hears the whole conversation; what was pinned stays.

        Raises UserError where there is none; the session then is as it was.
        """
        own = [setting for setting in self.model.overrides if not setting.startswith(WHO_ANSWERS)]
        model = ChatModel.open(folder, [*own, f"chat.strategy={self.recipe.chat.strategy}"])
        other = ChatSession(model, self.seed, self.group)
        other.memory.keep_by_hand(self.memory.pinned, self.memory.dropped)
        other.hear(self.turns)
        self.model, self.recipe, self.memory, self.cache = other.model, other.recipe, other.memory, other.cache
        self.index = other.index
        self.context, self.edited_up_to = None, 0

    # ---- as plain values

    def state(self) -> dict[str, Any]:
        """All of `to_dict` but the turns; the work does not grow with the conversation."""
        state = super().state()
        return {name: state[name] for name in ("version", "strategy")} | {"draws": self.draws} | state

    @classmethod
    def from_dict(cls, model: ChatModel, values: dict[str, Any], seed: int | None = None) -> "ChatSession":
        """The session that `to_dict` wrote down. Of turns that were changed since, the gist goes and pins stay.

        A strategy that the model was opened with counts more than the one that was written down.

        Raises:
            UserError: of another version, or not such values.
        """
        session = cls(model, seed)
        session.restore(values, strategy=not any(name.startswith("chat.strategy=") for name in model.overrides))
        with readable_state():
            session.draws = whole_number(values, "draws")
        return session
