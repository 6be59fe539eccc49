"""What the requests of a server share."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from gistchat.chat.model import ChatModel
from gistchat.server.settings import ServeSettings


@dataclass
class Shared:
    """Made once for an app.

    Attributes:
        model: who answers; None where only the backend does.
        store: the conversations.
    """

    settings: ServeSettings
    model: ChatModel | None
    store: Any


def shared(request: Request) -> Shared:
    """Of the app that a request came to."""
    return request.app.state.shared
