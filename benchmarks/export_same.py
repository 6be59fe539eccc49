"""How many greedy replies of an exported file equal torch's: the packaged adapter, merged, as 16-bit GGUF."""

import tempfile
from pathlib import Path

from figures import Measurement

from gistchat.engines.self_test import compare_with_torch
from gistchat.models.checkpoint_folder import PACKAGED
from gistchat.models.export import export_gguf


def equal_replies() -> float:
    with tempfile.TemporaryDirectory() as folder:
        done = export_gguf(PACKAGED, Path(folder) / "out.gguf", "f16")
        return compare_with_torch(done.checkpoint, done.path).equal


FIGURE = Measurement(
    name="export_same",
    unit="replies of 20",
    explanation="greedy replies of the packaged adapter, merged and exported as f16, in llama.cpp that equal torch's, "
    "token by token; the bound is a floor",
    take=equal_replies,
    bound=20,
)
