"""`POST /v1/towns/{town_id}/warehouses`: places where stock is kept."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import CREATED, read_document, takes, understood
from server.api.office.doing import KEYED, changes, do
from server.api.staff import InTown
from sync.modules.commerce import OpenWarehouse

router = APIRouter(prefix="/v1/towns/{town_id}/warehouses", tags=["warehouses"])


@router.post(
    "",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Opened.", status=CREATED),
    openapi_extra=takes(OpenWarehouse, {"name": "North Quay"}),
)
async def post_warehouse(request: Request, staff: InTown) -> Response:
    """Open a warehouse."""
    said = await read_document(request)
    return await do(request, staff, understood(OpenWarehouse, said), said, made="warehouses")
