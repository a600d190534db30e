"""A price that is not the list's: what the customer was told stands, and the difference is booked and told.

The list may have changed behind the back of a device, which is nobody's fault; or the device knew the list of now and
told another price, about which somebody is asked when it is much.
The order is for what was told. Sales are booked at the list's price of now, and the difference beside them, so that
the town sees what keeping its word has cost.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sync.kernel.changeset import Fields
from sync.kernel.clock import parse_time
from sync.kernel.draft import Draft
from sync.kernel.module import Case
from sync.kernel.money import to_amount, to_minor
from sync.modules.billing.entities import invoice_id, party_id
from sync.modules.billing.ledger import PRICES, SALES, has_books, post
from sync.modules.catalogue import town_product_id
from sync.modules.commerce import cases
from sync.modules.commerce.operations import AmendOrder, OrderLine, PlaceOrder

UNLISTED_SINCE = 4
"""The rules since which a price is told that the list did not have (`sync.kernel.draft.RULES`)."""

DAY_MS = 24 * 3600 * 1000
PRICE_GRACE_DAYS = 30
"""For how many days after a change the price of before is honoured without a question, where a town says nothing."""

PRICE_DIFFERENCE_UNITS_MAX = 20
"""The largest difference that nobody asks about, in whole units of the town's currency, where it says nothing else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """A line with the price that the customer was told, the list's entry, and by how much the list is above it."""

    line: OrderLine
    entry: Fields
    minor: int


def compare(
    draft: Draft, operation: AmendOrder | PlaceOrder, order_id: str, before: Collection[tuple[str, int]]
) -> None:
    """Find the prices that a device has told and that are not the list's; those of `before` were the order's already.

    What they come to is booked when the order is placed.
    """
    if not has_books(draft) or draft.context.is_server:
        return
    order = draft.need("order", order_id)
    told = _told(draft, operation, order["currency"])
    late = [one for one in told if (one.entry["changed_version"] or 0) > draft.change_set.base]
    known = min(draft.change_set.base, draft.moment.after_version)  # of another epoch, or told anew, proves nothing
    made_up = [
        one
        for one in told
        if one.minor
        and (one.entry["changed_version"] or 0) <= known
        and known > 0
        and (one.line.product, _price(one.line, order["currency"])) not in before
    ]
    if draft.context.rules < UNLISTED_SINCE:
        made_up = []
    if isinstance(operation, PlaceOrder):
        _book(draft, order_id, order["currency"], sum(one.minor for one in (*late, *made_up)))
        _honour(draft, operation, order_id, late)
    if made_up:
        minor = sum(abs(one.minor) for one in made_up)
        case = cases.PRICE_MADE_UP if _is_much(draft, minor, order["currency"]) else cases.PRICE_UNLISTED
        _tell(draft, case, operation, order_id, made_up, minor=minor)


def _told(draft: Draft, operation: AmendOrder | PlaceOrder, currency: str) -> list[_Told]:
    lines = [line for line in operation.lines if line.price is not None]
    draft.gather(("town_product", town_product_id(line.product)) for line in lines)
    entries = [(line, draft.get("town_product", town_product_id(line.product))) for line in lines]
    return [
        _Told(line=line, entry=entry, minor=line.quantity * (entry["price_minor"] - _price(line, currency)))
        for line, entry in entries
        if entry is not None
    ]


def _price(line: OrderLine, currency: str) -> int:
    return to_minor(line.price or "0", currency)


def _book(draft: Draft, order_id: str, currency: str, minor: int) -> None:
    if not minor:
        return
    about = {"party_id": party_id(order_id), "invoice_id": invoice_id(order_id)}
    post(draft, PRICES, minor, currency, **about)
    post(draft, SALES, -minor, currency, **about)


def _honour(draft: Draft, operation: PlaceOrder, order_id: str, late: Sequence[_Told]) -> None:
    """Tell of prices that were the list's, as far as is known, when the device has last heard of it."""
    minor = sum(one.minor for one in late)
    if not minor:
        return
    grace_ms = _setting(draft, "price_grace_days", PRICE_GRACE_DAYS) * DAY_MS
    is_old = any(parse_time(draft.claimed_at) - parse_time(one.entry["changed_at"]) > grace_ms for one in late)
    is_much = _is_much(draft, minor, draft.need("order", order_id)["currency"])
    case = cases.PRICE_DIFFERENCE if is_old or is_much else cases.PRICE_HONOURED
    _tell(draft, case, operation, order_id, late, minor=minor)


def _tell(
    draft: Draft, case: Case, operation: AmendOrder | PlaceOrder, order_id: str, told: Sequence[_Told], *, minor: int
) -> None:
    order = draft.need("order", order_id)
    draft.adjust(
        case,
        operation,
        subject=("order", order_id),
        said={"prices": [one.line.price for one in told]},
        had={"prices_minor": [one.entry["price_minor"] for one in told]},
        outcome="what was told stands",
        number=order["number"],
        difference=to_amount(minor, order["currency"]),
        currency=order["currency"],
    )


def _is_much(draft: Draft, minor: int, currency: str) -> bool:
    units = _setting(draft, "price_difference_units_max", PRICE_DIFFERENCE_UNITS_MAX)
    return abs(minor) > to_minor(str(units), currency)


def _setting(draft: Draft, name: str, usual: int) -> int:
    settings = draft.need("town", draft.change_set.town)["settings"]
    value: int = settings.get(name, usual)
    return value
