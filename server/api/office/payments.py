"""`/v1/towns/{town_id}/payments` and `/refunds`: what was paid, what became of it, and what is given back by whom."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import CREATED, gives, read_document, tagged, takes, understood
from server.api.office.doing import KEYED, changes, do, path_id
from server.api.office.lists import (
    CURSOR,
    asked_of,
    page_schema,
    parameters_of,
    row_example,
    row_schema,
    rows_about,
    show_row,
)
from server.api.parts import staff_door_of
from server.api.staff import InTown
from server.application.commands.act import Staff
from server.application.people_ports import Row
from server.application.queries.listings import page_of, shown
from sync.modules.billing import ApproveRefund, PayRefund, RejectRefund, RequestRefund, TakePayment, VoidPayment

INVOICE = "01970a6e-3c00-7a58-9d2e-5a1f6a3f6d18"
PAYMENT = "01970a6e-3c00-7a59-9d2e-5a1f6a3f6d19"

router = APIRouter(prefix="/v1/towns/{town_id}", tags=["payments"])

_SETTLEMENT = row_schema("settlements")
_PAID = row_schema("payments")
_ROWS = {"type": "array", "items": {"type": "object"}}
_LISTED = {
    **_PAID,
    "required": [*_PAID["required"], "settlement"],
    "properties": {**_PAID["properties"], "settlement": {"oneOf": [_SETTLEMENT, {"type": "null"}]}},
}
_STORY = ("events", "allocations", "refunds")
_WHOLE = {
    **_LISTED,
    "required": [*_LISTED["required"], *_STORY],
    "properties": {**_LISTED["properties"], **dict.fromkeys(_STORY, _ROWS)},
}
_EXAMPLE = {**row_example("payments"), "settlement": row_example("settlements")}


@router.get(
    "/payments",
    responses=gives(
        "A page, with an ETag.",
        {"items": [_EXAMPLE], "next_cursor": CURSOR},
        schema=page_schema(_LISTED),
        problems=[400, 403],
    ),
    openapi_extra={"parameters": parameters_of("payments")},
)
async def get_payments(request: Request, staff: InTown) -> Response:
    """The payments of the town that the filters leave, each with its `settlement`: what has become of it."""
    asked = asked_of(request)
    async with staff_door_of(request).listings.reading(staff.seen, staff.town_id) as reader:
        page = await page_of(staff, "payments", reader, asked)
        settled = await reader.rows("settlement", [item["id"] for item in page.items])
    items = [{**item, "settlement": _settled(staff, settled.get(item["id"]))} for item in page.items]
    return tagged(request, {"items": items, "next_cursor": page.next_cursor})


@router.get(
    "/payments/{payment_id}",
    responses=gives(
        "The payment and what became of it, with an ETag.",
        {**_EXAMPLE, **{name: [] for name in _STORY}},
        schema=_WHOLE,
        problems=[403],
    ),
)
async def get_payment(request: Request, staff: InTown, payment_id: str) -> Response:
    """One payment with its `settlement`, every step that led there, where its money went, and its refunds."""
    async with staff_door_of(request).listings.reading(staff.seen, staff.town_id) as reader:
        payment: dict[str, Any] = await show_row(reader, staff, "payments", payment_id)
        payment["settlement"] = _settled(staff, await reader.row("settlement", payment["id"]))
        payment["events"] = await rows_about(reader, "payment_event", "payment_id", payment["id"], "received_at")
        payment["allocations"] = await rows_about(reader, "allocation", "payment_id", payment["id"], "booked_at")
        payment["refunds"] = await rows_about(reader, "refund", "payment_id", payment["id"], "requested_at")
    return tagged(request, payment)


@router.post(
    "/payments",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Taken; cash lies in the drawer of whoever took it.", status=CREATED),
    openapi_extra=takes(TakePayment, {"invoice": INVOICE, "amount": "45.00", "currency": "GBP", "method": "cash"}),
)
async def post_payment(request: Request, staff: InTown) -> Response:
    """Money was taken in the office, for an order or for an invoice: it is kept, whatever has become of those."""
    said = await read_document(request)
    return await do(request, staff, understood(TakePayment, said), said, made="payments")


@router.post(
    "/payments/{payment_id}/void",
    dependencies=KEYED,
    responses=changes("Voided: it never was a payment."),
    openapi_extra=takes(VoidPayment, {"reason": "the wrong invoice"}, given=["payment"]),
)
async def post_void(request: Request, staff: InTown, payment_id: str) -> Response:
    """The cash was given back at once, out of one's own open drawer; later on it takes a refund."""
    said, payment = await read_document(request), path_id(payment_id)
    void = understood(VoidPayment, said, payment=payment)
    return await do(request, staff, void, said, about=("payment", payment))


@router.post(
    "/refunds",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Asked for; up to the town's limit it is agreed at once.", status=CREATED),
    openapi_extra=takes(
        RequestRefund,
        {"payment": PAYMENT, "amount": "12.50", "currency": "GBP", "method": "cash", "reason": "the hall was cold"},
    ),
)
async def post_refund(request: Request, staff: InTown) -> Response:
    """Some of a payment shall be given back; by mobile money or card a worker does it once it is agreed."""
    said = await read_document(request)
    return await do(request, staff, understood(RequestRefund, said), said, made="refunds")


@router.post("/refunds/{refund_id}/approve", dependencies=KEYED, responses=changes("Agreed."))
async def post_approval(request: Request, staff: InTown, refund_id: str) -> Response:
    """Somebody else than the one who asked agrees; there is no body."""
    refund = path_id(refund_id)
    return await do(request, staff, ApproveRefund(refund=refund), {}, about=("refund", refund))


@router.post(
    "/refunds/{refund_id}/reject",
    dependencies=KEYED,
    responses=changes("Refused."),
    openapi_extra=takes(RejectRefund, {"reason": "the hall was warm"}, given=["refund"]),
)
async def post_rejection(request: Request, staff: InTown, refund_id: str) -> Response:
    """It shall not be given back; what was asked for can be asked for again."""
    said, refund = await read_document(request), path_id(refund_id)
    reject = understood(RejectRefund, said, refund=refund)
    return await do(request, staff, reject, said, about=("refund", refund))


@router.post(
    "/refunds/{refund_id}/pay",
    dependencies=KEYED,
    responses=changes("Given back."),
    openapi_extra=takes(
        PayRefund,
        {"payment": PAYMENT, "amount": "12.50", "currency": "GBP", "method": "cash"},
        given=["refund"],
    ),
)
async def post_refund_paid(request: Request, staff: InTown, refund_id: str) -> Response:
    """The money was given back, out of a drawer or an account: a fact, kept also when it was more than agreed."""
    said, refund = await read_document(request), path_id(refund_id)
    paid = understood(PayRefund, said, refund=refund)
    return await do(request, staff, paid, said, about=("refund", refund))


def _settled(staff: Staff, row: Row | None) -> dict[str, Any] | None:
    return shown(staff, "settlements", row) if row else None
