"""`/v1/towns/{town_id}/drivers`: who drives, and with which jobs each of them is under way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import gives, tagged
from server.api.office.lists import CURSOR, asked_of, page_schema, parameters_of, row_example, row_schema, show_row
from server.api.parts import staff_door_of
from server.api.staff import InTown
from server.application.people_ports import ListingReader, Wanted, Where
from server.application.queries.listings import page_of
from server.application.queries.paging import InvalidQuery
from server.domain.access import NotFound
from sync.modules.commerce.entities import OPEN_DISPATCHES

JOBS_MAX = 5000
"""Open jobs that are read for one page of drivers."""

ROLE = "driver"

router = APIRouter(prefix="/v1/towns/{town_id}/drivers", tags=["drivers"])

_SCHEMA = row_schema("users")
_DRIVER_SCHEMA = {
    **_SCHEMA,
    "required": [*_SCHEMA["required"], "open_jobs"],
    "properties": {**_SCHEMA["properties"], "open_jobs": {"type": "array", "items": row_schema("dispatches")}},
}
_DRIVER = {**row_example("users"), "roles": [ROLE], "open_jobs": [row_example("dispatches")]}


@router.get(
    "",
    responses=gives(
        "A page, with an ETag.",
        {"items": [_DRIVER], "next_cursor": CURSOR},
        schema=page_schema(_DRIVER_SCHEMA),
        problems=[400, 403],
    ),
    openapi_extra={"parameters": parameters_of("users", without=("role",))},
)
async def get_drivers(request: Request, staff: InTown) -> Response:
    """The drivers of the town that the filters leave, each with the jobs that are assigned or out for delivery."""
    asked = asked_of(request)
    if "role" in asked:
        raise InvalidQuery("everybody in this list is a driver")
    async with staff_door_of(request).listings.reading(staff.seen, staff.town_id) as reader:
        page = await page_of(staff, "users", reader, {**asked, "role": ROLE})
        drivers = await _with_jobs(reader, page.items)
    return tagged(request, {"items": drivers, "next_cursor": page.next_cursor})


@router.get(
    "/{user_id}",
    responses=gives("The driver, with an ETag.", _DRIVER, schema=_DRIVER_SCHEMA, problems=[400, 403]),
)
async def get_driver(request: Request, staff: InTown, user_id: str) -> Response:
    """One driver, with the jobs that are assigned or out for delivery."""
    async with staff_door_of(request).listings.reading(staff.seen, staff.town_id) as reader:
        user = await show_row(reader, staff, "users", user_id)
        if ROLE not in user["roles"]:
            raise NotFound
        (driver,) = await _with_jobs(reader, [user])
    return tagged(request, driver)


async def _with_jobs(reader: ListingReader, drivers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    wanted = Wanted(
        entity="dispatch",
        where=[
            Where(field="driver_id", how="among", value=[driver["id"] for driver in drivers]),
            Where(field="state", how="among", value=sorted(OPEN_DISPATCHES)),
        ],
        order="driver_id",
        rows_max=JOBS_MAX + 1,
    )
    jobs = await reader.page(wanted)
    if len(jobs) > JOBS_MAX:
        raise InvalidQuery("these drivers have more open jobs than one page can show: ask for fewer with limit")
    told: dict[str, list[dict[str, Any]]] = {driver["id"]: [] for driver in drivers}
    for job in jobs:
        told[job.fields["driver_id"]].append({"id": job.id, "version": job.version, **job.fields})
    return [{**driver, "open_jobs": told[driver["id"]]} for driver in drivers]
