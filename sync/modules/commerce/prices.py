"""A price that changed behind the back of a device: what the customer was told stands, and the difference is booked.

The order is for what was told. Sales are booked at the list's price of now, and the difference beside them, so that
the town sees what keeping its word has cost.
"""

from __future__ import annotations

from sync.kernel.changeset import Fields
from sync.kernel.clock import parse_time
from sync.kernel.draft import Draft
from sync.kernel.money import to_amount, to_minor
from sync.modules.billing.entities import invoice_id, party_id
from sync.modules.billing.ledger import PRICES, SALES, has_books, post
from sync.modules.catalogue import town_product_id
from sync.modules.commerce import cases
from sync.modules.commerce.operations import OrderLine, PlaceOrder

DAY_MS = 24 * 3600 * 1000
PRICE_GRACE_DAYS = 30
"""For how many days after a change the price of before is honoured without a question, where a town says nothing."""

PRICE_DIFFERENCE_UNITS_MAX = 20
"""The largest difference that nobody asks about, in whole units of the town's currency, where it says nothing else."""


def book_difference(draft: Draft, operation: PlaceOrder, order_id: str) -> None:
    """What the list's changes since the device has last heard of them come to, for prices that it has told."""
    if not has_books(draft) or draft.context.is_server:
        return
    lines = [line for line in operation.lines if line.price is not None]
    draft.gather(("town_product", town_product_id(line.product)) for line in lines)
    changed = [(line, entry) for line in lines if (entry := _changed(draft, line))]
    order = draft.need("order", order_id)
    currency = order["currency"]
    minor = sum(
        line.quantity * (entry["price_minor"] - to_minor(line.price or "0", currency)) for line, entry in changed
    )
    if not minor:
        return
    about = {"party_id": party_id(order_id), "invoice_id": invoice_id(order_id)}
    post(draft, PRICES, minor, currency, **about)
    post(draft, SALES, -minor, currency, **about)
    grace_ms = _setting(draft, "price_grace_days", PRICE_GRACE_DAYS) * DAY_MS
    is_old = any(parse_time(draft.claimed_at) - parse_time(entry["changed_at"]) > grace_ms for _, entry in changed)
    units = _setting(draft, "price_difference_units_max", PRICE_DIFFERENCE_UNITS_MAX)
    is_much = abs(minor) > to_minor(str(units), currency)
    draft.adjust(
        cases.PRICE_DIFFERENCE if is_old or is_much else cases.PRICE_HONOURED,
        operation,
        subject=("order", order_id),
        said={"prices": [line.price for line, _ in changed]},
        had={"prices_minor": [entry["price_minor"] for _, entry in changed]},
        outcome="what was told stands",
        number=order["number"],
        difference=to_amount(minor, currency),
        currency=currency,
    )


def _changed(draft: Draft, line: OrderLine) -> Fields | None:
    """The entry of the list, when it was changed after the device has last heard of it."""
    entry = draft.get("town_product", town_product_id(line.product))
    if entry is None or entry["changed_version"] is None or entry["changed_version"] <= draft.change_set.base:
        return None
    return entry


def _setting(draft: Draft, name: str, usual: int) -> int:
    settings = draft.need("town", draft.change_set.town)["settings"]
    value: int = settings.get(name, usual)
    return value
