"""`/v1/webhooks/momo/{town}/{code}`: where a provider of mobile money calls by itself, by POST or PUT.

The code in the path is the payment's own and cannot be guessed; that is all a caller shows. What it sends is kept raw
before it is answered, and is a hint: a worker asks the provider, and nothing in the body is believed.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.body import BodyLimits, read_raw
from server.api.documents import gives
from server.api.office.doing import path_id
from server.api.parts import callback_door_of, parts_of
from server.application.callback_ports import Callback
from server.application.ports import Unavailable
from server.domain.tracking import tracked_order
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id

CALLBACK_BYTES_MAX: Final = 16 * 1024
CALLBACK_SECONDS_MAX: Final = 1.5
"""A provider waits two seconds; one that is told to come again may do so, and polling goes on in any case."""

CONTENT_TYPE_CHARACTERS_MAX: Final = 100

router = APIRouter(tags=["webhooks"])

_log = structlog.stdlib.get_logger(__name__)


@router.post(
    "/v1/webhooks/momo/{town_id}/{code}",
    response_class=Response,
    responses=gives("It is kept, and the provider will be asked.", None, problems=[400, 408, 413], usual=[404, 503]),
)
async def post_momo(request: Request, town_id: str, code: str) -> Response:
    """A provider says that something has become of a payment. Any body is taken, by POST or PUT, as a hint."""
    return await _keep(request, path_id(town_id), code)


router.add_api_route("/v1/webhooks/momo/{town_id}/{code}", post_momo, methods=["PUT"], include_in_schema=False)


async def _keep(request: Request, town_id: str, code: str) -> Response:
    parts, door = parts_of(request), callback_door_of(request)
    payment_id = tracked_order(door.secrets, town_id, code)
    try:
        async with asyncio.timeout(CALLBACK_SECONDS_MAX):
            body = await read_raw(request, BodyLimits(), CALLBACK_BYTES_MAX)
            callback = Callback(
                id=derived_id("callback", payment_id, body.hex()),
                town_id=town_id,
                kind="momo.callback",
                data={"payment": payment_id},
                received_at=format_time(parts.system.now_ms()),
                method=request.method,
                content_type=request.headers.get("content-type", "")[:CONTENT_TYPE_CHARACTERS_MAX],
                body=body,
            )
            await door.inbox.keep(callback)
    except TimeoutError:
        raise Unavailable("the callback could not be kept in time") from None
    _log.info("callback_kept", town_id=town_id, payment_id=payment_id)
    await door.bell.ring(town_id)
    return Response(status_code=200)
