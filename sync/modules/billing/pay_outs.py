"""Pay-outs: what a provider had taken for the town arrives at the bank, less what the provider keeps.

The provider is right about what it pays out. A rule walks by ids and adds up no account, so paying out more than there
is in clearing is no case of its own: the account then shows below zero what is still to be explained.
"""

from __future__ import annotations

from sync.kernel.draft import Draft
from sync.kernel.errors import InvalidMoney
from sync.kernel.money import to_amount, to_minor
from sync.modules.billing import cases
from sync.modules.billing.entities import pay_out_id
from sync.modules.billing.ledger import BANK, CARD, FEES, MOMO, post
from sync.modules.billing.operations import PayOut
from sync.modules.billing.settlements import units_max

PAY_OUT_PAYMENTS_MAX = 1000
"""How many of the largest payments that a town thinks possible one pay-out may be about."""

CLEARING = {"momo": MOMO, "card": CARD}


def book(operation: PayOut, draft: Draft) -> None:
    """To the bank what arrived, to the fees what was kept, and both out of clearing; once for a reference."""
    key = pay_out_id(operation.method, operation.currency, operation.reference)
    before = draft.get("pay_out", key)
    if before is not None:
        amount = to_amount(before["amount_minor"], before["currency"])
        raise draft.refuse(
            cases.PAID_OUT_ALREADY, reference=operation.reference, amount=amount, currency=operation.currency
        )
    arrived, fee = _checked(operation, draft)
    row = {
        "method": operation.method,
        "amount_minor": arrived,
        "fee_minor": fee,
        "currency": operation.currency,
        "reference": operation.reference,
        "booked_by": draft.change_set.actor,
        "booked_at": draft.context.decided_at,
    }
    draft.put("pay_out", key, row)
    post(draft, BANK, arrived, operation.currency)
    post(draft, FEES, fee, operation.currency)
    post(draft, CLEARING[operation.method], -(arrived + fee), operation.currency)


def _checked(operation: PayOut, draft: Draft) -> tuple[int, int]:
    """What arrived and what was kept, in minor units."""
    currency = operation.currency
    arrived, fee = to_minor(operation.amount, currency), to_minor(operation.fee, currency)
    if arrived == 0:
        raise InvalidMoney("nothing was paid out")
    if arrived + fee > PAY_OUT_PAYMENTS_MAX * to_minor(str(units_max(draft)), currency):
        most = f"{PAY_OUT_PAYMENTS_MAX} times {units_max(draft)} {currency}"
        raise InvalidMoney(f"one pay-out is about at most {most} here")
    return arrived, fee
