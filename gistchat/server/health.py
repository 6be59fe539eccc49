"""Whether the server is there and can work: GET /health, for load balancers and people."""

from fastapi import APIRouter
from pydantic import BaseModel

from gistchat import __version__

router = APIRouter()


class Health(BaseModel):
    status: str
    version: str


@router.get("/health", tags=["server"])
async def health() -> Health:
    return Health(status="ok", version=__version__)
