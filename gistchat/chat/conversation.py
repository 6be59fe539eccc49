"""A conversation and what a model sees of it, whoever that is: it needs something that counts tokens, no engine."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

from gistchat.chat.remembered import RememberedTurns
from gistchat.chat.speakers import BOT, PERSON, as_chat
from gistchat.context.budget import fit_limit
from gistchat.context.strategies import Request, build_context
from gistchat.context.types import ASSISTANT, USER, Context, Gist, Sentence, Sources
from gistchat.dialogue.text_repair import clean_line, clean_text
from gistchat.dialogue.turns import Turn, is_group
from gistchat.engines.engine import PromptMeter
from gistchat.errors import UserError
from gistchat.memory.factory import MemoryFactory
from gistchat.memory.rolling import gist_and_since, made_by
from gistchat.memory.summarizer import Update
from gistchat.memory.summarizers.extractive import summarize
from gistchat.recipe.schema import Recipe

SPEAKERS = {USER: PERSON, ASSISTANT: BOT, "": ""}  # of a context's roles


def sentences_of(context: Context) -> list[Sentence]:
    """The lines of its gist, with who said them."""
    return [Sentence(line.turn, line.name or SPEAKERS[line.role], line.text, line.sources) for line in context.lines]


class Conversation(RememberedTurns):
    """A conversation, its memory, and the contexts that a model answers in.

    Attributes:
        meter: what counts tokens, and says how many the model takes.
        reply_tokens: to leave for a reply; None: as many as the recipe says.
        preamble: what the model is told first, in place of the recipe's; not of the budget.
        context: what the model saw before its latest reply; None before the first.
        gist_by: what made the gist in it.
        gist_end: of how many turns that gist is.
    """

    def __init__(self, meter: PromptMeter, memories: MemoryFactory, recipe: Recipe, group: bool = False) -> None:
        """`group`: whether more than two speak, each by name."""
        self.meter, self.gist_by, self.gist_end = meter, "", 0
        self.reply_tokens: int | None = None
        self.preamble = ""
        super().__init__(memories, recipe, group)

    def _start(self, group: bool, answerer: str = BOT) -> None:
        super()._start(group, answerer)
        self.context: Context | None = None
        self._latest: tuple[int, list[Turn], Update] = (0, [], Update(()))

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

    # ---- what the model sees

    def ask(self, turn: Turn) -> Context:
        """Add a turn that is to be answered, shortened where the model could not take it; returns what the model sees.

        The answer is the caller's to add; `remember` comes after it.

        Raises:
            UserError: no context could be made, as where `reply_tokens` leave no room; the turn is then not added.
        """
        self.turns.append(turn._replace(text=self._shorten(turn.text)))
        try:
            return self._next_context()
        except BaseException:
            self.turns.pop()
            raise

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

    def shared_words(self, turn: int) -> list[str]:
        """The words that a turn shares with the one that was answered last."""
        return self.index.shared(self.context.last.text, turn) if self.context else []

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
        return fit_limit(build, self.meter.count_tokens, self.budget, self._limit(), self.meter.costs.spent)

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
            self.meter.costs,
            sources,
            config.summary_share,
            config.max_turns,
            self.group,
            config.found_share,
        )
        return replace(build_context(strategy, request), preamble=self.preamble)

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
        reply = self.recipe.chat.max_reply_tokens if self.reply_tokens is None else self.reply_tokens
        limit = self.meter.limit - reply
        if limit < 32:
            raise UserError("chat.max_reply_tokens leaves no room for a prompt; lower it")
        return limit

    def _shorten(self, text: str) -> str:
        """Cut a turn that the model could not take, at its start: what comes last is what is answered."""
        [length] = self.meter.count([text])
        room = self._limit() - self.meter.count_tokens(self._build("last", [Turn(PERSON, "")], 0))
        if length <= room:
            return text
        self._tell(f"the turn has {length} tokens, the model takes {room}: only its end was read")
        return clean_text(self.meter.end_of(text, room))

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
        return pinned + summarize(later, summary.method, budget, self.meter.count, summary.recency, first)

    def _written(self, turns: Sequence[Turn], first: int) -> list[Sentence]:
        """A summary that is written of these turns alone, counted from `first`; the latest one is kept."""
        if not turns:
            return []
        if self._latest[:2] != (first, list(turns)):
            self._latest = first, list(turns), self.memories.summary_of(turns, first, self.group)
            if problem := self._latest[2].fell_back:
                self._tell(f"no summary was written ({problem}); sentences were picked instead")
        return list(self._latest[2].sentences)
