"""Which lists there are, by what they may be filtered and ordered, and who may read them; and a page of one.

Everything that a caller can name is in `LISTS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.application.commands.act import Staff
from server.application.people_ports import ListingReader, Row, Wanted, Where
from server.application.queries.listed import INDOORS, OFFICE, SCHOOL_ONLY, Filter, List
from server.application.queries.listed_money import MONEY_LISTS
from server.application.queries.paging import (
    PAGE_ROWS,
    InvalidQuery,
    read_cursor,
    read_limit,
    read_value,
    write_cursor,
)
from server.domain.people import NotPermitted
from sync.kernel.changeset import Fields
from sync.kernel.module import FieldKind
from sync.modules import registry

_PLACED = {
    "placed_from": Filter(field="placed_at", how="from"),
    "placed_before": Filter(field="placed_at", how="before"),
}
_WORK: Mapping[str, List] = {
    "users": List(
        entity="user",
        roles=OFFICE,
        filters={"role": Filter(field="roles", how="holds"), "is_active": Filter(field="is_active")},
        orders=("name", "login"),
    ),
    "devices": List(
        entity="device",
        roles=frozenset({"admin"}),
        filters={
            "role": Filter(field="role"),
            "status": Filter(field="status", values=("active", "suspended", "revoked")),
            "user": Filter(field="user_id"),
            "warehouse": Filter(field="warehouse_id"),
        },
        orders=("enrolled_at", "name"),
        hidden=frozenset({"certificate"}),
    ),
    "warehouses": List(entity="warehouse", roles=INDOORS, filters={}, orders=("name",)),
    "products": List(entity="product", roles=INDOORS, filters={"sku": Filter(field="sku")}, orders=("name", "sku")),
    "town-products": List(
        entity="town_product",
        roles=INDOORS,
        filters={"product": Filter(field="product_id"), "is_enabled": Filter(field="is_enabled")},
        orders=("product_id", "price_minor"),
    ),
    "orders": List(
        entity="order",
        roles=INDOORS,
        filters={
            "number": Filter(field="number"),
            "status": Filter(field="status"),
            "commercial": Filter(field="commercial"),
            "custody": Filter(field="custody"),
            "payment": Filter(field="payment"),
            "warehouse": Filter(field="warehouse_id"),
            "driver": Filter(field="driver_id"),
            **_PLACED,
        },
        orders=("-placed_at", "number", "total_minor"),
    ),
    "fulfilments": List(
        entity="fulfilment",
        roles=INDOORS,
        filters={
            "order_id": Filter(field="order_id"),
            "warehouse": Filter(field="warehouse_id"),
            "picker": Filter(field="picker_id"),
            "state": Filter(field="state"),
        },
        orders=("order_id", "state"),
    ),
    "dispatches": List(
        entity="dispatch",
        roles=OFFICE,
        filters={
            "order_id": Filter(field="order_id"),
            "driver": Filter(field="driver_id"),
            "state": Filter(field="state"),
        },
        orders=("driver_id", "order_id", "attempt"),
    ),
    "stock-levels": List(
        entity="stock_level",
        roles=INDOORS,
        filters={"warehouse": Filter(field="warehouse_id"), "product": Filter(field="product_id")},
        orders=("product_id", "on_hand", "reserved"),
    ),
    "stock-movements": List(
        entity="stock_movement",
        roles=INDOORS,
        filters={
            "warehouse": Filter(field="warehouse_id"),
            "product": Filter(field="product_id"),
            "order_id": Filter(field="order_id"),
            "device": Filter(field="device_id"),
            "reason": Filter(field="reason"),
            "received_from": Filter(field="received_at", how="from"),
            "received_before": Filter(field="received_at", how="before"),
        },
        orders=("-received_at",),
    ),
    "stubs": List(
        entity="stub",
        roles=OFFICE,
        filters={
            "state": Filter(field="state", values=("waiting", "overdue", "merged")),
            "awaited": Filter(field="awaited_id"),
        },
        orders=("-since",),
    ),
    "conflicts": List(
        entity="conflict",
        roles=OFFICE,
        filters={
            "state": Filter(field="state", values=("open", "resolved")),
            "kind": Filter(field="kind"),
            "rule": Filter(field="rule"),
            "device": Filter(field="device_id"),
            "subject": Filter(field="subject_id"),
        },
        orders=("-raised_at",),
    ),
    "tasks": List(
        entity="task",
        roles=INDOORS,
        filters={
            "state": Filter(field="state", values=("open", "done")),
            "kind": Filter(field="kind"),
            "conflict": Filter(field="conflict_id"),
            "subject": Filter(field="subject_id"),
        },
        orders=("-raised_at",),
    ),
}
LISTS: Mapping[str, List] = {**_WORK, **MONEY_LISTS}
"""Every list by the last part of its address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Rows in order; with `next_cursor` as `cursor` the list goes on behind them, None is its end."""

    items: Sequence[Mapping[str, Any]]
    next_cursor: str | None


def check_reader(staff: Staff, name: str) -> None:
    """Raise `NotPermitted` unless one of the roles may read this list."""
    if not staff.roles & LISTS[name].roles:
        raise NotPermitted


def shown(staff: Staff, name: str, row: Row) -> dict[str, Any]:
    """A row as this person may see it: who is not of the office sees of it what a device of theirs would."""
    fields: Fields = row.fields
    entity = registry().entities[LISTS[name].entity]
    if not staff.roles & OFFICE and entity.name == "order":
        fields = entity.project(f"warehouse:{fields['warehouse_id']}", fields)
    elif not staff.roles & OFFICE and entity.name == "drawer_session":
        fields = entity.project(f"device:{fields['device_id']}", fields)
    return {
        "id": row.id,
        "version": row.version,
        **{field: value for field, value in fields.items() if field not in LISTS[name].hidden},
    }


def bounds(staff: Staff, name: str) -> list[Where]:
    """What this person's school leaves of a list; nothing for who reads it in another role too, or has no school."""
    listing = LISTS[name]
    is_bound = listing.of_school and staff.school_id and not staff.roles & (listing.roles - SCHOOL_ONLY)
    return [Where(field=str(listing.of_school), how="is", value=staff.school_id)] if is_bound else []


