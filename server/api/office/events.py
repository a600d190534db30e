"""`/v1/towns/{town_id}/orders/{order_id}/status-events`: the audit trail of an order, page by page, oldest first."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import gives, tagged
from server.api.office.doing import path_id
from server.api.office.lists import CURSOR, asked_of, page_schema, show_row
from server.api.parts import staff_door_of
from server.api.staff import InTown
from server.application.people_ports import Wanted, Where
from server.application.queries.paging import (
    PAGE_ROWS,
    PAGE_ROWS_MAX,
    InvalidQuery,
    read_cursor,
    read_limit,
    write_cursor,
)
from sync.kernel.module import FieldKind
from sync.modules.commerce.entities import CUSTODY_LADDER, WAY_BACK

ORDER = "received_at"

router = APIRouter(prefix="/v1/towns/{town_id}", tags=["orders"])

EVENT = {
    "id": "01970a6e-3c00-8a51-8c1f-0b1f6a3f6d15",
    "version": 1207,
    "order_id": "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11",
    "from_status": "READY_FOR_DISPATCH",
    "to_status": "OUT_FOR_DELIVERY",
    "from_custody": "ready",
    "to_custody": "van",
    "is_implied": False,
    "actor_id": "01970a6e-3c00-7a53-9d2e-5a1f6a3f6d13",
    "device_id": "01970a6e-3c00-7a52-9d2e-5a1f6a3f6d12",
    "claimed_at": "2026-11-21T08:15:02.114Z",
    "received_at": "2026-11-21T09:40:11.002Z",
    "note": "",
}
_PLACES = (*CUSTODY_LADDER, *WAY_BACK[-2:])
"""The steps that one line reports have one time: they are shown in the order of the goods."""
_NULL = {"from_status", "from_custody"}
_SCHEMA = {
    "type": "object",
    "required": list(EVENT),
    "properties": {
        name: {"type": ["string", "null"]}
        if name in _NULL
        else {"type": {bool: "boolean", int: "integer"}.get(type(value), "string")}
        for name, value in EVENT.items()
    },
}
_PARAMETERS = [
    {
        "name": "limit",
        "in": "query",
        "required": False,
        "schema": {"type": "integer", "minimum": 1, "maximum": PAGE_ROWS_MAX, "default": PAGE_ROWS},
    },
    {"name": "cursor", "in": "query", "required": False, "schema": {"type": "string"}},
]


@router.get(
    "/orders/{order_id}/status-events",
    responses=gives(
        "A page, with an ETag.",
        {"items": [EVENT], "next_cursor": CURSOR},
        schema=page_schema(_SCHEMA),
        problems=[400, 403],
    ),
    openapi_extra={"parameters": _PARAMETERS},
)
async def get_status_events(request: Request, staff: InTown, order_id: str) -> Response:
    """Every step of an order: who reported it on which device, when it is said to have been and when it was heard."""
    asked, order = asked_of(request), path_id(order_id)
    if asked.keys() - {"limit", "cursor"}:
        raise InvalidQuery("this list has the parameters limit and cursor")
    limit = read_limit(asked.get("limit", str(PAGE_ROWS)))
    wanted = Wanted(
        entity="order_status_event",
        where=[Where(field="order_id", how="is", value=order)],
        order=ORDER,
        after=read_cursor(asked["cursor"], ORDER, FieldKind.TIME) if "cursor" in asked else None,
        rows_max=limit + 1,
    )
    async with staff_door_of(request).listings.reading(staff.seen, staff.town_id) as reader:
        await show_row(reader, staff, "orders", order)
        rows = await reader.page(wanted)
    last = rows[limit - 1] if len(rows) > limit else None
    items: list[dict[str, Any]] = [{"id": row.id, "version": row.version, **row.fields} for row in rows[:limit]]
    items.sort(key=lambda event: (event[ORDER], _PLACES.index(event["to_custody"])))
    cursor = write_cursor(ORDER, last.fields[ORDER], last.id) if last else None
    return tagged(request, {"items": items, "next_cursor": cursor})
