"""`POST /v1/towns/{town}/devices/{device}/sealed`: what a revoked device hands in before it destroys itself.

No token: a revoked device gets none. The claim in the first line is signed by the device; the sealed bytes follow.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.body import JSON_TYPE, read_small
from server.api.office.doing import path_id
from server.api.parts import parts_of, sealed_uploads_of
from server.application.commands.take_sealed import take_sealed
from sync.kernel.errors import Malformed
from sync.modules import registry
from sync.protocol.bundle import SealedClaim
from sync.protocol.codec import parse_json, read_as
from sync.protocol.limits import SEALED_BYTES_MAX

SEALED_TYPE = "application/vnd.tallystick.sealed"

router = APIRouter()


@router.post("/v1/towns/{town_id}/devices/{device_id}/sealed")
async def post_sealed(request: Request, town_id: str, device_id: str) -> Response:
    """Keep the sealed lines, put them to review, and sign for them; the same again is signed for again."""
    parts = parts_of(request)
    town, device = path_id(town_id), path_id(device_id)
    body = await read_small(request, SEALED_TYPE, parts.body_limits, SEALED_BYTES_MAX)
    first, newline, box = body.partition(b"\n")
    if not newline:
        raise Malformed("the sealed lines have no claim before them")
    receipt = await take_sealed(
        town,
        device,
        read_as(SealedClaim, parse_json(first), "the claim"),
        box,
        uploads=sealed_uploads_of(request),
        towns=parts.towns,
        appliers=parts.appliers,
        signer=parts.signer,
        system=parts.system,
        rates=parts.rates,
        registry=registry(),
    )
    return Response(receipt.model_dump_json(), media_type=JSON_TYPE)
