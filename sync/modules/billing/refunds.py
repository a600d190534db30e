"""Refunds: asked for, agreed to by a second person above the town's limit, and given back.

What is agreed comes out of what the payment had paid or left as credit, into refunds payable; what is given back comes
out of there. What was given back without being agreed is a fact: it comes out of the payment all the same.
"""

from __future__ import annotations

from sync.kernel.changeset import Fields, Operation
from sync.kernel.draft import Draft
from sync.kernel.errors import InvalidMoney
from sync.kernel.money import to_amount, to_minor
from sync.modules.billing import cases, drawers
from sync.modules.billing.entities import FREE, OWED, PARKED, credit_id, invoice_id
from sync.modules.billing.invoices import change_credit
from sync.modules.billing.ledger import (
    BANK,
    CARD,
    MOMO,
    REFUNDS,
    SUSPENSE,
    credit_account,
    drawer_account,
    has_books,
    post,
)
from sync.modules.billing.marks import RETURNED, claim_reference
from sync.modules.billing.operations import ApproveRefund, PayRefund, RejectRefund, RequestRefund
from sync.modules.billing.settlements import checked_amount, settlement_of, turn

REFUND_UNITS_MAX = 100
"""The most that one person may refund, in whole units of its currency, where a town says nothing else."""

_ACCOUNTS = {"momo": MOMO, "card": CARD, "bank": BANK}


def request(operation: RequestRefund, draft: Draft) -> None:
    """Bounded by what is left of the payment; small ones are agreed at once."""
    settlement = settlement_of(draft, operation.payment)
    minor = to_minor(operation.amount, operation.currency)
    left = min(_left(settlement), there_of(draft, settlement)) if settlement["currency"] == operation.currency else 0
    if not 0 < minor <= left:
        told = to_amount(left, operation.currency)
        raise draft.refuse(cases.REFUND_TOO_MUCH, left=told, currency=operation.currency, amount=operation.amount)
    row = {
        "payment_id": operation.payment,
        "amount_minor": minor,
        "currency": operation.currency,
        "method": operation.method,
        "reason": operation.reason,
        "state": "REQUESTED",
        "paid_minor": 0,
        "device_id": draft.change_set.device,
        "requested_by": draft.change_set.actor,
        "requested_at": draft.claimed_at,
        "decided_by": None,
        "paid_by": None,
        "reference": "",
    }
    draft.create("refund", operation.id, row)
    draft.update("settlement", operation.payment, refunded_minor=settlement["refunded_minor"] + minor)
    if settlement["refunded_minor"] + minor <= to_minor(str(_units_max(draft)), operation.currency):
        _agree(operation, draft, operation.id)


def approve(operation: ApproveRefund, draft: Draft) -> None:
    """By another person than the one who asked."""
    refund = draft.need("refund", operation.refund)
    if refund["state"] != "REQUESTED":
        raise draft.refuse(cases.REFUND_DECIDED, state=refund["state"].lower())
    if refund["requested_by"] == draft.change_set.actor:
        raise draft.refuse(cases.SECOND_PERSON)
    settlement = draft.need("settlement", refund["payment_id"])
    if settlement["status"] != "CONFIRMED":
        raise draft.refuse(cases.REFUND_UNFOUNDED, status=settlement["status"].lower())
    asked, left = refund["amount_minor"] - refund["paid_minor"], there_of(draft, settlement)
    if asked > max(left, 0):
        told = (to_amount(minor, refund["currency"]) for minor in (asked, left))
        raise draft.refuse(
            cases.REFUND_TOO_MUCH, **dict(zip(("amount", "left"), told, strict=True)), currency=refund["currency"]
        )
    _agree(operation, draft, operation.refund)


def reject(operation: RejectRefund, draft: Draft) -> None:
    """What was asked for can be asked for again."""
    refund = draft.need("refund", operation.refund)
    if refund["state"] != "REQUESTED":
        raise draft.refuse(cases.REFUND_DECIDED, state=refund["state"].lower())
    settlement = settlement_of(draft, refund["payment_id"])
    left = settlement["refunded_minor"] - (refund["amount_minor"] - refund["paid_minor"])  # what was paid stays paid
    draft.update("settlement", refund["payment_id"], refunded_minor=left)
    draft.update("refund", operation.refund, state="REJECTED", decided_by=draft.change_set.actor)


def pay(operation: PayRefund, draft: Draft) -> None:
    """Out of the drawer or an account, against what was agreed; the rest against the payment itself."""
    settlement = settlement_of(draft, operation.payment)
    minor, currency = checked_amount(operation, draft), operation.currency
    if currency != settlement["currency"]:
        _pay_other(operation, draft, settlement, minor)
        return
    refund = draft.get("refund", operation.refund) if operation.refund else None
    is_unseen = operation.refund is not None and not draft.sees("refund", operation.refund)
    agreed = minor if is_unseen else _open(refund, operation, "APPROVED")
    covered = min(minor, agreed)
    told = covered or min(minor, _open(refund, operation, "REQUESTED"))  # it was asked for, so it counts already
    _take_out(operation, draft, minor)
    post(draft, REFUNDS, covered, currency, payment_id=operation.payment)
    post(draft, SUSPENSE, minor - covered, currency, payment_id=operation.payment)
    if operation.refund and refund and told:
        paid = refund["paid_minor"] + told
        state = "PAID" if covered and paid == refund["amount_minor"] else refund["state"]
        by = {"paid_by": draft.change_set.actor, "reference": operation.reference}
        draft.update("refund", operation.refund, paid_minor=paid, state=state, **by)
    if operation.reference and draft.context.is_truth and _is_by_provider(operation, draft):
        claim_reference(draft, RETURNED, operation.reference, operation.payment)
    _step(operation, draft, settlement, minor - covered, untold=minor - told)
    if minor > covered:
        _tell_excess(operation, draft, minor - covered, agreed)


