"""An order's invoice follows the order: what it is for, what is paid on it, and what its party has as credit.

The order says how much of what was received is paid and how much is credit; the invoice and the books are brought to
the same. An order of before there were books gets its invoice when its money is next touched; what it had received by
then comes from the account `opening`.

Law: an order's paid and credit are its invoice's paid and its party's free credit.
"""

from __future__ import annotations

from sync.kernel.changeset import Fields
from sync.kernel.draft import Draft
from sync.modules.billing import invoices
from sync.modules.billing.entities import FREE, credit_id, invoice_id, party_id
from sync.modules.billing.invoices import Incoming
from sync.modules.billing.ledger import OPENING, has_books
from sync.modules.commerce.entities import is_void


def begin(draft: Draft, order_id: str, order: Fields) -> None:
    """The order's party and its invoice, for nothing yet."""
    if not has_books(draft):
        return
    party = {"kind": "customer", "name": order["customer_name"], "phone": order["phone"]}
    draft.put("party", party_id(order_id), {**party, "source_entity": "order", "source_id": order_id})
    invoices.write(
        draft,
        invoice_id(order_id),
        party_id=party_id(order_id),
        title=title_of(order),
        lines=[],
        total_minor=0,
        currency=order["currency"],
        source=("order", order_id),
    )


def title_of(order: Fields) -> str:
    """What people call the order's invoice."""
    return f"Order {order['number']}"


def follow(draft: Draft, order_id: str, after: Fields, *, payment: str | None) -> None:
    """Bring invoice, credit and books to what the order is about to be."""
    if not has_books(draft):
        return
    before = draft.need("order", order_id)
    has_credit = bool(before["credit_minor"] or after["credit_minor"])
    keys = [("invoice", invoice_id(order_id)), ("credit", credit_id(party_id(order_id), before["currency"]))]
    draft.gather(keys if has_credit else keys[:1])
    if draft.get("invoice", invoice_id(order_id)) is None:
        begin(draft, order_id, before)
    kept = _credit(draft, order_id, before["currency"]) if has_credit else 0
    _catch_up(draft, order_id, before, kept)
    credit = after["credit_minor"] - before["credit_minor"]
    settlement = draft.get("settlement", payment) if payment else None
    incoming = Incoming(minor=_received(after) - _received(before), payment_id=payment)
    paid = draft.need("invoice", invoice_id(order_id))["paid_minor"]
    _rebook(
        draft,
        order_id,
        after,
        is_order_void=is_void(after["commercial"], after["custody"]),
        incoming=incoming,
        allocated_minor=settlement["allocated_minor"] if settlement else 0,
    )
    _credit_by(draft, order_id, after, credit)
    if payment and settlement:
        moved = {"allocated_minor": after["paid_minor"] - paid, "credited_minor": credit}
        now = {name: settlement[name] + by for name, by in moved.items()}
        draft.update("settlement", payment, order_id=order_id, suspense_minor=0, **now)


def shown(draft: Draft, order_id: str, order: Fields) -> tuple[int, int]:
    """What is paid and what is credit of an order, by its invoice and its party's free credit."""
    return draft.need("invoice", invoice_id(order_id))["paid_minor"], _credit(draft, order_id, order["currency"])


def _catch_up(draft: Draft, order_id: str, before: Fields, kept: int) -> None:
    """What the order has received and the books, which have `kept` as its credit, do not know of yet."""
    credit = before["credit_minor"] - kept
    missing = before["paid_minor"] - draft.need("invoice", invoice_id(order_id))["paid_minor"] + credit
    if not missing:
        return
    incoming = Incoming(minor=missing, account=OPENING)
    _rebook(draft, order_id, before, is_order_void=False, incoming=incoming)
    _credit_by(draft, order_id, before, credit)


def _rebook(
    draft: Draft, order_id: str, order: Fields, *, is_order_void: bool, incoming: Incoming, allocated_minor: int = 0
) -> None:
    invoices.rebook(
        draft,
        invoice_id(order_id),
        total_minor=order["total_minor"],
        paid_minor=order["paid_minor"],
        is_void=is_order_void,
        incoming=incoming,
        allocated_minor=allocated_minor,
    )


def _credit_by(draft: Draft, order_id: str, order: Fields, minor: int) -> None:
    if minor:
        invoices.change_credit(draft, party_id(order_id), order["currency"], minor, name=title_of(order), kind=FREE)


def _credit(draft: Draft, order_id: str, currency: str) -> int:
    credit = draft.get("credit", credit_id(party_id(order_id), currency))
    left: int = credit["left_minor"] if credit else 0
    return left


def _received(order: Fields) -> int:
    received: int = order["paid_minor"] + order["credit_minor"]
    return received
