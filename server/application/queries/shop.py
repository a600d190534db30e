"""What customers read: towns that sell, a catalogue with what is there, and how far an order has come.

Nothing here names a person: whoever shows a tracking code sees goods, sums and steps, and may have had it from anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

from server.application.people_ports import ListingReader, Row, Wanted, Where
from server.application.queries.paging import (
    PAGE_ROWS,
    InvalidQuery,
    read_cursor,
    read_limit,
    read_value,
    write_cursor,
)
from server.application.shop_ports import Offer, OffersWanted, OpenTown, Shop, ShopReader
from server.domain.access import NotFound
from sync.kernel.changeset import Fields
from sync.kernel.module import FieldKind
from sync.kernel.money import to_amount
from sync.modules.commerce.entities import CUSTODY_LADDER, WAY_BACK

STEPS_MAX: Final = 500
"""Events of one order that are read; what a real one comes to is some tens."""

CATALOGUE_FILTERS: Final = ("q", "sku", "available")
CATALOGUE_ORDERS: Final[Mapping[str, FieldKind]] = {
    "name": FieldKind.TEXT,
    "sku": FieldKind.TEXT,
    "price": FieldKind.INTEGER,
}
_WAY = (*CUSTODY_LADDER[:-1], *WAY_BACK[-2:], CUSTODY_LADDER[-1])


async def towns_page(shop: Shop, asked: Mapping[str, str]) -> dict[str, Any]:
    """A page of the towns that sell, by name. Raises `InvalidQuery`."""
    _check_names(asked, ())
    limit = read_limit(asked.get("limit", str(PAGE_ROWS)))
    after = read_cursor(asked["cursor"], "name", FieldKind.TEXT) if "cursor" in asked else None
    found = await shop.towns(after, limit + 1)
    cursor = write_cursor("name", found[limit - 1].name, found[limit - 1].id) if len(found) > limit else None
    return {"items": [_town(town) for town in found[:limit]], "next_cursor": cursor}


async def catalogue_page(reader: ShopReader, asked: Mapping[str, str]) -> dict[str, Any]:
    """A page of what the town sells. Raises `InvalidQuery`."""
    wanted = _read_catalogue_query(asked)
    found = await reader.offers(wanted)
    limit = wanted.rows_max - 1  # one more was asked for, to see whether there is more
    cursor = None
    if len(found) > limit:
        last = found[limit - 1]
        value = {"name": last.name, "sku": last.sku, "price": last.price_minor}[wanted.order]
        cursor = write_cursor(asked.get("order", "name"), value, last.product_id)
    return {"town": _town(reader.town), "items": [_offer(offer) for offer in found[:limit]], "next_cursor": cursor}


async def tracked(reader: ListingReader, order_id: str) -> dict[str, Any]:
    """How far an order has come, for whoever has its code. Raises `NotFound`."""
    order = await reader.row("order", order_id)
    if order is None:
        raise NotFound
    wanted = Wanted(
        entity="order_status_event",
        where=[Where(field="order_id", how="is", value=order_id)],
        order="received_at",
        rows_max=STEPS_MAX,
    )
    fields, currency = order.fields, order.fields["currency"]
    return {
        "number": fields["number"],
        "status": fields["status"],
        "placed_at": fields["placed_at"],
        "delivered_at": fields["delivered_at"],
        "lines": [_line(line, currency) for line in fields["lines"]],
        "total": to_amount(fields["total_minor"], currency),
        "currency": currency,
        "payment": _payment(fields),
        "steps": _steps(await reader.page(wanted)),
    }


def _read_catalogue_query(asked: Mapping[str, str]) -> OffersWanted:
    _check_names(asked, (*CATALOGUE_FILTERS, "order"))
    order = asked.get("order", "name")
    field = order.removeprefix("-")
    if field not in CATALOGUE_ORDERS:
        raise InvalidQuery(f"this list has the orders {', '.join(CATALOGUE_ORDERS)}")

    def value(name: str, kind: FieldKind) -> Any:
        return read_value(name, asked[name], kind) if name in asked else None

    return OffersWanted(
        search=value("q", FieldKind.TEXT),
        sku=value("sku", FieldKind.TEXT),
        is_available=value("available", FieldKind.BOOLEAN),
        order=cast("Literal['name', 'sku', 'price']", field),
        is_descending=order.startswith("-"),
        after=read_cursor(asked["cursor"], order, CATALOGUE_ORDERS[field]) if "cursor" in asked else None,
        rows_max=read_limit(asked.get("limit", str(PAGE_ROWS))) + 1,
    )


def _check_names(asked: Mapping[str, str], known: Sequence[str]) -> None:
    if asked.keys() - {*known, "limit", "cursor"}:
        raise InvalidQuery(f"this list has the parameters {', '.join((*known, 'limit', 'cursor'))}")


def _town(town: OpenTown) -> dict[str, Any]:
    return {"id": town.id, "name": town.name, "currency": town.currency}


def _offer(offer: Offer) -> dict[str, Any]:
    return {
        "product": offer.product_id,
        "sku": offer.sku,
        "name": offer.name,
        "unit": offer.unit,
        "price": to_amount(offer.price_minor, offer.currency),
        "currency": offer.currency,
        "available": offer.available,
    }


def _line(line: Fields, currency: str) -> dict[str, Any]:
    return {
        "product": line["product_id"],
        "sku": line["sku"],
        "name": line["name"],
        "quantity": line["quantity"],
        "missing": line["short"],
        "price": to_amount(line["price_minor"], currency),
    }


def _payment(order: Fields) -> dict[str, Any]:
    """Mobile money is `pending` until the provider's word is booked as a payment; nothing else makes it paid."""
    is_owed = order["payment"] in {"unpaid", "partly"} and order["status"] not in {"CANCELLED", "RETURNED"}
    if not is_owed:
        state = "paid" if order["payment"] == "paid" else "none_due"
    else:
        state = "pending" if order["payment_method"] in {"momo", "card"} else "due_on_delivery"
    due_minor = order["total_minor"] - order["paid_minor"] if is_owed else 0
    return {
        "method": order["payment_method"],
        "state": state,
        "due": to_amount(due_minor, order["currency"]),
        "paid": to_amount(order["paid_minor"], order["currency"]),
    }


def _steps(events: Sequence[Row]) -> list[dict[str, Any]]:
    """Each status that the order has come to, with the time that is claimed for it.

    Steps that were heard of at once go along the way of the goods.
    """

    def place(row: Row) -> tuple[int, int, bool]:
        return row.version, _WAY.index(row.fields["to_custody"]), row.fields["from_status"] is not None

    told = [row.fields for row in sorted(events, key=place)]
    moved = [event for event in told if event["from_status"] != event["to_status"]]
    return [{"status": event["to_status"], "at": event["claimed_at"]} for event in moved]
