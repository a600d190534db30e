"""`POST /v1/devices`: a code and a proof of possession go in, a device comes out."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.body import JSON_TYPE, read_small
from server.api.parts import parts_of
from server.api.rate_guard import client_address
from server.application.commands.enrol_device import enrol
from server.application.commands.limit_tries import counted_try
from server.domain.devices import EnrolmentRefused
from server.domain.people import enrolment_subject
from server.domain.rates import ENROLMENT_DELAYS_SECONDS
from sync.protocol.codec import parse_json, read_as
from sync.protocol.messages import EnrolRequest

CREATED = 201

router = APIRouter()


@router.post("/v1/devices", status_code=CREATED)
async def post_device(request: Request) -> Response:
    """Enrol the device that holds the key in the request; too many wrong codes are `rate_limited` for a while."""
    parts = parts_of(request)
    body = await read_small(request, JSON_TYPE, parts.body_limits)
    wanted = read_as(EnrolRequest, parse_json(body), "the request")
    async with counted_try(
        parts.tries,
        parts.system,
        subject=enrolment_subject(client_address(request.scope)),
        delays_seconds=ENROLMENT_DELAYS_SECONDS,
        failure=EnrolmentRefused,
    ):
        answer = await enrol(
            wanted,
            enrolments=parts.enrolments,
            appliers=parts.appliers,
            towns=parts.towns,
            signer=parts.signer,
            system=parts.system,
        )
    return Response(answer.model_dump_json(), status_code=CREATED, media_type=JSON_TYPE)
