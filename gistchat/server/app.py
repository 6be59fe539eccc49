"""The app: routes behind a guard. `run.py` serves it."""

from typing import Any

from fastapi import FastAPI

from gistchat import __version__
from gistchat.chat.model import ChatModel
from gistchat.server import completions, conversations_api, errors, health, models, page
from gistchat.server.proxy import proxy_router
from gistchat.server.security import Guard
from gistchat.server.settings import ServeSettings
from gistchat.server.shared import Shared
from gistchat.store.conversation_store import ConversationStore

ANSWERING = (models.router, completions.router)  # where no backend does
ROUTERS = (conversations_api.router, page.router)
ANYWHERE = (400, 401, 403, 408, 413, 500, 503)  # what the guard, a reader of bodies or the store may answer


def create_app(settings: ServeSettings, model: ChatModel | None, store: ConversationStore) -> FastAPI:
    """The server's app. Its `state.shared` is what its requests share.

    Args:
        model: who answers; None where a backend does.
        store: the conversations.
    """
    app = DescribedApp(
        title="gistchat",
        version=__version__,
        docs_url=None,  # these pages would load scripts of other hosts
        redoc_url=None,
        redirect_slashes=False,
        responses=errors.error_responses(*ANYWHERE),
    )
    app.state.shared = Shared(settings, model, store)
    errors.install(app)
    proxy = app.state.shared.proxy
    for router in (health.router, *([proxy_router(proxy)] if proxy else ANSWERING), *ROUTERS):
        app.include_router(router)
    app.add_middleware(Guard, shared=app.state.shared)
    return app


class DescribedApp(FastAPI):
    """Describes what it answers: FastAPI's own error (422) is never seen, as wrong requests are 400 here."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            schema = super().openapi()
            for operations in schema["paths"].values():
                for operation in operations.values():
                    if "HTTPValidationError" in str(operation["responses"].get("422")):
                        del operation["responses"]["422"]
            for name in ("HTTPValidationError", "ValidationError"):
                schema["components"]["schemas"].pop(name, None)
            schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"key": []}, {}]
        return self.openapi_schema
