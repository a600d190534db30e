"""Which lists there are, by what they may be filtered and ordered, and who may read them; and a page of one.

Everything that a caller can name is in `LISTS`. A cursor says where a page ended in its order; it proves nothing and
opens nothing: whatever it says is only compared with.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import orjson

from server.application.commands.act import Staff
from server.application.people_ports import ListingReader, Row, Wanted, Where
from server.domain.people import NotPermitted
from sync.kernel.changeset import Fields
from sync.kernel.clock import format_time, parse_time
from sync.kernel.errors import Malformed
from sync.kernel.ids import parse_id
from sync.kernel.module import FieldKind
from sync.modules import registry

PAGE_ROWS = 50
PAGE_ROWS_MAX = 200
TEXT_CHARACTERS_MAX = 500
_CURSOR_CHARACTERS_MAX = 4096
_INTEGER_DIGITS_MAX = 15

OFFICE = frozenset({"admin", "dispatcher"})
INDOORS = OFFICE | {"warehouse_staff"}


class InvalidQuery(Malformed):
    """The address asks for a list in a way that this list does not know."""

    code: ClassVar[str] = "invalid_query"


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """A parameter of a list: the field it looks at, and how; `values` are all that there can be, if they are few."""

    field: str
    how: Literal["is", "from", "before", "holds"] = "is"
    values: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class List:
    """The rows of an entity for those who have one of `roles`; the first order is the usual one, `-` turns it round.

    `hidden` fields are not for this list, whoever reads it.
    """

    entity: str
    roles: frozenset[str]
    filters: Mapping[str, Filter]
    orders: tuple[str, ...]
    hidden: frozenset[str] = frozenset()


_PLACED = {
    "placed_from": Filter(field="placed_at", how="from"),
    "placed_before": Filter(field="placed_at", how="before"),
}
LISTS: Mapping[str, List] = {
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
    "dispatches": List(
        entity="dispatch",
        roles=OFFICE,
        filters={
            "order": Filter(field="order_id"),
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
            "order": Filter(field="order_id"),
            "device": Filter(field="device_id"),
            "reason": Filter(field="reason"),
            "received_from": Filter(field="received_at", how="from"),
            "received_before": Filter(field="received_at", how="before"),
        },
        orders=("-received_at",),
    ),
    "conflicts": List(
        entity="conflict",
        roles=OFFICE,
        filters={
            "state": Filter(field="state"),
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
            "state": Filter(field="state"),
            "kind": Filter(field="kind"),
            "conflict": Filter(field="conflict_id"),
            "subject": Filter(field="subject_id"),
        },
        orders=("-raised_at",),
    ),
}
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
    """A row as this person may see it: who is not of the office sees of an order what a warehouse's tablet would."""
    fields: Fields = row.fields
    if LISTS[name].entity == "order" and not staff.roles & OFFICE:
        fields = registry().entities["order"].project(f"warehouse:{fields['warehouse_id']}", fields)
    return {
        "id": row.id,
        "version": row.version,
        **{field: value for field, value in fields.items() if field not in LISTS[name].hidden},
    }


async def page_of(staff: Staff, name: str, reader: ListingReader, asked: Mapping[str, str]) -> Page:
    """The page that the parameters of a query ask for. Raises `NotPermitted`, `InvalidQuery`."""
    check_reader(staff, name)
    wanted = read_query(name, asked)
    rows = await reader.page(wanted)
    limit = wanted.rows_max - 1  # one more was asked for, to see whether there is more
    last = rows[limit - 1] if len(rows) > limit else None
    cursor = None if last is None else _write_cursor(_order_text(wanted), last.fields[wanted.order], last.id)
    return Page(items=[shown(staff, name, row) for row in rows[:limit]], next_cursor=cursor)


def read_query(name: str, asked: Mapping[str, str]) -> Wanted:
    """What a query asks for, with every value of its field's kind. Raises `InvalidQuery`."""
    listing = LISTS[name]
    kinds = registry().entities[listing.entity].fields
    unknown = asked.keys() - listing.filters.keys() - {"order", "limit", "cursor"}
    if unknown:
        raise InvalidQuery(f"this list has the filters {', '.join(listing.filters) or 'none'}")
    order = asked.get("order", listing.orders[0])
    field = order.removeprefix("-")
    if field not in {known.removeprefix("-") for known in listing.orders}:
        raise InvalidQuery(f"this list has the orders {', '.join(listing.orders)}")
    where = []
    for parameter, text in asked.items():
        if (chosen := listing.filters.get(parameter)) is not None:
            kind = FieldKind.TEXT if chosen.how == "holds" else kinds[chosen.field]
            where.append(Where(field=chosen.field, how=chosen.how, value=_value(parameter, text, kind)))
    after = _read_cursor(asked["cursor"], order, kinds[field]) if "cursor" in asked else None
    return Wanted(
        entity=listing.entity,
        where=where,
        order=field,
        is_descending=order.startswith("-"),
        after=after,
        rows_max=_limit(asked.get("limit", str(PAGE_ROWS))) + 1,
    )


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(PAGE_ROWS_MAX))):
        raise InvalidQuery(f"limit is a whole number from 1 to {PAGE_ROWS_MAX}")
    if not 1 <= int(text) <= PAGE_ROWS_MAX:
        raise InvalidQuery(f"limit is a whole number from 1 to {PAGE_ROWS_MAX}")
    return int(text)


def _value(parameter: str, text: str, kind: FieldKind) -> Any:
    """A value of this kind, so that the database is never the first to notice. Raises `InvalidQuery`."""
    try:
        if kind is FieldKind.ID:
            return parse_id(text)
        if kind is FieldKind.TIME:
            return format_time(parse_time(text))
        if kind is FieldKind.BOOLEAN:
            return {"true": True, "false": False}[text]
        if kind is FieldKind.INTEGER and text.removeprefix("-").isdecimal() and len(text) <= _INTEGER_DIGITS_MAX:
            return int(text)
    except (Malformed, KeyError):
        raise InvalidQuery(f"{parameter} is not of its form ({kind.value})") from None
    if kind is not FieldKind.TEXT or len(text) > TEXT_CHARACTERS_MAX or "\0" in text:
        raise InvalidQuery(f"{parameter} is not of its form ({kind.value})")
    return text


def _order_text(wanted: Wanted) -> str:
    return ("-" if wanted.is_descending else "") + wanted.order


def _write_cursor(order: str, value: Any, row_id: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([order, str(value), row_id])).rstrip(b"=").decode()


def _read_cursor(text: str, order: str, kind: FieldKind) -> tuple[Any, str]:
    """Where the page before ended. Raises `InvalidQuery`, also for a cursor of another order."""
    fault = InvalidQuery("the cursor is not one of this list in this order")
    if len(text) > _CURSOR_CHARACTERS_MAX:
        raise fault
    try:
        said = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        named, value, row_id = said
        if named != order:
            raise fault
        return _value("cursor", value, kind), parse_id(row_id)
    except (ValueError, TypeError, AttributeError, Malformed):
        raise fault from None
