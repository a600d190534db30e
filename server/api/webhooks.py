"""`/v1/webhooks/…`: where providers call by themselves; of mobile money by POST or PUT, of cards signed.

For mobile money the code in the path is the payment's own and cannot be guessed; that is all a caller shows. Cards have
one address, and a signature over the raw body. What comes is kept raw before it is answered, and is a hint: a worker
asks the provider, and of the body nothing is believed but which payment it is about.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Header
from starlette.requests import Request
from starlette.responses import Response

from server.api.body import BodyLimits, read_raw
from server.api.documents import gives
from server.api.office.doing import path_id
from server.api.parts import callback_door_of, parts_of
from server.application.callback_ports import Callback
from server.application.ports import TownUnknown, Unavailable
from server.domain.payments import CARD_WEBHOOK_PATH
from server.domain.tracking import tracked_order
from server.domain.webhooks import SIGNATURE_HEADER, WebhookForeign, check_signature
from sync.kernel.clock import format_time
from sync.kernel.errors import Malformed
from sync.kernel.ids import derived_id, parse_id
from sync.protocol.codec import parse_json

CALLBACK_BYTES_MAX: Final = 16 * 1024
CALLBACK_SECONDS_MAX: Final = 1.5
"""A provider waits two seconds; one that is told to come again may do so, and polling goes on in any case."""

CONTENT_TYPE_CHARACTERS_MAX: Final = 100
EVENT_CHARACTERS_MAX: Final = 200

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


@router.post(
    CARD_WEBHOOK_PATH,
    response_class=Response,
    responses=gives(
        "It is kept, and the provider will be asked.", None, problems=[400, 401, 408, 413], usual=[404, 503]
    ),
)
async def post_card(
    request: Request,
    _signature: Annotated[
        str | None,
        Header(alias=SIGNATURE_HEADER, description="`t=` seconds since 1970, and `v1=` HMAC-SHA-256 of `t.body`."),
    ] = None,
) -> Response:
    """The provider of cards says that something has become of a payment; signed, and kept as it came."""
    door = callback_door_of(request)
    try:
        async with asyncio.timeout(CALLBACK_SECONDS_MAX):
            body = await read_raw(request, BodyLimits(), CALLBACK_BYTES_MAX)
            now_seconds = parts_of(request).system.now_ms() // 1000
            check_signature(_signature_of(request), body, door.card_secrets, now_seconds)
            return await _keep_card(request, body)
    except TimeoutError:
        raise Unavailable("the callback could not be kept in time") from None


def _signature_of(request: Request) -> str:
    headers = request.headers.getlist(SIGNATURE_HEADER)
    return headers[0] if len(headers) == 1 else ""


async def _keep_card(request: Request, body: bytes) -> Response:
    """Under the provider's own number: the same again is the same, and another body under it is kept beside it."""
    event, town_id, payment_id = _about(body)
    parts, door = parts_of(request), callback_door_of(request)
    try:
        async with parts.towns.reading(town_id):
            pass
    except TownUnknown:
        raise WebhookForeign from None
    callback = Callback(
        id=derived_id("card event", event),
        town_id=town_id,
        kind="card.callback",
        data={"payment": payment_id, "event": event},
        received_at=format_time(parts.system.now_ms()),
        method=request.method,
        content_type=request.headers.get("content-type", "")[:CONTENT_TYPE_CHARACTERS_MAX],
        body=body,
    )
    if not await door.inbox.keep(callback):
        altered = derived_id("altered card event", event, hashlib.sha256(body).hexdigest())
        await door.inbox.keep(replace(callback, id=altered, kind="card.altered"))
        _log.warning("callback_altered", town_id=town_id, payment_id=payment_id, remedy="ask the provider")
    _log.info("callback_kept", town_id=town_id, payment_id=payment_id)
    await door.bell.ring(town_id)
    return Response(status_code=200)


def _about(body: bytes) -> tuple[str, str, str]:
    """The event's number, and town and payment as we gave them to the provider. Raises `Malformed`, `WebhookForeign`.

    What is signed and about nothing of ours is another system's at the same account.
    """
    said = parse_json(body, CALLBACK_BYTES_MAX)
    event, data = said.get("id"), said.get("data")
    if not isinstance(event, str) or not 0 < len(event) <= EVENT_CHARACTERS_MAX:
        raise Malformed("an event has an id")
    metadata = data.get("metadata") if isinstance(data, dict) else None
    named = metadata if isinstance(metadata, dict) else {}
    try:
        return event, parse_id(str(named.get("town"))), parse_id(str(named.get("payment")))
    except Malformed:
        raise WebhookForeign from None


async def _keep(request: Request, town_id: str, code: str) -> Response:
    parts, door = parts_of(request), callback_door_of(request)
    payment_id = tracked_order(door.secrets, town_id, code)
    try:
        async with asyncio.timeout(CALLBACK_SECONDS_MAX):
            body = await read_raw(request, BodyLimits(), CALLBACK_BYTES_MAX)
            callback = Callback(
                id=derived_id("callback", payment_id, hashlib.sha256(body).hexdigest()),
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
