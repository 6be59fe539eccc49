"""What was said in a conversation, and the memory of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from gistchat.chat.speakers import BOT, PERSON
from gistchat.context.strategies import STRATEGIES, Strategy
from gistchat.context.types import text_value, whole_number
from gistchat.dialogue.text_repair import clean_text
from gistchat.dialogue.turns import Turn, is_group
from gistchat.errors import UserError
from gistchat.memory.factory import MemoryFactory, divide, make_index
from gistchat.memory.summarizers.extractive import METHODS
from gistchat.memory.turn_index import TurnIndex
from gistchat.recipe.load import override
from gistchat.recipe.schema import Recipe

VERSION = 1  # of what `to_dict` gives
FORGOTTEN = "…"  # what stands for a turn that was forgotten


class Found(NamedTuple):
    """A turn that was searched for: its index, and the words that it shares with what was asked."""

    number: int
    turn: Turn
    words: list[str]


class RememberedTurns:
    """The turns of a conversation, with a memory and an index that follow whatever becomes of them.

    Attributes:
        memories: what makes memories; its summarizer is shared with others.
        recipe: how the conversation is remembered, with what was switched in it.
        turns: all turns so far, by PERSON and BOT; in a group, the others by their names.
        group: whether more than two speak, each by name.
        answerer: as whom the model speaks, BOT but in a group that somebody else had begun.
        memory: what is kept of them word for word, and the gist of those before.
        index: finds turns among them.
        edited_up_to: for how many turns a gist written by hand stands.
        notice: what the user should know about the latest turn, such as that it was shortened.
        forgot: whether a turn was forgotten that whoever keeps the conversation may still have.
    """

    def __init__(self, memories: MemoryFactory, recipe: Recipe, group: bool = False) -> None:
        """`group`: whether more than two speak, each by name."""
        self.memories, self.recipe = memories, recipe
        self._start(group)

    def reset(self) -> None:
        """Forget everything that was said."""
        self._start(group=False)

    def _start(self, group: bool, answerer: str = BOT) -> None:
        """A new conversation, of a person and the model or of a group."""
        self.answerer, self.group = answerer, group
        self.turns: list[Turn] = []
        self.memory = self.memories.new_memory(group, self.strategy.searches, self.strategy.keeps_facts)
        self._use_room()  # of a budget that was switched
        self.index = make_index(self.recipe.memory)
        self.notice, self.edited_up_to, self.forgot = "", 0, False

    @property
    def strategy(self) -> Strategy:
        return STRATEGIES[self.recipe.chat.strategy]

    def _tell(self, notice: str) -> None:
        """Add to what the user should know, once."""
        if notice not in self.notice:
            self.notice = "; ".join(filter(None, [self.notice, notice]))

    # ---- what was said

    def hear(self, turns: Sequence[Turn]) -> None:
        """Add turns as if they had been said here, refreshing the memory on the way."""
        for turn in turns:
            self.turns.append(turn)
            if turn.speaker == self.answerer:
                self.remember()

    def follow(self, turns: Sequence[Turn]) -> None:
        """Become the conversation of these turns: what it begins with alike stays with its memory, the rest is heard.

        The work grows with what is new, but for a comparison of the turns.
        """
        pairs = enumerate(zip(self.turns, turns, strict=False))
        same = next((number for number, (old, new) in pairs if old != new), min(len(self.turns), len(turns)))
        if same < len(self.turns):
            self.cut(same)
        self.hear(turns[same:])

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
        if self.memory.rewind(self.turns, self.memories.summarizer if self._uses_memory else None):
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

    def _search(self, turns: Sequence[Turn]) -> TurnIndex:
        """The index of all turns but the last, which asks."""
        self.index.follow(turns, len(turns) - 1)
        return self.index

    @property
    def searches_meaning(self) -> bool:
        return bool(self.recipe.memory.encoder)

    # ---- the memory of it

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
            if problem := self.memory.refresh(self.memories.summarizer):
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

    # ---- as plain values

    def to_dict(self) -> dict[str, Any]:
        """The conversation as plain values: turns, gist, pins, earlier gists, strategy."""
        return {"turns": [turn.to_dict() for turn in self.turns], **self.state()}

    def state(self) -> dict[str, Any]:
        """All of `to_dict` but the turns; the work does not grow with the conversation."""
        return {
            "version": VERSION,
            "strategy": self.recipe.chat.strategy,
            "edited_up_to": self.edited_up_to,
            **self.memory.to_dict(),
        }

    def restore(self, values: dict[str, Any], group: bool | None = None, strategy: bool = True) -> None:
        """Become the conversation that `to_dict` wrote down. Of turns that were changed since, the gist goes and pins
        stay.

        Args:
            group: whether more than two speak, each by name; None: as the turns tell.
            strategy: whether to go on with the strategy that was written down.

        Raises:
            UserError: of another version, or not such values.
        """
        with readable_state():
            if values["version"] != VERSION:
                raise UserError(f"its memory is of version {values['version']}, this is {VERSION}")
            turns = read_turns(values["turns"])
            self._start(is_group(turns) if group is None else group)
            self.turns = turns
            self.edited_up_to = min(whole_number(values, "edited_up_to"), len(turns))
            self.memory.restore(values)
            if strategy:
                self.switch_strategy(text_value(values, "strategy"))
        if self.memory.rewind(self.turns, self.memories.summarizer):
            self._tell("the gist covered turns that were changed since; it was made anew from an earlier one")
        self.remember()  # under another budget, gist and window may be too large


@contextmanager
def readable_state() -> Iterator[None]:
    """Raises UserError where what is read in it is not what `to_dict` gives."""
    try:
        yield
    except KeyError as error:
        raise UserError(f"its memory cannot be read ({error} is missing)") from None
    except ValueError as error:
        raise UserError(f"its memory cannot be read ({error})") from None
    except (TypeError, AttributeError):
        raise UserError("its memory cannot be read") from None


def read_turns(values: Sequence[dict[str, Any]]) -> list[Turn]:
    """Turns that `to_dict` wrote down. Raises KeyError, TypeError or ValueError where they are not that."""
    return [
        Turn(text_value(turn, "speaker"), text_value(turn, "text"), text_value({"date": "", **turn}, "date"))
        for turn in values
    ]
