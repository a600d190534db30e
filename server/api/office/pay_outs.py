"""`/v1/towns/{town_id}/pay-outs`: what a provider had taken for the town and has paid out to its bank."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import CREATED, read_document, takes, understood
from server.api.office.doing import KEYED, changes, do
from server.api.staff import InTown
from sync.modules.billing import PayOut
from sync.modules.billing.entities import pay_out_id

router = APIRouter(prefix="/v1/towns/{town_id}/pay-outs", tags=["pay-outs"])


@router.post(
    "",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Booked; a reference is booked once.", status=CREATED),
    openapi_extra=takes(
        PayOut, {"method": "momo", "amount": "990.00", "fee": "10.00", "currency": "GBP", "reference": "FT-2231"}
    ),
)
async def post_pay_out(request: Request, staff: InTown) -> Response:
    """So much has arrived at the bank under its reference, and so much the provider has kept."""
    said = await read_document(request)
    paid = understood(PayOut, said)
    made = pay_out_id(paid.method, paid.currency, paid.reference)
    return await do(request, staff, paid, said, made="pay-outs", made_id=made)
