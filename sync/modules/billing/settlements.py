"""What becomes of a payment: its row, which is never changed, and its settlement, which goes from status to status."""

from __future__ import annotations

from typing import Any

from sync.kernel.changeset import Fields, Operation
from sync.kernel.draft import Draft
from sync.kernel.errors import InvalidMoney
from sync.kernel.money import to_minor
from sync.modules.billing.ledger import MONEY_SINCE, OPENING, SUSPENSE, post
from sync.modules.billing.operations import PayRefund, RequestCardPayment, RequestPayment, TakePayment
from sync.modules.town_settings import PAYMENT_UNITS_MAX

Paying = TakePayment | RequestPayment | RequestCardPayment
"""What makes a payment."""


def is_booked(draft: Draft) -> bool:
    """Whether payments have settlements by these rules, here and on devices."""
    return draft.context.rules >= MONEY_SINCE


def payment_row(operation: Paying, draft: Draft, amount_minor: int, status: str, drawer: str | None) -> Fields:
    """The payment as it was recorded; nothing that came with the books is in it by earlier rules."""
    return {
        "order_id": operation.order,
        "method": operation.method,
        "amount_minor": amount_minor,
        "currency": operation.currency,
        "taken_by": draft.change_set.actor,
        "device_id": draft.change_set.device,
        "taken_at": draft.claimed_at,
        "status": status,
        "invoice_id": operation.invoice,
        "reference": (operation.reference or None) if is_booked(draft) else None,
        "payer": operation.payer if isinstance(operation, RequestPayment) else None,
        "drawer_id": drawer,
    }


def checked_amount(operation: Paying | PayRefund, draft: Draft) -> int:
    """In minor units; zero is no payment, and more than the town thinks possible is a slip or worse."""
    amount_minor = to_minor(operation.amount, operation.currency)
    if amount_minor == 0:
        raise InvalidMoney("nothing was given back" if isinstance(operation, PayRefund) else "nothing was taken")
    if amount_minor > to_minor(str(units_max(draft)), operation.currency):
        raise InvalidMoney(f"one payment is at most {units_max(draft)} {operation.currency} here")
    return amount_minor


def units_max(draft: Draft) -> int:
    """The most that one payment may be here, in whole units of its currency."""
    town = draft.get("town", draft.change_set.town)
    units: int = town["settings"]["payment_units_max"] if town else PAYMENT_UNITS_MAX
    return units


def settlement_of(draft: Draft, payment: str) -> Fields:
    """What became of a payment; one of before there were books counts as credited whole.

    Raises `UnknownRow` for a payment that is not known.
    """
    settlement = draft.get("settlement", payment)
    if settlement is not None:
        return settlement
    row = draft.need("payment", payment)
    names = ("device_id", "order_id", "invoice_id", "status", "amount_minor", "currency")
    made = _blank(**{name: row[name] for name in names})
    made.update(credited_minor=row["amount_minor"], changed_at=row["taken_at"])
    draft.put("settlement", payment, made)
    return made


def begin(draft: Draft, operation: Paying, status: str, amount_minor: int, *, in_suspense: int) -> None:
    """The settlement of a new payment."""
    row = _blank(
        device_id=draft.change_set.device,
        order_id=operation.order,
        invoice_id=operation.invoice,
        status=status,
        amount_minor=amount_minor,
        currency=operation.currency,
    )
    now = {"suspense_minor": in_suspense, "reference": operation.reference, "changed_at": draft.context.decided_at}
    draft.put("settlement", operation.id, {**row, **now})


def adopt(operation: TakePayment, draft: Draft) -> Fields:
    """The settlement of a payment that was taken before there were books, and counts only now."""
    amount_minor = to_minor(operation.amount, operation.currency)
    begin(draft, operation, "CONFIRMED", amount_minor, in_suspense=amount_minor)
    post(draft, OPENING, amount_minor, operation.currency, payment_id=operation.id)
    post(draft, SUSPENSE, -amount_minor, operation.currency, payment_id=operation.id)
    return draft.need("settlement", operation.id)


def turn(draft: Draft, operation: Operation, payment: str, status: str, **changes: object) -> None:
    """A payment's settlement goes over into another status; the step is kept beside it."""
    before = draft.need("settlement", payment)
    after = draft.update("settlement", payment, status=status, changed_at=draft.context.decided_at, **changes)
    row = {
        "payment_id": payment,
        "operation": operation.op,
        "from_status": before["status"],
        "to_status": status,
        "amount_minor": after["amount_minor"],
        "currency": after["currency"],
        "reference": str(changes.get("reference", "")),
        "reason": str(changes.get("reason", "")),
        "actor_id": draft.change_set.actor,
        "device_id": draft.change_set.device,
        "claimed_at": draft.claimed_at,
        "received_at": draft.context.decided_at,
    }
    draft.put("payment_event", draft.new_id("payment_event"), row)


def _blank(**known: Any) -> dict[str, Any]:
    return {
        **known,
        "suspense_minor": 0,
        "allocated_minor": 0,
        "credited_minor": 0,
        "parked_minor": 0,
        "refunded_minor": 0,
        "is_parked": False,
        "reference": "",
        "reason": "",
        "changed_at": None,
    }
