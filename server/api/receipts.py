"""`GET /v1/receipts/{code}`: anybody's check of a receipt; for a browser a page, for everything else a document.

The QR code on a slip holds this address in upper case, because that makes it small; so it is served in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from server.api.documents import document, gives
from server.api.parts import parts_of, receipt_book_of
from server.api.problems import status_of
from server.application.queries.receipts import receipt_page
from server.domain.local_time import moment
from server.domain.papers import receipt_check, zone_of
from sync.kernel.errors import TallystickError

EXAMPLE: Final = {
    "number": "K7Q2M4-000017",
    "state": "paid",
    "reason": "",
    "amounts": [{"amount": "12.50", "currency": "GBP"}],
    "at": "2026-11-21T08:15:02.114Z",
    "town": {"id": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11", "name": "Douglas", "time_zone": "Europe/Isle_of_Man"},
    "device": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d22",
    "seq": 341,
    "hash": "LXEWQrcmsEQBYnyp-6wy9chTD7GQPMTbAiWHF5IaSIE",
    "payments": [{"amount": "12.50", "currency": "GBP", "status": "CONFIRMED", "refunded": "0.00"}],
}
_STATES: Final[Mapping[str, tuple[Literal["good", "look", "bad"], str]]] = {
    "paid": ("good", "This receipt is good."),
    "partly_refunded": ("good", "This receipt is good; a part was paid back."),
    "refunded": ("look", "This receipt is genuine; the money was paid back."),
    "waiting": ("look", "This receipt is genuine; the town has not booked it yet."),
    "doubtful": ("look", "This receipt may not be genuine: its device is out of use and has not reported it."),
    "void": ("bad", "This receipt is genuine, and void."),
}

router = APIRouter(tags=["receipts"])


@router.get("/v1/receipts/{code}", responses=gives("What it says.", EXAMPLE, problems=[400, 422], usual=[503]))
async def get_receipt(request: Request, code: str) -> Response:
    """What a receipt says by itself, and what became of it: its state, and the reason when it is void."""
    parts = parts_of(request)
    wants_page = "text/html" in request.headers.get("accept", "")
    try:
        found = await receipt_page(receipt_book_of(request), code, [one.public_key for one in parts.signer.published])
    except TallystickError as fault:
        if wants_page:
            page = receipt_check("bad", "Not a good receipt", "", {"why": fault.message})
            return HTMLResponse(page, status_code=status_of(fault))
        raise
    return HTMLResponse(_page(found)) if wants_page else document(found)


router.add_api_route("/V1/RECEIPTS/{code}", get_receipt, include_in_schema=False)


def _page(found: Mapping[str, Any]) -> str:
    kind, title = _STATES[found["state"]]
    amount = ", ".join(f"{one['amount']} {one['currency']}" for one in found["amounts"])
    back = [f"{one['refunded']} {one['currency']}" for one in found["payments"] if Decimal(one["refunded"])]
    told = {"receipt": found["number"], "town": found["town"]["name"], "taken": moment(found["at"], zone_of(found))}
    if back:
        told["paid back"] = ", ".join(back)
    if found["reason"]:
        told["why"] = found["reason"]
    return receipt_check(kind, title, amount, told)
