"""From a recipe's chat.engine to an engine."""

from gistchat.engines.engine import Engine
from gistchat.engines.torch_engine import TorchEngine
from gistchat.models.checkpoint import Checkpoint


def open_engine(checkpoint: Checkpoint) -> Engine:
    """What computes a checkpoint's replies, by its recipe's chat.engine."""
    if checkpoint.recipe.chat.engine == "torch":
        return TorchEngine(checkpoint.model, checkpoint.format)
    from gistchat.engines.ctranslate2_engine import open_ctranslate2_engine

    return open_ctranslate2_engine(checkpoint, checkpoint.recipe.chat.engine)
