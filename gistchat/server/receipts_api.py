"""Receipts: what was sent for a reply."""

from typing import Any

from fastapi import APIRouter, Request

from gistchat.server.conversation_access import ReceiptId, namespace
from gistchat.server.conversation_schemas import Receipt
from gistchat.server.errors import error_responses
from gistchat.server.shared import shared

router = APIRouter(prefix="/receipts", tags=["receipts"], responses=error_responses(404))


@router.get("/{id}", response_model=Receipt)
def receipt(request: Request, id: ReceiptId) -> dict[str, Any]:
    """What was sent for a reply, line by line, with sources, tokens, and why; and the seconds that each part took."""
    return shared(request).store.receipt(id, namespace(request))
