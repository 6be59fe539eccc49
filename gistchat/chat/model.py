"""What the sessions with one checkpoint share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gistchat import trusted_hosts
from gistchat.engines.engine import Engine
from gistchat.engines.open import open_engine
from gistchat.memory.factory import MemoryFactory
from gistchat.models.checkpoint import PACKAGED, Checkpoint, load_checkpoint
from gistchat.prompts.format import PromptFormat
from gistchat.recipe.load import override


@dataclass(frozen=True)
class ChatModel:
    """Weights, engine and summarizer: loaded once, used by many sessions.

    Attributes:
        overrides: `field=value` of the checkpoint's recipe, as they were asked for.
        folder: that the checkpoint was asked for by; None for the packaged adapter.
    """

    checkpoint: Checkpoint
    engine: Engine
    memories: MemoryFactory
    overrides: tuple[str, ...] = ()
    folder: Path | None = None

    @classmethod
    def open(cls, folder: Path | str | None = None, overrides: Sequence[str] = ()) -> "ChatModel":
        """The checkpoint of a run; without one, the adapter that comes with gistchat.

        Raises:
            UserError: there is no checkpoint, or no such engine or summarizer.
        """
        trusted_hosts.trust_those_in(overrides)
        folder = Path(folder) if folder else None
        checkpoint = load_checkpoint(folder or PACKAGED)
        checkpoint = replace(checkpoint, recipe=override(checkpoint.recipe, overrides))
        memories = MemoryFactory.of(checkpoint.recipe.summary, checkpoint.recipe.context, checkpoint.format)
        return cls(checkpoint, open_engine(checkpoint), memories, tuple(overrides), folder)

    @property
    def format(self) -> PromptFormat:
        return self.checkpoint.format
