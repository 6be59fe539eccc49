"""gistchat: dialogue models that answer from the gist of a conversation.

From Python: `gistchat.ChatSession.open("runs/demo").say("Hello")`.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["ChatSession", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "ChatSession":  # imported when it is asked for: --help must not wait for torch
        from gistchat.chat.session import ChatSession

        return ChatSession
    raise AttributeError(f"module 'gistchat' has no attribute {name!r}")
