"""`/v1/towns/{town_id}/drawer-sessions`: drawers of devices and of people in the office, with what their reports hold.

Who counts a drawer is not told what should be in it: outside the office `expected` is null until it is closed.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import CREATED, gives, read_document, tagged, takes, understood
from server.api.office.doing import KEYED, changes, do, path_id
from server.api.office.lists import row_example, row_schema, rows_about, show_row
from server.api.parts import staff_door_of
from server.api.staff import InTown
from sync.modules.billing import CloseDrawer, CountDrawer, OpenDrawer

SUMS = [{"amount": "20.00", "currency": "GBP"}]

router = APIRouter(prefix="/v1/towns/{town_id}/drawer-sessions", tags=["drawer-sessions"])

_SESSION = row_schema("drawer-sessions")
_WHOLE = {
    **_SESSION,
    "required": [*_SESSION["required"], "z_reports"],
    "properties": {**_SESSION["properties"], "z_reports": {"type": "array", "items": {"type": "object"}}},
}


@router.get(
    "/{drawer_id}",
    responses=gives(
        "The session with its reports, with an ETag.",
        {**row_example("drawer-sessions"), "z_reports": []},
        schema=_WHOLE,
        problems=[403],
    ),
)
async def get_drawer(request: Request, staff: InTown, drawer_id: str) -> Response:
    """One session with its Z reports, one at closing and another for each late item; its cash: `payments?drawer=`."""
    async with staff_door_of(request).listings.reading(staff.seen, staff.town_id) as reader:
        drawer: dict[str, Any] = await show_row(reader, staff, "drawer-sessions", drawer_id)
        drawer["z_reports"] = await rows_about(reader, "drawer_report", "drawer_id", drawer["id"], "number")
    return tagged(request, drawer)


@router.post(
    "",
    status_code=CREATED,
    dependencies=KEYED,
    responses=changes("Opened.", status=CREATED),
    openapi_extra=takes(OpenDrawer, {"opening": SUMS}),
)
async def post_drawer(request: Request, staff: InTown) -> Response:
    """A drawer of one's own is in use from now on, with these floats in it; everybody has one at a time."""
    said = await read_document(request)
    return await do(request, staff, understood(OpenDrawer, said), said, made="drawer-sessions")


@router.post(
    "/{drawer_id}/count",
    dependencies=KEYED,
    responses=changes("Counted."),
    openapi_extra=takes(CountDrawer, {"counted": SUMS}, given=["drawer"]),
)
async def post_count(request: Request, staff: InTown, drawer_id: str) -> Response:
    """What was counted in it, blind."""
    said, drawer = await read_document(request), path_id(drawer_id)
    count = understood(CountDrawer, said, drawer=drawer)
    return await do(request, staff, count, said, about=("drawer_session", drawer))


@router.post("/{drawer_id}/close", dependencies=KEYED, responses=changes("Closed, with its Z report."))
async def post_closing(request: Request, staff: InTown, drawer_id: str) -> Response:
    """What was counted is handed in; a difference is booked and leaves a conflict. There is no body."""
    drawer = path_id(drawer_id)
    return await do(request, staff, CloseDrawer(drawer=drawer), {}, about=("drawer_session", drawer))