def is_seen(staff: Staff, name: str, row: Row) -> bool:
    """Whether a row of the list is within this person's bounds."""
    return all(row.fields[where.field] == where.value for where in bounds(staff, name))


async def page_of(
    staff: Staff, name: str, reader: ListingReader, asked: Mapping[str, str], *, within: Sequence[Where] = ()
) -> Page:
    """The page that a query's parameters ask for, out of what is `within`. Raises `NotPermitted`, `InvalidQuery`."""
    check_reader(staff, name)
    wanted = read_query(name, asked, [*bounds(staff, name), *within])
    rows = await reader.page(wanted)
    limit = wanted.rows_max - 1  # one more was asked for, to see whether there is more
    last = rows[limit - 1] if len(rows) > limit else None
    cursor = None if last is None else write_cursor(_order_text(wanted), last.fields[wanted.order], last.id)
    return Page(items=[shown(staff, name, row) for row in rows[:limit]], next_cursor=cursor)


def read_query(name: str, asked: Mapping[str, str], bounds: Sequence[Where] = ()) -> Wanted:
    """What a query asks for within the bounds, with every value of its field's kind. Raises `InvalidQuery`."""
    listing = LISTS[name]
    kinds = registry().entities[listing.entity].fields
    unknown = asked.keys() - listing.filters.keys() - {"order", "limit", "cursor"}
    if unknown:
        raise InvalidQuery(f"this list has the filters {', '.join(listing.filters) or 'none'}")
    order = asked.get("order", listing.orders[0])
    field = order.removeprefix("-")
    if field not in {known.removeprefix("-") for known in listing.orders}:
        raise InvalidQuery(f"this list has the orders {', '.join(listing.orders)}")
    where = list(bounds)
    for parameter, text in asked.items():
        if (chosen := listing.filters.get(parameter)) is not None:
            kind = FieldKind.TEXT if chosen.how == "holds" else kinds[chosen.field]
            where.append(Where(field=chosen.field, how=chosen.how, value=read_value(parameter, text, kind)))
    after = read_cursor(asked["cursor"], order, kinds[field]) if "cursor" in asked else None
    return Wanted(
        entity=listing.entity,
        where=where,
        order=field,
        is_descending=order.startswith("-"),
        after=after,
        rows_max=read_limit(asked.get("limit", str(PAGE_ROWS))) + 1,
    )


def _order_text(wanted: Wanted) -> str:
    return ("-" if wanted.is_descending else "") + wanted.order
