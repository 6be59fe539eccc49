"""The app: routes behind a guard. `run.py` serves it."""

from fastapi import FastAPI

from gistchat import __version__
from gistchat.chat.model import ChatModel
from gistchat.server import completions, errors, health, models
from gistchat.server.security import Guard
from gistchat.server.settings import ServeSettings
from gistchat.server.shared import Shared
from gistchat.store.conversation_store import ConversationStore

ROUTERS = (health.router, models.router, completions.router)


def create_app(settings: ServeSettings, model: ChatModel | None, store: ConversationStore) -> FastAPI:
    """The server's app. Its `state.shared` is what its requests share.

    Args:
        model: who answers; None where a backend does.
        store: the conversations.
    """
    app = FastAPI(
        title="gistchat",
        version=__version__,
        docs_url=None,  # these pages would load scripts of other hosts
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.shared = Shared(settings, model, store)
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Guard, shared=app.state.shared)
    return app
