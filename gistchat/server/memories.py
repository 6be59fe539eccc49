"""The memories of conversations with a backend, kept open between requests: only new messages are heard."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gistchat.chat.model import ChatModel
from gistchat.chat.session import ChatSession
from gistchat.context.types import Context
from gistchat.dialogue.turns import Turn, is_group
from gistchat.errors import UserError
from gistchat.memory.factory import MemoryFactory
from gistchat.recipe.load import override
from gistchat.recipe.schema import Recipe
from gistchat.server.remembered import EstimatingEngine, Said
from gistchat.store.conversation_store import ConversationStore

BUDGET = 2048  # tokens, unless the operator says otherwise
STRATEGY = "memory"


def memory_model(overrides: Sequence[str] = ()) -> ChatModel:
    """What memories in front of a backend share: no model, as a backend answers.

    Args:
        overrides: `section.field=value` of a recipe.

    Raises:
        UserError: one that cannot be, or a summarizer that cannot be had.
    """
    recipe = override(Recipe(), [f"context.budget={BUDGET}", f"chat.strategy={STRATEGY}", *overrides])
    engine = EstimatingEngine()
    return ChatModel(recipe, engine, MemoryFactory.of(recipe.summary, recipe.context, engine.costs))


@dataclass(frozen=True)
class Recalled:
    """What a memory gave for one request.

    Attributes:
        turns: all before those that are answered.
        reasons: of each line of the gist, and of each that was found: its part, and why it is there.
    """

    context: Context
    turns: tuple[Turn, ...]
    reasons: tuple[tuple[str, str], ...]


class Memory:
    """The memory of one conversation, and what it has heard.

    Attributes:
        keys: of the messages that it has heard.
    """

    def __init__(self, model: ChatModel) -> None:
        self.model, self.session = model, ChatSession(model)
        self.keys: list[str] = []

    @classmethod
    def restored(cls, model: ChatModel, turns: Sequence[Turn], keys: Sequence[str], state: dict[str, Any]) -> "Memory":
        """As `state` was written down after these turns. Raises UserError where it cannot be read."""
        memory = cls(model)
        values = {**state, "turns": [turn.to_dict() for turn in turns]}
        memory.session = ChatSession.from_dict(model, values)
        memory.keys = list(keys)
        return memory

    def follow(self, path: Sequence[Said]) -> None:
        """Hear these messages; those that it has heard and are not among them are taken back."""
        keys = [said.key for said in path]
        same = min(len(self.keys), len(keys))
        if self.keys[:same] != keys[:same]:
            same = next(number for number in range(same) if self.keys[number] != keys[number])
        new = [said.turn for said in path[same:]]
        group = is_group([*self.session.turns[:same], *new])
        if group != self.session.group:
            self._begin_anew(same, group)
        elif same < len(self.keys):
            self.session.cut(same)
        del self.keys[same:]
        self.hear(new, keys[same:])

    def hear(self, turns: Sequence[Turn], keys: Sequence[str]) -> None:
        """Hear turns that are new."""
        self.session.hear(turns)
        self.keys += keys

    def _begin_anew(self, turns: int, group: bool) -> None:
        """With the first so many turns, and what was done by hand."""
        before, self.session = self.session, ChatSession(self.model, group=group)
        self.session.memory.keep_by_hand(before.memory.pinned, before.memory.dropped)
        self.session.hear(before.turns[:turns])

    def recall(self, asked: Sequence[Said]) -> "Recalled":
        """What the person's last messages are answered from; all before them was heard."""
        session, asked_turns = self.session, [said.turn for said in asked]
        context = session.context_for(asked_turns)
        pinned = {line.text for line in session.memory.pinned}
        facts = {line.text for line in session.memory.shown_facts()}
        made_by = session.memory.gist.made_by
        reasons = []
        for line in context.lines:
            if line.text in pinned:
                reasons.append(("pinned", "pinned by hand"))
            elif line.text in facts:
                reasons.append(("fact", "a standing fact"))
            else:
                reasons.append(("gist", f"of the gist, by {made_by}"))
        text = "\n".join(turn.text for turn in asked_turns)
        for line in context.found:
            words = session.index.shared(text, line.turn)
            reasons.append(("found", f"shares: {', '.join(words)}" if words else "stands near what was asked for"))
        return Recalled(context, tuple(session.turns), tuple(reasons))

    @property
    def is_by_hand(self) -> bool:
        """Whether somebody pinned lines, or wrote the gist."""
        memory = self.session.memory
        return bool(memory.pinned) or memory.gist.made_by == "hand"


@dataclass
class _Place:
    lock: threading.Lock = field(default_factory=threading.Lock)
    memory: Memory | None = None


class Memories:
    """The memories of the latest conversations. For threads, of which each has a memory for itself."""

    def __init__(self, model: ChatModel, store: ConversationStore, most: int) -> None:
        self.model, self.store, self.most = model, store, most
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, id: str, heard: Sequence[Said], asked: Sequence[Said], kept: int) -> Recalled | None:
        """What the last of the person's messages are answered from; None where all before them fits the budget.

        Args:
            id: of the conversation; empty for one that is not in the store yet.
            heard: what was said before.
            kept: how many of these messages the store has.
        """
        place = self._place(id) if id else _Place()
        with place.lock:
            memory = place.memory = place.memory or self._opened(id, heard[:kept])
            tokens = heard[-1].tokens if heard else 0
            if tokens <= self.model.recipe.context.budget and not memory.is_by_hand:
                return None
            memory.follow(heard)
            return memory.recall(asked)

    def hear(self, id: str, path: Sequence[Said]) -> None:
        """Hear what was said and keep the memory of it, before somebody asks for it."""
        place = self._place(id)
        with place.lock:
            memory = place.memory = place.memory or self._opened(id, path)
            memory.follow(path)
            if path and path[-1].tokens > self.model.recipe.context.budget:
                self.store.keep_state(id, path[-1].key, memory.session.state())

    def drop(self, id: str) -> None:
        """Let go of a memory that was changed elsewhere; it is read from the store again."""
        with self._lock:
            self._places.pop(id, None)

    def _place(self, id: str) -> _Place:
        with self._lock:
            place = self._places.setdefault(id, _Place())
            self._places.move_to_end(id)
            while len(self._places) > self.most:
                self._places.popitem(last=False)
            return place

    def _opened(self, id: str, known: Sequence[Said]) -> Memory:
        """As the store has it: what was forgotten there is not heard again from a caller who still has it."""
        if not known:
            return Memory(self.model)
        # Where a line is left for another one, what was pinned in it still holds.
        for key in dict.fromkeys((known[-1].key, self.store.info(id).head)):
            if state := self.store.state(id, key):
                try:
                    return Memory.restored(self.model, *self._kept(id, key), state)
                except UserError:
                    continue  # of another version: it is made anew
        memory = Memory(self.model)
        memory.hear(*self._kept(id, known[-1].key))
        return memory

    def _kept(self, id: str, key: str) -> tuple[list[Turn], list[str]]:
        """The turns up to a message, and their keys."""
        messages = self.store.path(id, key)
        turns = [Turn(message.speaker, message.text, message.date) for message in messages]
        return turns, [message.key for message in messages]
