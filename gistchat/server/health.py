"""How the server is: GET /health, for load balancers and people; GET /metrics, for Prometheus."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from gistchat import __version__
from gistchat.server.shared import shared

router = APIRouter(tags=["server"])


class Health(BaseModel):
    status: str
    version: str


@router.get("/health", responses={503: {"model": Health, "description": "stopping: send it no more work"}})
async def health(request: Request, response: Response) -> Health:
    """Whether it takes work."""
    stopping = shared(request).stopping
    response.status_code = 503 if stopping else 200
    return Health(status="stopping" if stopping else "ok", version=__version__)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counts and times, in Prometheus's text format."""
    server = shared(request)
    numbers = server.metrics
    numbers.running.set(server.generation.running)
    numbers.waiting.set(server.generation.waiting)
    numbers.conversations.set(len(server.live) if server.live else 0)
    return Response(generate_latest(numbers.registry), media_type=CONTENT_TYPE_LATEST)