def _take_out(operation: PayRefund, draft: Draft, minor: int) -> None:
    """Out of where it was paid from."""
    drawer = drawers.put_in(draft, operation, -minor) if operation.method == "cash" else None
    account = drawer_account(drawer) if drawer else _ACCOUNTS[operation.method]
    post(draft, account, -minor, operation.currency, payment_id=operation.payment, drawer_id=drawer)


def _pay_other(operation: PayRefund, draft: Draft, settlement: Fields, minor: int) -> None:
    """What was given back in another currency than was paid happened all the same: the party owes it."""
    wanted, currency = settlement["currency"], operation.currency
    invoice = _invoice_of(draft, settlement)
    if invoice is None and draft.context.is_truth:
        raise InvalidMoney(f"a payment in {wanted} is given back in {wanted}")
    _take_out(operation, draft, minor)
    if invoice is not None:
        party = invoice["party_id"]
        change_credit(draft, party, currency, -minor, name=invoice["title"], kind=OWED)
        post(draft, credit_account(party), minor, currency, party_id=party, payment_id=operation.payment)
    draft.adjust(
        cases.REFUND_CURRENCY,
        operation,
        subject=("payment", operation.payment),
        said={"amount": operation.amount, "currency": currency},
        had={"currency": wanted},
        outcome=f"owed {operation.amount} {currency}",
        amount=operation.amount,
        currency=currency,
        wanted=wanted,
    )


def _invoice_of(draft: Draft, settlement: Fields) -> Fields | None:
    return draft.get("invoice", settlement["invoice_id"] or invoice_id(settlement["order_id"]))


def _open(refund: Fields | None, operation: PayRefund, state: str) -> int:
    """What was not paid yet of the refund that is named, if that is in this state and of this payment."""
    if refund is None or refund["state"] != state or refund["payment_id"] != operation.payment:
        return 0
    left: int = refund["amount_minor"] - refund["paid_minor"]
    return left


def _step(operation: PayRefund, draft: Draft, settlement: Fields, excess: int, *, untold: int) -> None:
    now = {"refunded_minor": settlement["refunded_minor"] + untold}
    if excess:
        now["suspense_minor"] = settlement["suspense_minor"] - excess
    turn(draft, operation, operation.payment, settlement["status"], **now)


def _tell_excess(operation: PayRefund, draft: Draft, excess: int, agreed: int) -> None:
    currency = operation.currency
    draft.adjust(
        cases.OVER_REFUND,
        operation,
        subject=("payment", operation.payment),
        said={"amount": operation.amount, "currency": currency},
        had={"agreed_minor": agreed},
        outcome="owed again",
        excess=to_amount(excess, currency),
        currency=currency,
    )


def _agree(operation: Operation, draft: Draft, key: str) -> None:
    """The money is owed to the customer from now on, but for what they have been given already."""
    refund = draft.need("refund", key)
    payment, minor, currency = refund["payment_id"], refund["amount_minor"] - refund["paid_minor"], refund["currency"]
    draft.update("refund", key, state="APPROVED" if minor else "PAID", decided_by=draft.change_set.actor)
    settlement = draft.need("settlement", payment)
    post(draft, REFUNDS, -minor, currency, payment_id=payment)
    post(draft, SUSPENSE, minor, currency, payment_id=payment)
    turn(draft, operation, payment, settlement["status"], suspense_minor=settlement["suspense_minor"] - minor)
    if minor and refund["method"] == "momo":
        draft.effect("momo.refund", refund=key)
    elif minor and refund["method"] == "card" and _is_online(draft, payment):
        draft.effect("card.refund", refund=key)


def _is_by_provider(operation: PayRefund, draft: Draft) -> bool:
    return operation.method == "momo" or (operation.method == "card" and _is_online(draft, operation.payment))


def _is_online(draft: Draft, payment: str) -> bool:
    """Whether a provider was asked for it; what a terminal took goes back by the terminal."""
    return bool(draft.need("payment", payment)["status"] == "PENDING")


def there_of(draft: Draft, settlement: Fields) -> int:
    """What is still there of what a payment's party has paid: on its invoice, or as credit that was not used since.

    Devices do not keep credit, and money of before there were books has no invoice: there all of it counts.
    """
    whole, currency = int(settlement["amount_minor"]), settlement["currency"]
    invoice = _invoice_of(draft, settlement) if has_books(draft) else None
    if invoice is None:
        return whole
    if invoice["currency"] != currency and draft.get("credit", credit_id(invoice["party_id"], currency)) is None:
        return whole  # beside an order of before there were books, as no credit at all
    paid: int = invoice["paid_minor"] if invoice["currency"] == currency else 0
    free = _credit(draft, invoice["party_id"], currency, FREE)
    parked: int = min(settlement["parked_minor"], _credit(draft, invoice["party_id"], currency, PARKED))
    return paid + free + parked


def _credit(draft: Draft, party: str, currency: str, kind: str) -> int:
    credit = draft.get("credit", credit_id(party, currency, kind))
    left: int = max(0, credit["left_minor"]) if credit else 0
    return left


def _left(settlement: Fields) -> int:
    """What came and was not given back, nor is about to be; nothing while it is not known what it is."""
    if settlement["status"] != "CONFIRMED" or settlement["suspense_minor"]:
        return 0
    left: int = settlement["amount_minor"] - settlement["refunded_minor"]
    return left


def _units_max(draft: Draft) -> int:
    town = draft.get("town", draft.change_set.town)
    units: int | None = town["settings"].get("refund_units_max") if town else None
    return REFUND_UNITS_MAX if units is None else units
