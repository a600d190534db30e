"""`/v1/towns/{town_id}/dispatches`: which driver takes which order."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import CREATED, read_document, takes, understood
from server.api.office.doing import KEYED, changes, do, path_id
from server.api.staff import InTown
from sync.modules.commerce import AssignDispatch, ReassignDispatch, WithdrawDispatch

router = APIRouter(prefix="/v1/towns/{town_id}", tags=["dispatches"])

DRIVER = {"driver": "01970a6e-3c00-7a53-9d2e-5a1f6a3f6d13"}


@router.post(
    "/orders/{order_id}/assign",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Assigned; the id is that of the dispatch.", status=CREATED),
    openapi_extra=takes(AssignDispatch, DRIVER, given=["order"]),
)
async def post_assignment(request: Request, staff: InTown, order_id: str) -> Response:
    """Give an order that nobody has to a driver."""
    said, order = await read_document(request), path_id(order_id)
    assign = understood(AssignDispatch, said, order=order)
    return await do(request, staff, assign, said, about=("order", order), made="dispatches")


@router.post(
    "/orders/{order_id}/reassign",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Reassigned; the id is that of the new dispatch.", status=CREATED),
    openapi_extra=takes(ReassignDispatch, DRIVER, given=["order"]),
)
async def post_reassignment(request: Request, staff: InTown, order_id: str) -> Response:
    """Give an order to another driver than the one who has it."""
    said, order = await read_document(request), path_id(order_id)
    reassign = understood(ReassignDispatch, said, order=order)
    return await do(request, staff, reassign, said, about=("order", order), made="dispatches")


@router.post("/dispatches/{dispatch_id}/withdraw", dependencies=KEYED, responses=changes("Withdrawn."))
async def post_withdrawal(request: Request, staff: InTown, dispatch_id: str) -> Response:
    """Take an order from its driver."""
    dispatch = path_id(dispatch_id)
    return await do(request, staff, WithdrawDispatch(dispatch=dispatch), {}, about=("dispatch", dispatch))
