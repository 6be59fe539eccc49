"""What the sessions with one model share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gistchat.engines.engine import Engine
from gistchat.engines.open import open_answerer
from gistchat.memory.factory import MemoryFactory
from gistchat.recipe.schema import Recipe


@dataclass(frozen=True)
class ChatModel:
    """Recipe, engine and summarizer: loaded once, used by many sessions.

    Attributes:
        identity: equal for the same weights.
        name: of who answers, for people.
        overrides: `field=value` of the recipe, as they were asked for.
        source: the run, or GGUF file, that was asked for; None for the packaged adapter, or a server alone.
    """

    recipe: Recipe
    engine: Engine
    memories: MemoryFactory
    identity: Any = None
    overrides: tuple[str, ...] = ()
    source: Path | None = None
    name: str = ""

    @classmethod
    def open(cls, source: Path | str | None = None, overrides: Sequence[str] = (), slots: int = 1) -> "ChatModel":
        """A run's checkpoint or a GGUF file; without one, the server of chat.url, or the packaged adapter.

        Args:
            slots: replies that may be asked for at once, by as many threads.

        Raises:
            UserError: there is no such model, or no such engine or summarizer.
        """
        source = Path(source) if source else None
        opened = open_answerer(source, tuple(overrides), slots)
        recipe, engine = opened.recipe, opened.engine
        memories = MemoryFactory.of(recipe.summary, recipe.context, engine.costs)
        return cls(recipe, engine, memories, opened.identity, tuple(overrides), source, opened.name)
