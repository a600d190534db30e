"""`GET /v1/keys`: every key that this installation has signed with, for devices that follow from one they trust."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.body import JSON_TYPE
from server.api.parts import parts_of
from sync.protocol.messages import KeysAnswer

router = APIRouter()


@router.get("/v1/keys")
async def get_keys(request: Request) -> Response:
    """Oldest first, each endorsed by the one before it; public keys, for whoever asks."""
    answer = KeysAnswer(keys=list(parts_of(request).signer.published))
    return Response(answer.model_dump_json(), media_type=JSON_TYPE)
