"""`/v1/towns/{town_id}/parties`, `/invoices` and `/credits`: who owes what for what, and what was paid beyond it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
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
from server.api.parts import parts_of, staff_door_of
from server.api.shop import CODE
from server.api.staff import InTown
from server.application.queries.listings import check_reader, page_of
from server.application.queries.overdue import is_overdue, only_overdue, today_in
from server.domain.tracking import tracking_code
from sync.kernel.ids import Id
from sync.kernel.module import Ref
from sync.kernel.money import Amount
from sync.modules.billing import ApplyCredit, CancelInvoice, IssueInvoice, RegisterParty

PARTY = "01970a6e-3c00-7a57-9d2e-5a1f6a3f6d17"
CREDIT = "3f1c7a52-9d2e-8a1f-8a3f-6d1301970a6f"
LINES = [{"text": "Hall, 3 hours", "amount": "45.00"}]

router = APIRouter(prefix="/v1/towns/{town_id}", tags=["invoices"])

_ROW = row_schema("invoices")
_INVOICE = {
    **_ROW,
    "required": [*_ROW["required"], "is_overdue"],
    "properties": {**_ROW["properties"], "is_overdue": {"type": "boolean"}},
}
_EXAMPLE = {**row_example("invoices"), "is_overdue": True}
_ONLY_OVERDUE = {"name": "is_overdue", "in": "query", "required": False, "schema": {"enum": ["true"]}}
_WHOLE = {
    **_INVOICE,
    "required": [*_INVOICE["required"], "allocations", "pay_code"],
    "properties": {
        **_INVOICE["properties"],
        "allocations": {"type": "array", "items": {"type": "object"}},
        "pay_code": {"type": ["string", "null"]},
    },
}


class PutCredit(BaseModel):
    """Credit that pays on an invoice: whose, and how much of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    credit: Annotated[Id, Ref(entity="credit")]
    amount: Amount


@router.post(
    "/parties",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Registered.", status=CREATED),
    openapi_extra=takes(RegisterParty, {"name": "Peel Rowing Club", "phone": "+44 1624 123456"}),
)
async def post_party(request: Request, staff: InTown) -> Response:
    """Somebody who may owe, or be owed; orders and students make their own."""
    said = await read_document(request)
    return await do(request, staff, understood(RegisterParty, said), said, made="parties")


@router.get(
    "/invoices",
    responses=gives(
        "A page, with an ETag.",
        {"items": [_EXAMPLE], "next_cursor": CURSOR},
        schema=page_schema(_INVOICE),
        problems=[400, 403],
    ),
    openapi_extra={"parameters": [*parameters_of("invoices"), _ONLY_OVERDUE]},
)
async def get_invoices(request: Request, staff: InTown) -> Response:
    """The invoices of the town that the filters leave, page by page, and which of them are overdue."""
    asked = asked_of(request)
    told = asked.pop("is_overdue", None)
    check_reader(staff, "invoices")
    async with staff_door_of(request).listings.reading(staff.seen, staff.town_id) as reader:
        today = await today_in(reader, staff.town_id, parts_of(request).system.now_ms())
        within = only_overdue(told, today) if told is not None else ()
        page = await page_of(staff, "invoices", reader, asked, within=within)
    items = [{**item, "is_overdue": is_overdue(item, today)} for item in page.items]
    return tagged(request, {"items": items, "next_cursor": page.next_cursor})


@router.get(
    "/invoices/{invoice_id}",
    responses=gives(
        "The invoice with what was paid on it, with an ETag.",
        {**_EXAMPLE, "allocations": [], "pay_code": CODE},
        schema=_WHOLE,
        problems=[403],
    ),
)
async def get_invoice(request: Request, staff: InTown, invoice_id: str) -> Response:
    """One invoice with its `allocations`: what was put on it of which payment, below zero for what went back.

    With its `pay_code` somebody pays it online, at `invoices/track/{code}`; an order is paid by its tracking code.
    """
    async with staff_door_of(request).listings.reading(staff.seen, staff.town_id) as reader:
        invoice: dict[str, Any] = await show_row(reader, staff, "invoices", invoice_id)
        invoice["is_overdue"] = is_overdue(
            invoice, await today_in(reader, staff.town_id, parts_of(request).system.now_ms())
        )
        invoice["pay_code"] = _pay_code(request, staff.town_id, invoice)
        invoice["allocations"] = await rows_about(reader, "allocation", "invoice_id", invoice["id"], "booked_at")
    return tagged(request, invoice)


@router.post(
    "/invoices",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Issued.", status=CREATED),
    openapi_extra=takes(
        IssueInvoice,
        {"party": PARTY, "title": "Hall hire", "lines": LINES, "currency": "GBP", "due_on": "2026-12-01"},
    ),
)
async def post_invoice(request: Request, staff: InTown) -> Response:
    """The party owes the sum of the lines. Orders, and fees of students, make their invoices themselves."""
    said = await read_document(request)
    return await do(request, staff, understood(IssueInvoice, said), said, made="invoices")


@router.post(
    "/invoices/{invoice_id}/cancel",
    dependencies=KEYED,
    responses=changes("Cancelled; what was paid is credit."),
    openapi_extra=takes(CancelInvoice, {"reason": "the hall was closed"}, given=["invoice"]),
)
async def post_cancellation(request: Request, staff: InTown, invoice_id: str) -> Response:
    """Nothing is owed for it after all; an order's invoice is cancelled with its order."""
    said, invoice = await read_document(request), path_id(invoice_id)
    cancel = understood(CancelInvoice, said, invoice=invoice)
    return await do(request, staff, cancel, said, about=("invoice", invoice))


@router.post(
    "/invoices/{invoice_id}/credit",
    dependencies=KEYED,
    responses=changes("Paid out of the credit."),
    openapi_extra=takes(PutCredit, {"credit": CREDIT, "amount": "4.50"}),
)
async def post_credit(request: Request, staff: InTown, invoice_id: str) -> Response:
    """Pay on the invoice out of credit that a party has."""
    said, invoice = await read_document(request), path_id(invoice_id)
    put = understood(PutCredit, said)
    apply = ApplyCredit(credit=put.credit, invoice=invoice, amount=put.amount)
    return await do(request, staff, apply, said, about=("invoice", invoice))


def _pay_code(request: Request, town_id: str, invoice: dict[str, Any]) -> str | None:
    shop = parts_of(request).shop
    if shop is None or invoice["source_entity"] == "order":
        return None
    return tracking_code(shop.tracking_secrets[0], town_id, invoice["id"])
