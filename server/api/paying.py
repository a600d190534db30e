"""The doors for paying online: an order by its tracking code, an invoice by a code of its own, which the office gives.

Nobody is known here: whoever has a code sees what is to be paid, and no name.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import document, gives, read_document, tagged, takes, understood
from server.api.office.doing import path_id
from server.api.parts import parts_of, shop_door_of
from server.api.rate_guard import counted_customer
from server.api.shop import documented, keyed
from server.application.commands.pay_order import OnlineTill, Paying, Target, pay_online, payments_of
from server.domain.access import NotFound
from server.domain.tracking import tracked_order
from sync.kernel.changeset import Fields
from sync.kernel.money import to_amount

router = APIRouter(prefix="/v1/towns", tags=["shop"])

PAYMENT = {
    "payment": "01970a6e-3c00-7a53-8c1f-0b1f6a3f6d15",
    "state": "pending",
    "amount": "7.50",
    "currency": "GBP",
    "reason": "",
}
INVOICE = {
    "lines": [{"text": "Tuition", "amount": "45.00"}],
    "currency": "GBP",
    "total": "45.00",
    "remaining": "25.00",
    "due_on": "2026-12-15",
    "state": "PARTIALLY_PAID",
    "issued_at": "2026-11-21T08:15:02.114Z",
}
ACCEPTED = 202
_PROPERTIES = {name: {"type": "string"} for name in (*PAYMENT, "page")}
_PAYMENT = {"type": "object", "required": list(PAYMENT), "properties": _PROPERTIES}
_ASKED = gives(
    "The telephone is asked, or there is a `page` for the card; nothing is paid before its holder has agreed.",
    {**PAYMENT, "page": "https://pay.example/pay_01970a6e"},
    schema=_PAYMENT,
    status=ACCEPTED,
    problems=[400, 409, 413, 415, 422, 504],
    usual=[404, 503],
)
_PAYMENTS = gives("Payments, oldest first, with an ETag.", {"items": [PAYMENT]}, usual=[404, 503])


@router.post(
    "/{town_id}/orders/track/{code}/payments",
    status_code=ACCEPTED,
    dependencies=[Depends(documented)],
    responses=_ASKED,
    openapi_extra=takes(Paying, {"method": "momo", "payer": "46733123999"}),
)
async def post_payment(request: Request, town_id: str, code: str) -> Response:
    """Pay what is due for an order: by mobile money its payer is asked on the telephone, by card there is a page."""
    return await _pay(request, town_id, code, "orders")


@router.get("/{town_id}/orders/track/{code}/payments", responses=_PAYMENTS)
async def get_payments(request: Request, town_id: str, code: str) -> Response:
    """What was paid and asked for of one order, and what became of it."""
    return await _list(request, town_id, code, "orders")


@router.get(
    "/{town_id}/invoices/track/{code}",
    responses=gives("What it is for and what remains, with an ETag.", INVOICE, usual=[404, 503], nullable=["due_on"]),
)
async def get_invoice(request: Request, town_id: str, code: str) -> Response:
    """One invoice, for whoever has its code; nobody is named."""
    town, (_, invoice_id) = path_id(town_id), _opened(request, town_id, code, "invoices")
    async with shop_door_of(request).listings.reading((town,), town) as reader:
        row = await reader.row("invoice", invoice_id)
    if row is None:
        raise NotFound
    return tagged(request, _shown(row.fields))


@router.post(
    "/{town_id}/invoices/track/{code}/payments",
    status_code=ACCEPTED,
    dependencies=[Depends(documented)],
    responses=_ASKED,
    openapi_extra=takes(Paying, {"method": "card"}),
)
async def post_invoice_payment(request: Request, town_id: str, code: str) -> Response:
    """Pay what remains of an invoice: by mobile money its payer is asked on the telephone, by card there is a page."""
    return await _pay(request, town_id, code, "invoices")


@router.get("/{town_id}/invoices/track/{code}/payments", responses=_PAYMENTS)
async def get_invoice_payments(request: Request, town_id: str, code: str) -> Response:
    """What was paid and asked for of one invoice, and what became of it."""
    return await _list(request, town_id, code, "invoices")


async def _pay(request: Request, town_id: str, code: str, what: str) -> Response:
    town, door, parts = path_id(town_id), shop_door_of(request), parts_of(request)
    await counted_customer(request, parts, town)
    target = _opened(request, town, code, what)
    said = await read_document(request)
    paying = understood(Paying, said)
    till = OnlineTill(
        listings=door.listings, appliers=parts.appliers, card=door.card, return_url=door.return_url or parts.public_url
    )
    payment = await pay_online(town, target, paying, keyed(request, paying.payer or target[1], said), till)
    return document(payment, status=ACCEPTED, location=f"/v1/towns/{town}/{what}/track/{code}/payments")


async def _list(request: Request, town_id: str, code: str, what: str) -> Response:
    town, target = path_id(town_id), _opened(request, town_id, code, what)
    async with shop_door_of(request).listings.reading((town,), town) as reader:
        return tagged(request, {"items": await payments_of(reader, target)})


def _opened(request: Request, town_id: str, code: str, what: str) -> Target:
    """What the code opens; raises `NotFound` for any other text."""
    row_id = tracked_order(shop_door_of(request).tracking_secrets, path_id(town_id), code)
    return ("order" if what == "orders" else "invoice"), row_id


def _shown(invoice: Fields) -> dict[str, Any]:
    currency = invoice["currency"]
    return {
        "lines": [
            {"text": line["text"], "amount": to_amount(line["amount_minor"], currency)} for line in invoice["lines"]
        ],
        "currency": currency,
        "total": to_amount(invoice["total_minor"], currency),
        "remaining": to_amount(invoice["remaining_minor"], currency),
        "due_on": invoice["due_on"],
        "state": invoice["state"],
        "issued_at": invoice["issued_at"],
    }
