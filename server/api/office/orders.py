"""`/v1/towns/{town_id}/orders`: one order with its story, and what the office does with orders."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import CREATED, read_document, tagged, takes, understood
from server.api.office.doing import KEYED, changes, do, path_id
from server.api.office.lists import row_docs, rows_about, show_row
from server.api.parts import staff_door_of
from server.api.staff import InTown
from server.application.queries.listed import OFFICE
from sync.modules.commerce import AmendOrder, CancelOrder, PlaceOrder
from sync.modules.commerce.entities import fulfilment_id

PRODUCT = "3f1c7a52-9d2e-8a1f-8a3f-6d1301970a6e"
LINES = [{"product": PRODUCT, "quantity": 3, "price": "2.50"}]

router = APIRouter(prefix="/v1/towns/{town_id}/orders", tags=["orders"])


@router.get("/{order_id}", **row_docs("orders"))
async def get_order(request: Request, staff: InTown, order_id: str) -> Response:
    """One order with its lines, its `events` and its `fulfilment`; the office sees `dispatches` and `payments` too."""
    async with staff_door_of(request).listings.reading(staff.seen, staff.town_id) as reader:
        order = await show_row(reader, staff, "orders", order_id)
        order["events"] = await rows_about(reader, "order_status_event", "order_id", order["id"], "received_at")
        fulfilment = await reader.row("fulfilment", fulfilment_id(order["id"]))
        order["fulfilment"] = {"id": fulfilment.id, **fulfilment.fields} if fulfilment else None
        if staff.roles & OFFICE:
            order["dispatches"] = await rows_about(reader, "dispatch", "order_id", order["id"], "attempt")
            order["payments"] = await rows_about(reader, "payment", "order_id", order["id"], "taken_at")
    return tagged(request, order)


@router.post(
    "",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Placed.", status=CREATED),
    openapi_extra=takes(
        PlaceOrder,
        {
            "number": "W-1001",
            "warehouse": "01970a6e-3c00-7a54-9d2e-5a1f6a3f6d14",
            "customer_name": "Grace Quayle",
            "phone": "+44 1624 123456",
            "address": "1 High Street, Douglas",
            "lines": LINES,
        },
    ),
)
async def post_order(request: Request, staff: InTown) -> Response:
    """Place an order; what is not available is `stock.insufficient`, with what is."""
    said = await read_document(request)
    return await do(request, staff, understood(PlaceOrder, said), said, made="orders")


@router.put(
    "/{order_id}/lines",
    dependencies=KEYED,
    responses=changes("Amended."),
    openapi_extra=takes(AmendOrder, {"lines": LINES}, given=["order"]),
)
async def put_lines(request: Request, staff: InTown, order_id: str) -> Response:
    """Other lines, as long as nothing has been picked."""
    said, order = await read_document(request), path_id(order_id)
    return await do(request, staff, understood(AmendOrder, said, order=order), said, about=("order", order))


@router.post(
    "/{order_id}/cancel",
    dependencies=KEYED,
    responses=changes("Cancelled, or called back from the van."),
    openapi_extra=takes(CancelOrder, {"reason": "the customer has changed her mind"}, given=["order"]),
)
async def post_cancellation(request: Request, staff: InTown, order_id: str) -> Response:
    """The order shall not be."""
    said, order = await read_document(request), path_id(order_id)
    return await do(request, staff, understood(CancelOrder, said, order=order), said, about=("order", order))
