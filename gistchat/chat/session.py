"""ChatSession: turns -> context -> reply. The one chat logic, under the terminal and whatever else talks."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from gistchat.chat.model import ChatModel
from gistchat.chat.speakers import BOT, PERSON, as_chat
from gistchat.context.budget import fit_limit
from gistchat.context.strategies import STRATEGIES, Request, Strategy, build_context
from gistchat.context.types import ASSISTANT, USER, Context, Gist, Sentence, Sources, text_value, whole_number
from gistchat.dialogue.text_repair import clean_line, clean_text
from gistchat.dialogue.turns import Turn, is_group
from gistchat.engines.engine import ConversationCache, Engine, stream_reply
from gistchat.engines.sampling import Sampling
from gistchat.errors import UserError
from gistchat.memory.factory import divide, make_index
from gistchat.memory.rolling import gist_and_since, made_by
from gistchat.memory.summarizer import Update
from gistchat.memory.summarizers.extractive import METHODS, summarize
from gistchat.memory.turn_index import TurnIndex
from gistchat.recipe.load import override

VERSION = 1  # of what `to_dict` gives
WHO_ANSWERS = ("chat.url=", "chat.model=", "chat.engine=")  # settings that are for one model
FORGOTTEN = "…"  # what stands for a turn that was forgotten
SPEAKERS = {USER: PERSON, ASSISTANT: BOT, "": ""}  # of a context's roles


def sentences_of(context: Context) -> list[Sentence]:
    """The lines of its gist, with who said them."""
    return [Sentence(line.turn, line.name or SPEAKERS[line.role], line.text, line.sources) for line in context.lines]


class SavedFile(NamedTuple):
    """A file that holds the conversation: its absolute path, and the SHA-256 of its bytes when that was so."""

    path: Path
    digest: str


class Found(NamedTuple):
    """A turn that was searched for: its index, and the words that it shares with what was asked."""

    number: int
    turn: Turn
    words: list[str]


class ChatSession:
    """A conversation with a model.

    Attributes:
        model: weights, engine and summarizer, which sessions may share.
        recipe: the model's, with what was switched in this conversation.
        turns: all turns so far, by PERSON and BOT; in a group, the others by their names.
        group: whether more than two speak, each by name.
        answerer: as whom the model speaks, BOT but in a group that `context_of` was given.
        memory: what is kept of them word for word, and the gist of those before.
        index: finds turns among them.
        cache: what the engine keeps of the conversation between replies.
        edited_up_to: for how many turns a gist written by hand stands.
        context: what the model saw before its latest reply; None before the first.
        gist_by: what made the gist in it.
        gist_end: of how many turns that gist is.
        notice: what the user should know about the latest turn, such as that it was shortened.
        saved: the file that the conversation was saved to or loaded from, which may be written over.
        forgot: whether a turn was forgotten that whoever keeps the conversation may still have.
        clock: gives the date that a turn is said at, as people write it; empty unless somebody sets it.
        preamble: what the model is told first, in place of the recipe's; not of the budget.
        draws: replies drawn so far: one that is drawn again comes out differently.
    """

    def __init__(self, model: ChatModel, seed: int | None = None, group: bool = False) -> None:
        """`group`: whether more than two speak, each by name."""
        self.model, self.recipe, self.seed = model, model.recipe, seed
        self.cache, self.gist_by, self.gist_end, self.draws = ConversationCache(), "", 0, 0
        self.clock: Callable[[], str] = str
        self.preamble = ""
        self._asked_for: Sampling | None = None
        self._start(group)

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
    def engine(self) -> Engine:
        return self.model.engine

    @property
    def strategy(self) -> Strategy:
        return STRATEGIES[self.recipe.chat.strategy]

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
        self._asked_for = sampling
        self.turns.append(asked._replace(text=self._shorten(asked.text)))
        pieces: list[str] = []
        try:
            context = self._next_context()
            self.draws += 1
            if sampling is None:
                usual = self.sampling()
                # A seed of its own for every reply: repeatable, yet not the same draw each time.
                sampling = replace(usual, seed=usual.seed_of(self.draws))
            self.cache.begin(0)
            for piece in stream_reply(self.engine, context, sampling, self.cache):
                pieces.append(piece)
                yield piece
        finally:
            if answer := clean_text("".join(pieces)):
                self.turns.append(Turn(self.answerer, answer, asked.date))
            else:
                self.turns.pop()  # without an answer the turn is taken back, so that speakers keep alternating
                self._tell("no answer came; try again or say it differently")
            self._asked_for = None

    def context_of(self, turns: Sequence[Turn]) -> Context:
        """The context in which the last of these turns is answered; the session forgets its own conversation.

        Who is who: see `as_chat`.
        """
        self.reset()
        (*before, last), answerer = as_chat(turns)
        self._start(is_group(turns), answerer)
        self.hear(before)
        self.turns.append(last._replace(text=self._shorten(last.text)))
        return self._next_context()

    def _tell(self, notice: str) -> None:
        """Add to what the user should know, once."""
        if notice not in self.notice:
            self.notice = "; ".join(filter(None, [self.notice, notice]))

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

    # ---- what was said

    def hear(self, turns: Sequence[Turn]) -> None:
        """Add turns as if they had been said here, refreshing the memory on the way."""
        for turn in turns:
            self.turns.append(turn)
            if turn.speaker == self.answerer:
                self.remember()

    def take_back(self) -> Turn:
        """Undo the person's last turn and its answer; returns that turn. Raises UserError: nothing was said yet."""
        spoken = [i for i, turn in enumerate(self.turns) if turn.speaker == PERSON]
        if not spoken:
            raise UserError("nothing said yet")
        asked = self.turns[spoken[-1]]
        self.cut(spoken[-1])
        return asked

    def cut(self, length: int) -> None:
        """Take back all turns but the first so many."""
        del self.turns[length:]
        self._follow_changed_turns()

    def edit_turn(self, number: int, text: str) -> None:
        """Replace the text of a turn, numbered from 1. Raises UserError: no such turn, or an empty text."""
        self._turn(number)
        if not (text := clean_text(text)):
            raise UserError("an empty turn says nothing; /undo takes the last one back")
        self._replace_turn(number, text)

    def _turn(self, number: int) -> Turn:
        if not 1 <= number <= len(self.turns):
            raise UserError(f"no turn {number}; there are {len(self.turns)}")
        return self.turns[number - 1]

    def _replace_turn(self, number: int, text: str) -> None:
        self.index.forget(self.turns[number - 1])
        self.turns[number - 1] = self.turns[number - 1]._replace(text=text)
        if number <= len(self.index):
            self.index.put(number - 1, self.turns[number - 1])
        self._follow_changed_turns()

    def _follow_changed_turns(self) -> None:
        """Bring the memory in line with the turns: a gist that covers a changed one has to go."""
        self.index.cut(len(self.turns))
        if self.memory.rewind(self.turns, self.model.memories.summarizer if self._uses_memory else None):
            by_hand = ", without lines by hand, which stay as they are" if self.memory.pinned else ""
            self._tell(f"the gist covered what changed; it was made anew from an earlier one{by_hand}")
        self.remember()  # a changed turn may be longer; beside lines that were pinned since, an earlier gist too large
        self.edited_up_to = min(self.edited_up_to, len(self.turns))

    def forget(self, number: int) -> Turn:
        """Take the text of a turn, numbered from 1, out of the conversation; returns the turn as it was.

        Whatever was made of it goes: gists that cover it, lines that were pinned from it. The turn keeps its place and
        number. Raises UserError: no such turn.
        """
        turn = self._turn(number)
        self.memory.drop_source(number - 1)
        self._replace_turn(number, FORGOTTEN)
        self.forgot = True
        return turn

    def search(self, text: str) -> list[Found]:
        """Turns that match a text, best first, and the words that they share with it."""
        index = self._search([*self.turns, Turn(PERSON, text)])
        return [
            Found(match.turn, self.turns[match.turn], index.shared(text, match.turn))
            for match in index.find(text, len(self.turns), PERSON)
        ]

    @property
    def searches_meaning(self) -> bool:
        return bool(self.recipe.memory.encoder)

    def shared_words(self, turn: int) -> list[str]:
        """The words that a turn shares with the one that was answered last."""
        return self.index.shared(self.context.last.text, turn) if self.context else []

    def reset(self) -> None:
        """Forget everything that was said."""
        self._start(group=False)

    def _start(self, group: bool, answerer: str = BOT) -> None:
        """A new conversation, of a person and the model or of a group."""
        self.answerer, self.group = answerer, group
        self.turns: list[Turn] = []
        self.memory = self.model.memories.new_memory(group, self.strategy.searches, self.strategy.keeps_facts)
        self._use_room()  # of a budget that was switched
        self.index = make_index(self.recipe.memory)
        self.context: Context | None = None
        self._latest: tuple[int, list[Turn], Update] = (0, [], Update(()))
        self.saved: SavedFile | None = None
        self.notice, self.edited_up_to, self.forgot = "", 0, False

    # ---- the gist

    def edit_gist(self, text: str) -> None:
        """Replace the gist of the turns that it covers now. Raises UserError when the text is empty."""
        if not (text := clean_line(text)):
            raise UserError("an empty gist says nothing; /reset starts over")
        self._require_room([Sentence(-1, "", text)])
        self.memory.edit(text)
        self.edited_up_to = self.context.boundary if self.context else 0

    def pin(self, text: str) -> None:
        """Keep a line word for word in the gist, whatever is summarised later. Raises UserError when it is empty."""
        if not (text := clean_line(text)):
            raise UserError("nothing to pin; give a text, or the number of a line of /gist")
        self._pin(Sentence(-1, "", text))

    def gist_lines(self) -> list[Sentence]:
        """The lines of the gist that the model saw last, or will see where it saw none yet."""
        return self.next_gist_lines() if self.context is None else sentences_of(self.context)

    def next_gist_lines(self) -> list[Sentence]:
        """The lines that the model will see before its next reply, unless a long turn leaves them no room."""
        return sentences_of(self.next_context())

    def next_context(self) -> Context:
        """What the model will see before its next reply, unless a long turn leaves less room; the last turn is empty,
        so nothing is found for it."""
        return self.context_for([Turn(PERSON, "")])

    def context_for(self, turns: Sequence[Turn]) -> Context:
        """What the last of these turns would be answered from, said after those so far; nothing is kept of it."""
        return self._fit([*self.turns, *turns])

    def pin_line(self, number: int) -> str:
        """Pin a line of the gist; returns its text. Raises UserError: no such line, or no room.

        Numbered from 1: the lines that the model saw last, and after them those that are new since.
        """
        line = self._gist_line(number)
        self._pin(line)
        return line.text

    def drop_line(self, number: int) -> str:
        """Remove a line of the gist, numbered as for `pin_line`; returns its text. A fact that it states stays away.

        Raises UserError: no such line, or not one that the gist holds.
        """
        line = self._gist_line(number)
        if not self.memory.drop(line):
            raise UserError(
                f"line {number} is not of the gist that is kept: it left, or the strategy {self.strategy.name!r} picks "
                "lines anew for every reply"
            )
        self.remember()
        return line.text

    def _gist_line(self, number: int) -> Sentence:
        lines = list(dict.fromkeys([*self.gist_lines(), *self.next_gist_lines()]))
        if not 1 <= number <= len(lines):
            raise UserError(f"the gist has no line {number}; it has {len(lines)}")
        return lines[number - 1]

    def _pin(self, line: Sentence) -> None:
        self._require_room({*self.memory.pinned, line})
        self.memory.pin(line)
        self.remember()  # pinned lines leave less room for the others, and for turns

    def _require_room(self, lines: Collection[Sentence]) -> None:
        """Raises UserError where lines by hand take more than a gist may have: the model would not read them."""
        if (needed := self.memory.cost(lines)) > (room := self.memory.room.by_hand()):
            raise UserError(
                f"lines by hand may have {room} tokens in all, these have {needed}: shorten them, /unpin some, "
                "or raise --budget"
            )

    def unpin(self, number: int) -> str:
        """Unpin a line, numbered from 1; returns its text. Raises UserError: no such line."""
        if not 1 <= number <= len(self.memory.pinned):
            raise UserError(f"there is no pinned line {number}; there are {len(self.memory.pinned)}")
        return self.memory.unpin(number - 1).text

    def versions(self) -> list[Gist]:
        """The earlier gists that are kept, with what was pinned, latest first."""
        return [
            replace(version.gist, sentences=version.pinned + version.gist.sentences)
            for version in reversed(self.memory.versions)
        ]

    def back_to(self, number: int) -> None:
        """Go back to an earlier gist, numbered from 1, the latest. Raises UserError: no such gist.

        The turns after it are read word for word again.
        """
        if not 1 <= number <= len(self.memory.versions):
            raise UserError(f"there is no earlier gist {number}; {len(self.memory.versions)} are kept")
        self.memory.back_to(number, self.turns)

    # ---- settings

    def switch_strategy(self, name: str) -> None:
        """Go on with another context strategy. Raises UserError: there is no such one."""
        self.recipe = override(self.recipe, [f"chat.strategy={name}"])
        self._use_room()

    def switch_budget(self, tokens: int) -> None:
        """Go on with so many tokens for everything before the last turn. Raises UserError: no such budget."""
        self.recipe = override(self.recipe, [f"context.budget={tokens}"])
        self._use_room()

    def _use_room(self) -> None:
        strategy, heading = self.strategy, self.memory.room.heading
        room = divide(self.recipe.context, heading, strategy.searches, strategy.keeps_facts)
        self.memory.use_room(room, self.turns)

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

    def to_dict(self) -> dict[str, Any]:
        """The conversation as plain values: turns, gist, pins, earlier gists, strategy."""
        return {"turns": [turn.to_dict() for turn in self.turns], **self.state()}

    def state(self) -> dict[str, Any]:
        """All of `to_dict` but the turns; the work does not grow with the conversation."""
        return {
            "version": VERSION,
            "strategy": self.recipe.chat.strategy,
            "draws": self.draws,
            "edited_up_to": self.edited_up_to,
            **self.memory.to_dict(),
        }

    @classmethod
    def from_dict(cls, model: ChatModel, values: dict[str, Any], seed: int | None = None) -> "ChatSession":
        """The session that `to_dict` wrote down. Of turns that were changed since, the gist goes and pins stay.

        A strategy that the model was opened with counts more than the one that was written down.

        Raises:
            UserError: of another version, or not such values.
        """
        try:
            if values["version"] != VERSION:
                raise UserError(f"its memory is of version {values['version']}, this is {VERSION}")
            turns = read_turns(values["turns"])
            session = cls(model, seed, is_group(turns))
            session.turns = turns
            session.draws = whole_number(values, "draws")
            session.edited_up_to = min(whole_number(values, "edited_up_to"), len(turns))
            session.memory.restore(values)
            if not any(setting.startswith("chat.strategy=") for setting in model.overrides):
                session.switch_strategy(text_value(values, "strategy"))
        except KeyError as error:
            raise UserError(f"its memory cannot be read ({error} is missing)") from None
        except ValueError as error:
            raise UserError(f"its memory cannot be read ({error})") from None
        except (TypeError, AttributeError):
            raise UserError("its memory cannot be read") from None
        if session.memory.rewind(session.turns, model.memories.summarizer):
            session._tell("the gist covered turns that were changed since; it was made anew from an earlier one")
        session.remember()  # under another budget, gist and window may be too large
        return session

    # ---- what the model sees

    def remember(self) -> None:
        """Let turns that left the window go into the gist. To be called after a reply, so that no reply waits for it.

        Turn by turn, as a memory hears them in an evaluation. A summarizer that fails changes nothing: gist and turns
        stay, and the next call tries again.
        """
        for turn in (unheard := self.turns[self.memory.turns :]):
            self.memory.add(turn)
            self._refresh()
        if not unheard:
            self._refresh()

    def _refresh(self) -> None:
        if not self._uses_memory:
            return
        try:
            if problem := self.memory.refresh(self.model.memories.summarizer):
                self._tell(f"the summary was refused ({problem}); sentences were picked instead")
        except UserError as error:
            self._tell(f"no new summary, the last one stays: {error}")

    @property
    def _uses_memory(self) -> bool:
        """Whether the memory's gist is shown: `summary` and `hybrid` have sentences picked anew, or a summary written
        before each reply."""
        summary = self.recipe.summary
        written = summary.method not in METHODS and not summary.before_each_reply
        return self._rolls or (self.strategy.has_gist and written)

    @property
    def _rolls(self) -> bool:
        return self.strategy.rolls

    def _next_context(self) -> Context:
        """The context of the last turn, within the model's limit; notes what of the memory is in it."""
        context = self._fit(self.turns)
        self.gist_by = self.recipe.summary.method
        if self._uses_memory:
            self.gist_by = self.memory.gist.made_by
        elif self.recipe.summary.before_each_reply:
            self.gist_by = made_by(self.gist_by, self._latest[2])
        self.gist_end = min(self.memory.gist.end, context.boundary) if self._rolls else context.boundary
        self.context = context
        self._tell_what_was_not_read(context)
        return context

    def _fit(self, turns: Sequence[Turn]) -> Context:
        """The context in which the last of these turns is answered, within the model's limit."""
        build = partial(self._build, self.strategy.name, turns)
        return fit_limit(build, self.engine.count_tokens, self.budget, self._limit(), self.engine.costs.spent)

    def _build(self, strategy: str, turns: Sequence[Turn], budget: int) -> Context:
        config = self.recipe.context
        # The memory has not heard the last turn yet, so its gist is of the turns before.
        sources = Sources(
            summary=partial(self._summary, turns),
            rolling_gist=lambda _: self.memory.current(),
            search=self._search(turns),
        )
        request = Request(
            turns,
            self.answerer,
            budget,
            self.engine.costs,
            sources,
            config.summary_share,
            config.max_turns,
            self.group,
            config.found_share,
        )
        return replace(build_context(strategy, request), preamble=self.preamble)

    def _search(self, turns: Sequence[Turn]) -> TurnIndex:
        """The index of all turns but the last, which asks."""
        self.index.follow(turns, len(turns) - 1)
        return self.index

    def _tell_what_was_not_read(self, context: Context) -> None:
        shown = {line.text for line in context.lines}
        if unread := sum(line.text not in shown for line in self.memory.pinned):
            reason = "too long for what budget and last turn leave them; shorten them, /unpin some, or raise --budget"
            if not self.strategy.has_gist:
                reason = f"as the strategy {self.strategy.name!r} has no gist"
            self._tell(f"lines by hand that were not read: {unread}, {reason}")
        if self._uses_memory and context.boundary:
            if unread := sum(line.text not in shown for line in self.memory.gist.sentences):
                self._tell(f"lines of the gist that were not read: {unread}, as the last turn leaves them no room")
            elif self._rolls and not (self.memory.room.gist and context.lines):
                self._tell(f"turns not read: {context.boundary}, as {self._why_no_gist()}")
        if self._rolls and context.boundary > self.memory.gist.end:
            unread = context.boundary - self.memory.gist.end
            self._tell(f"turns not read, as they fit no more and have no summary yet: {unread}")

    def _why_no_gist(self) -> str:
        if self.memory.room.gist:
            return "the gist is empty"
        if not self.recipe.context.summary_share:
            return "context.summary_share is 0"
        return f"a budget of {self.budget} tokens holds no gist"

    def _limit(self) -> int:
        sampling = self._asked_for
        limit = self.engine.limit - (sampling.max_tokens if sampling else self.recipe.chat.max_reply_tokens)
        if limit < 32:
            raise UserError("chat.max_reply_tokens leaves no room for a prompt; lower it")
        return limit

    def _shorten(self, text: str) -> str:
        """Cut a turn that the model could not take, at its start: what comes last is what is answered."""
        [length] = self.engine.count([text])
        room = self._limit() - self.engine.count_tokens(self._build("last", [Turn(PERSON, "")], 0))
        if length <= room:
            return text
        self._tell(f"the turn has {length} tokens, the model takes {room}: only its end was read")
        return clean_text(self.engine.end_of(text, room))

    @property
    def budget(self) -> int:
        """Tokens for everything before the last turn."""
        config = self.recipe.context
        return config.budget if self.strategy.budgeted else config.full_limit or self._limit()

    def _summary(self, turns: Sequence[Turn], number: int) -> list[Sentence]:
        """The sentences that stand for the first so many turns, best first; those by hand come before all."""
        if self._uses_memory:
            return gist_and_since(self.memory.current(), turns[:number])
        pinned = list(self.memory.pinned)
        first = self.edited_up_to if self.memory.gist.made_by == "hand" and pinned else 0
        later = turns[first:number]  # than those that a gist written by hand stands for
        if self.recipe.summary.before_each_reply:
            return pinned + self._written(later, first)
        summary, budget = self.recipe.summary, self.recipe.context.budget
        return pinned + summarize(later, summary.method, budget, self.engine.count, summary.recency, first)

    def _written(self, turns: Sequence[Turn], first: int) -> list[Sentence]:
        """A summary that is written of these turns alone, counted from `first`; the latest one is kept."""
        if not turns:
            return []
        if self._latest[:2] != (first, list(turns)):
            self._latest = first, list(turns), self.model.memories.summary_of(turns, first, self.group)
            if problem := self._latest[2].fell_back:
                self._tell(f"no summary was written ({problem}); sentences were picked instead")
        return list(self._latest[2].sentences)


def read_turns(values: Sequence[dict[str, Any]]) -> list[Turn]:
    """Turns that `to_dict` wrote down. Raises KeyError, TypeError or ValueError where they are not that."""
    return [
        Turn(text_value(turn, "speaker"), text_value(turn, "text"), text_value({"date": "", **turn}, "date"))
        for turn in values
    ]
