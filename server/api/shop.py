"""The doors for customers, who need no account: `/v1/towns`, and below a town its catalogue, the till, and tracking.

Nobody is known here, so nothing personal is ever answered: whoever has an order's tracking code sees goods, sums and
steps. A town that does not sell is `not_found`, as one that is not there.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends, Header
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import CREATED, document, gives, read_document, tagged, takes, understood
from server.api.office.doing import path_id
from server.api.office.lists import CURSOR, asked_of
from server.api.parts import parts_of, shop_door_of
from server.api.rate_guard import counted_customer
from server.application.commands.cancel_order import call_off
from server.application.commands.check_out import Checkout, check_out
from server.application.commands.pay_order import CardNotOffered
from server.application.queries.paging import PAGE_ROWS, PAGE_ROWS_MAX
from server.application.queries.shop import CATALOGUE_ORDERS, catalogue_page, towns_page, tracked
from server.domain.requests import InvalidIdempotencyKey, KeyedRequest, keyed_request
from server.domain.tracking import tracked_order, tracking_code
from sync.kernel.errors import Malformed
from sync.kernel.ids import derived_id

router = APIRouter(prefix="/v1/towns", tags=["shop"])

TOWN = {"id": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11", "name": "Douglas", "currency": "GBP"}
OFFER = {
    "product": "3f1c7a52-9d2e-8a1f-8a3f-6d1301970a6e",
    "sku": "85123A",
    "name": "White hanging heart",
    "unit": "piece",
    "price": "2.50",
    "currency": "GBP",
    "available": 42,
}
ORDER = {
    "number": "W-4F7K2-M9QRX",
    "status": "DELIVERED",
    "placed_at": "2026-11-21T08:15:02.114Z",
    "delivered_at": "2026-11-21T13:40:02.007Z",
    "lines": [
        {
            "product": "3f1c7a52-9d2e-8a1f-8a3f-6d1301970a6e",
            "sku": "85123A",
            "name": "White hanging heart",
            "quantity": 3,
            "missing": 0,
            "price": "2.50",
        }
    ],
    "total": "7.50",
    "currency": "GBP",
    "payment": {"method": "momo", "state": "pending", "due": "7.50", "paid": "0.00"},
    "steps": [
        {"status": "PLACED", "at": "2026-11-21T08:15:02.114Z"},
        {"status": "OUT_FOR_DELIVERY", "at": "2026-11-21T13:02:40.900Z"},
        {"status": "DELIVERED", "at": "2026-11-21T13:40:02.007Z"},
    ],
}
CODE = "AZcKbjwAelqcHwsfaj9tEbq4wY0m8t7bEf0nVIvJ4xs"
_LIMIT = ("limit", {"type": "integer", "minimum": 1, "maximum": PAGE_ROWS_MAX, "default": PAGE_ROWS})
_ORDERS = [text for name in CATALOGUE_ORDERS for text in (name, f"-{name}")]


class IdempotencyKeyNeeded(Malformed):
    """An order needs an Idempotency-Key: without one a second try would be a second order."""

    code: ClassVar[str] = "idempotency_key_needed"


def documented(
    _key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Needed. Chosen by the client for this one order: sent again, it is answered, not done again.",
        ),
    ] = None,
) -> None:
    """Only says in OpenAPI that there is the header, which `post_checkout` reads."""


def _query(*parameters: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in (*parameters, _LIMIT, ("cursor", {"type": "string"}))
        ]
    }


def _page_of(item: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**more, "items": [item], "next_cursor": CURSOR}


@router.get(
    "",
    responses=gives("A page, with an ETag.", _page_of(TOWN), problems=[400], usual=[503], nullable=["next_cursor"]),
    openapi_extra=_query(),
)
async def get_towns(request: Request) -> Response:
    """The towns that sell to customers, by name."""
    found = await towns_page(shop_door_of(request).shop, asked_of(request))
    return tagged(request, found, is_public=True)


@router.get(
    "/{town_id}/catalogue",
    responses=gives(
        "A page, with an ETag.",
        _page_of(OFFER, town=TOWN),
        problems=[400],
        usual=[404, 503],
        nullable=["next_cursor"],
    ),
    openapi_extra=_query(
        ("q", {"type": "string", "description": "A part of the name or of the stock-keeping unit."}),
        ("sku", {"type": "string"}),
        ("available", {"enum": ["true", "false"]}),
        ("order", {"enum": _ORDERS, "default": "name"}),
    ),
)
async def get_catalogue(request: Request, town_id: str) -> Response:
    """What the town sells, what it costs, and the most that can be ordered of it now."""
    async with shop_door_of(request).shop.reading(path_id(town_id)) as reader:
        found = await catalogue_page(reader, asked_of(request))
    return tagged(request, found, is_public=True)


@router.post(
    "/{town_id}/checkout",
    status_code=CREATED,
    dependencies=[Depends(documented)],
    responses=gives(
        "Ordered and reserved. Mobile money is `pending` until it has arrived.",
        {"tracking_code": CODE, "order": ORDER},
        status=CREATED,
        problems=[400, 409, 413, 415, 422, 504],
        usual=[404, 503],
    ),
    openapi_extra=takes(
        Checkout,
        {
            "customer_name": "Grace Quayle",
            "phone": "+44 1624 123456",
            "address": "1 High Street, Douglas",
            "lines": [{"product": "3f1c7a52-9d2e-8a1f-8a3f-6d1301970a6e", "quantity": 3}],
            "payment_method": "momo",
        },
    ),
)
async def post_checkout(request: Request, town_id: str) -> Response:
    """Order at the town's prices. What is not there is `stock.insufficient`, with what is there of each line."""
    town, door, parts = path_id(town_id), shop_door_of(request), parts_of(request)
    await counted_customer(request, parts, town)
    said = await read_document(request)
    checkout = understood(Checkout, said)
    if checkout.payment_method == "card" and door.card is None:
        raise CardNotOffered
    order_id = await check_out(
        town,
        checkout,
        keyed(request, checkout.phone, said),
        shop=door.shop,
        listings=door.listings,
        appliers=parts.appliers,
    )
    async with door.listings.reading((town,), town) as reader:
        order = await tracked(reader, order_id)
    code = tracking_code(door.tracking_secrets[0], town, order_id)
    where = f"/v1/towns/{town}/orders/track/{code}"
    return document({"tracking_code": code, "order": order}, status=CREATED, location=where)


