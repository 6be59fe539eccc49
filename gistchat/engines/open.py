"""From a recipe's chat.engine to an engine."""

from gistchat.engines.engine import Engine
from gistchat.engines.torch_engine import TorchEngine
from gistchat.models.checkpoint import Checkpoint


def open_engine(checkpoint: Checkpoint) -> Engine:
    """What computes a checkpoint's replies, by its recipe's chat.engine."""
    return TorchEngine(checkpoint.model, checkpoint.format)
