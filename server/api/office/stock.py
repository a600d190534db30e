"""`/v1/towns/{town_id}/stock`: goods that came in, were found or lost, or went to another warehouse."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import CREATED, read_document, takes, understood
from server.api.office.doing import KEYED, changes, do
from server.api.staff import InTown
from sync.modules.commerce import AdjustStock, ReceiveStock, TransferStock

router = APIRouter(prefix="/v1/towns/{town_id}/stock", tags=["stock"])

WAREHOUSE = "01970a6e-3c00-7a54-9d2e-5a1f6a3f6d14"
OTHER_WAREHOUSE = "01970a6e-3c00-7a55-9d2e-5a1f6a3f6d15"
PRODUCT = "3f1c7a52-9d2e-8a1f-8a3f-6d1301970a6e"


@router.post(
    "/receive",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Booked.", status=CREATED),
    openapi_extra=takes(
        ReceiveStock, {"warehouse": WAREHOUSE, "product": PRODUCT, "quantity": 24, "reason": "delivery note 118"}
    ),
)
async def post_receipt(request: Request, staff: InTown) -> Response:
    """Goods came in."""
    said = await read_document(request)
    return await do(request, staff, understood(ReceiveStock, said), said, status=CREATED)


@router.post(
    "/adjust",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Booked; below zero on hand it leaves a conflict.", status=CREATED),
    openapi_extra=takes(
        AdjustStock, {"warehouse": WAREHOUSE, "product": PRODUCT, "delta": -2, "reason": "broken in the rain"}
    ),
)
async def post_adjustment(request: Request, staff: InTown) -> Response:
    """Goods were found, broken or lost: so many more or less."""
    said = await read_document(request)
    return await do(request, staff, understood(AdjustStock, said), said, status=CREATED)


@router.post(
    "/transfer",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Booked in both warehouses.", status=CREATED),
    openapi_extra=takes(
        TransferStock, {"source": WAREHOUSE, "target": OTHER_WAREHOUSE, "product": PRODUCT, "quantity": 6}
    ),
)
async def post_transfer(request: Request, staff: InTown) -> Response:
    """Goods went from one warehouse to another."""
    said = await read_document(request)
    return await do(request, staff, understood(TransferStock, said), said, status=CREATED)
