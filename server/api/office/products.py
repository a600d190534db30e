"""`/v1/towns/{town_id}/products`: which products there are, and what the town sells them for."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import CREATED, read_document, takes, understood
from server.api.office.doing import KEYED, changes, do, path_id
from server.api.staff import InTown
from sync.modules.catalogue import DefineProduct, OfferProduct, product_id

router = APIRouter(prefix="/v1/towns/{town_id}/products", tags=["products"])


@router.post(
    "",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Defined; the id follows from the stock-keeping unit.", status=CREATED),
    openapi_extra=takes(DefineProduct, {"sku": "85123A", "name": "White hanging heart"}),
)
async def post_product(request: Request, staff: InTown) -> Response:
    """Define a product; nobody sells it before it has a price."""
    said = await read_document(request)
    define = understood(DefineProduct, said)
    return await do(request, staff, define, said, made="products", made_id=product_id(define.sku))


@router.put(
    "/{product_id}/offer",
    dependencies=KEYED,
    responses=changes("Offered, or taken off the list."),
    openapi_extra=takes(OfferProduct, {"price": "2.50", "is_enabled": True}, given=["product"]),
)
async def put_offer(request: Request, staff: InTown, product_id: str) -> Response:
    """Sell the product at this price from now on, or not at all; orders that were placed keep their price."""
    said, product = await read_document(request), path_id(product_id)
    offer = understood(OfferProduct, said, product=product)
    return await do(request, staff, offer, said, about=("product", product))
