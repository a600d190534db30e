"""Every list of a town, and one row of it: `GET /v1/towns/{town_id}/{list}` and `/{list}/{id}`, made from `LISTS`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.documents import gives, tagged
from server.api.office.doing import path_id
from server.api.parts import staff_door_of
from server.api.staff import InTown
from server.application.commands.act import Staff
from server.application.people_ports import ListingReader, Wanted, Where
from server.application.queries.listed import Filter
from server.application.queries.listings import LISTS, check_reader, is_seen, page_of, shown
from server.application.queries.paging import PAGE_ROWS, PAGE_ROWS_MAX, InvalidQuery
from server.domain.access import NotFound
from sync.kernel.module import FieldKind
from sync.modules import registry

Route = Callable[..., Awaitable[Response]]

router = APIRouter(prefix="/v1/towns/{town_id}")

STORY_ROWS_MAX = 500
"""Events, payments or the like that are shown of one row; what a real one comes to is some tens."""

CURSOR = "WyJuYW1lIiwiTm9ydGggUXVheSIsIjAxOTcwYTZlIl0"
"""What a cursor looks like."""

_SCHEMAS: dict[FieldKind, tuple[dict[str, Any], Any]] = {
    FieldKind.ID: ({"type": ["string", "null"], "format": "uuid"}, "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11"),
    FieldKind.TEXT: ({"type": ["string", "null"]}, "text"),
    FieldKind.INTEGER: ({"type": ["integer", "null"]}, 12),
    FieldKind.BOOLEAN: ({"type": ["boolean", "null"]}, True),
    FieldKind.TIME: ({"type": ["string", "null"], "format": "date-time"}, "2026-11-21T08:15:02.114Z"),
    FieldKind.JSON: ({}, []),
}

_FORMATS = {FieldKind.ID: {"format": "uuid"}, FieldKind.TIME: {"format": "date-time"}}


def row_schema(name: str) -> dict[str, Any]:
    """What a row of this list looks like; it lacks what is newer than the row, and what the reader may not see."""
    fields = {"id": FieldKind.ID, "version": FieldKind.INTEGER, **registry().entities[LISTS[name].entity].fields}
    members = {field: _SCHEMAS[kind][0] for field, kind in fields.items() if field not in LISTS[name].hidden}
    return {"type": "object", "required": ["id", "version"], "properties": members}


def row_example(name: str) -> dict[str, Any]:
    """A row of this list, for the reader of the documentation."""
    fields = {"id": FieldKind.ID, "version": FieldKind.INTEGER, **registry().entities[LISTS[name].entity].fields}
    return {field: _SCHEMAS[kind][1] for field, kind in fields.items() if field not in LISTS[name].hidden}


def page_schema(item: dict[str, Any]) -> dict[str, Any]:
    """What a page of these items looks like."""
    return {
        "type": "object",
        "required": ["items", "next_cursor"],
        "properties": {"items": {"type": "array", "items": item}, "next_cursor": {"type": ["string", "null"]}},
    }


async def show_page(request: Request, staff: Staff, name: str, decorate: Callable[..., Any] | None = None) -> Response:
    """A page of the list as the query asks for it; `decorate` may add to its items."""
    asked = asked_of(request)
    async with staff_door_of(request).listings.reading(staff.seen, staff.town_id) as reader:
        page = await page_of(staff, name, reader, asked)
    items = [dict(item) for item in page.items]
    if decorate is not None:
        await decorate(items)
    return tagged(request, {"items": items, "next_cursor": page.next_cursor})


def asked_of(request: Request) -> dict[str, str]:
    """The parameters of the query, each once. Raises `InvalidQuery`."""
    asked = dict(request.query_params)
    if len(asked) != len(request.query_params.multi_items()):
        raise InvalidQuery("a parameter is given twice")
    return asked


async def show_row(reader: ListingReader, staff: Staff, name: str, row_id: str) -> dict[str, Any]:
    """One row of the list. Raises `NotFound`, `NotPermitted`."""
    check_reader(staff, name)
    row = await reader.row(LISTS[name].entity, path_id(row_id))
    if row is None or not is_seen(staff, name, row):
        raise NotFound
    return shown(staff, name, row)


async def rows_about(reader: ListingReader, entity: str, field: str, value: str, order: str) -> list[dict[str, Any]]:
    """The rows of an entity that belong to one row, in the order of a field; enough of them for any real one."""
    wanted = Wanted(
        entity=entity, where=[Where(field=field, how="is", value=value)], order=order, rows_max=STORY_ROWS_MAX
    )
    return [{"id": row.id, **row.fields} for row in await reader.page(wanted)]


def _list_route(name: str) -> Route:
    async def get_list(request: Request, staff: InTown) -> Response:
        return await show_page(request, staff, name)

    get_list.__doc__ = f"The {name.replace('-', ' ')} of the town that the filters leave, page by page."
    return get_list


def _row_route(name: str) -> Route:
    async def get_row(request: Request, staff: InTown, row_id: str) -> Response:
        async with staff_door_of(request).listings.reading(staff.seen, staff.town_id) as reader:
            row = await show_row(reader, staff, name, row_id)
        return tagged(request, row)

    get_row.__doc__ = f"One of the {name.replace('-', ' ')} of the town."
    return get_row


def list_docs(name: str) -> dict[str, Any]:
    """What OpenAPI says about a list."""
    page = page_schema(row_schema(name))
    example = {"items": [row_example(name)], "next_cursor": CURSOR}
    return {
        "tags": [name],
        "responses": gives("A page, with an ETag.", example, schema=page, problems=[400, 403]),
        "openapi_extra": {"parameters": parameters_of(name)},
    }


def row_docs(name: str) -> dict[str, Any]:
    """What OpenAPI says about one row of a list."""
    return {
        "tags": [name],
        "responses": gives("The row, with an ETag.", row_example(name), schema=row_schema(name), problems=[403]),
    }


def parameters_of(name: str, without: Collection[str] = ()) -> list[dict[str, Any]]:
    """What OpenAPI says about the query of a list."""
    listing = LISTS[name]
    orders = [text for known in listing.orders for text in (known.removeprefix("-"), "-" + known.removeprefix("-"))]
    parameters = [
        *((parameter, _filter_schema(name, f)) for parameter, f in listing.filters.items() if parameter not in without),
        ("order", {"enum": orders, "default": listing.orders[0]}),
        ("limit", {"type": "integer", "minimum": 1, "maximum": PAGE_ROWS_MAX, "default": PAGE_ROWS}),
        ("cursor", {"type": "string"}),
    ]
    return [{"name": parameter, "in": "query", "required": False, "schema": schema} for parameter, schema in parameters]


def _filter_schema(name: str, chosen: Filter) -> dict[str, Any]:
    if chosen.values:
        return {"enum": list(chosen.values)}
    kind = registry().entities[LISTS[name].entity].fields[chosen.field]
    if kind is FieldKind.BOOLEAN:
        return {"enum": ["true", "false"]}
    return {"type": "string", **_FORMATS.get(kind, {})}


for _name in LISTS:
    if _name not in {"users", "payments", "invoices"}:
        router.add_api_route(f"/{_name}", _list_route(_name), methods=["GET"], name=f"get_{_name}", **list_docs(_name))
    if _name not in {"users", "orders", "conflicts", "invoices", "payments", "drawer-sessions"}:
        router.add_api_route(
            f"/{_name}/{{row_id}}", _row_route(_name), methods=["GET"], name=f"get_{_name}_row", **row_docs(_name)
        )
