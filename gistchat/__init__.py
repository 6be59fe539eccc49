"""gistchat: dialogue models that answer from the gist of a conversation.

From Python: `gistchat.ChatSession.open("runs/demo").say("Hello")`. What is listed here is what other programs use.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["ChatModel", "ChatSession", "Recipe", "__version__", "load_recipe", "open_run", "run", "run_evaluate"]
# By public name, its module, imported when it is asked for: --help must not wait for torch. The function is
# `run_evaluate`, as `gistchat.evaluate` is the package of evaluation.
_MODULES = {
    "ChatModel": "gistchat.chat.model",
    "ChatSession": "gistchat.chat.session",
    "Recipe": "gistchat.recipe.schema",
    "load_recipe": "gistchat.recipe.load",
    "open_run": "gistchat.pipeline",
    "run": "gistchat.pipeline",
    "run_evaluate": "gistchat.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'gistchat' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
