"""The models of the server: GET /v1/models. It has one, under a name that tells nothing of the machine's folders."""

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from gistchat.chat.model import ChatModel
from gistchat.printable import printable
from gistchat.server.errors import ApiError, error_responses
from gistchat.server.shared import Shared, shared

router = APIRouter(prefix="/v1", tags=["openai"])
PACKAGED = "gistchat"  # the name of the adapter that comes with it


class Model(BaseModel):
    id: str
    object: str = "model"
    created: int
    owned_by: str = "gistchat"


class Models(BaseModel):
    object: str = "list"
    data: list[Model]


def model_id(model: ChatModel) -> str:
    """The name that requests call it by: of the run, of the GGUF file, or of a server's model."""
    if model.recipe.chat.url:
        return printable(model.recipe.chat.model or model.name)
    return (model.source.stem if model.source.is_file() else model.source.absolute().name) if model.source else PACKAGED


def require_model(server: Shared, name: str | None) -> ChatModel:
    """Who answers. Raises ApiError where a request asks for another one, or there is none."""
    if server.model is None:
        raise ApiError(404, "this server has no model of its own", "model", "model_not_found")
    if name is not None and name != model_id(server.model):
        known = model_id(server.model)
        raise ApiError(404, f"no model {name[:100]!r}; this server has {known!r}", "model", "model_not_found")
    return server.model


@router.get("/models")
async def models(request: Request) -> Models:
    server = shared(request)
    return Models(data=[_entry(server)] if server.model else [])


@router.get("/models/{id:path}", responses=error_responses(404))
async def model(request: Request, id: str = Path(description="as the list has it")) -> Model:
    require_model(shared(request), id)
    return _entry(shared(request))


def _entry(server: Shared) -> Model:
    return Model(id=model_id(server.model), created=server.begun)