@router.get(
    "/{town_id}/orders/track/{code}",
    responses=gives("How far the order has come, with an ETag.", ORDER, usual=[404, 503]),
)
async def get_tracked_order(request: Request, town_id: str, code: str) -> Response:
    """One order, for whoever has its tracking code."""
    door, town = shop_door_of(request), path_id(town_id)
    order_id = tracked_order(door.tracking_secrets, town, code)
    async with door.listings.reading((town,), town) as reader:
        return tagged(request, await tracked(reader, order_id))


@router.post(
    "/{town_id}/orders/track/{code}/cancel",
    responses=gives("The order is cancelled, or was already.", ORDER, problems=[409, 504], usual=[404, 503]),
)
async def post_tracked_cancellation(request: Request, town_id: str, code: str) -> Response:
    """Call off one's own order, before picking has begun. Asked again, it is answered again; there is no body."""
    door, town, parts = shop_door_of(request), path_id(town_id), parts_of(request)
    await counted_customer(request, parts, town)
    order_id = tracked_order(door.tracking_secrets, town, code)
    await call_off(town, order_id, listings=door.listings, appliers=parts.appliers)
    async with door.listings.reading((town,), town) as reader:
        return document(await tracked(reader, order_id))


def keyed(request: Request, phone: str, said: dict[str, Any]) -> KeyedRequest:
    """The key is the customer's, who is known here by the telephone alone: two customers never share one."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        raise IdempotencyKeyNeeded
    if len(keys) > 1:
        raise InvalidIdempotencyKey
    customer = derived_id("customer", phone)
    return keyed_request(customer, keys[0], request.method, request.url.path, said)
