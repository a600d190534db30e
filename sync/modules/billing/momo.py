"""Mobile money, and cards online: a claim or a request is no money; the provider's word is, whenever it comes.

Only the town itself says what the provider has said, once a worker has asked. PENDING becomes CONFIRMED, FAILED or
EXPIRED; what comes after a failure is money all the same, and what is CONFIRMED stays so until the provider takes it
back.
"""

from __future__ import annotations

from sync.kernel.changeset import Fields
from sync.kernel.draft import Draft
from sync.kernel.ids import derived_id
from sync.kernel.money import to_amount, to_minor
from sync.modules.billing import cases
from sync.modules.billing.entities import NOT_ARRIVED
from sync.modules.billing.ledger import CARD, MOMO, SUSPENSE, post
from sync.modules.billing.marks import claim_reference, last_asked, park
from sync.modules.billing.operations import ConfirmPayment, ExpirePayment, FailPayment, RequestPayment, ReversePayment
from sync.modules.billing.settlements import begin, checked_amount, payment_row, settlement_of, turn

INVOICES_ASKED_SINCE = 4
"""The rules since which also an invoice is asked for once at a time (`sync.kernel.draft.RULES`)."""


def request(operation: RequestPayment, draft: Draft) -> None:
    """A claim: nothing is posted before the provider's word. A worker asks for the money, or whether it came."""
    amount_minor = checked_amount(operation, draft)
    _ask_once(operation, draft)
    if draft.context.is_server:
        draft.need(*(("order", operation.order) if operation.order else ("invoice", str(operation.invoice))))
    draft.create("payment", operation.id, payment_row(operation, draft, amount_minor, "PENDING", None))
    begin(draft, operation, "PENDING", amount_minor, in_suspense=0)
    draft.effect("momo.request", payment=operation.id)
    if not draft.context.is_server and draft.context.is_truth:
        subject = ("payment", operation.id)
        draft.adjust(
            cases.CLAIM_PENDING, operation, subject=subject, amount=operation.amount, currency=operation.currency
        )


def _ask_once(operation: RequestPayment, draft: Draft) -> None:
    """The town asks nobody for what they are being asked for already; a claim of a device is taken as it is."""
    target = operation.order
    if draft.context.rules >= INVOICES_ASKED_SINCE:
        target = target or operation.invoice
    if not draft.context.is_server or not target:
        return
    other = last_asked(draft, target, operation.id)
    settlement = draft.get("settlement", other) if other else None
    if settlement is not None and settlement["status"] == "PENDING":
        is_card = _method(draft, str(other)) == "card"
        asked = {"amount": to_amount(settlement["amount_minor"], settlement["currency"])}
        case = cases.UNDER_WAY if is_card else cases.ASKED_ALREADY
        raise draft.refuse(case, **asked, currency=settlement["currency"])


def confirm(operation: ConfirmPayment, draft: Draft) -> None:
    """The provider's amount is what came. Once: what it confirms again, or after a failure, counts no second time."""
    settlement = settlement_of(draft, operation.payment)
    subject = ("payment", operation.payment)
    came = to_minor(operation.amount, operation.currency)
    said = {"amount": operation.amount, "currency": operation.currency, "reference": operation.reference}
    was = settlement["status"]
    if was not in NOT_ARRIVED:
        if settlement["reference"] != operation.reference:
            draft.adjust(cases.CONFIRMED_TWICE, operation, subject=subject, said=said, had={"status": was}, **said)
        return
    method = _method(draft, operation.payment)
    post(draft, _clearing(method), came, operation.currency, payment_id=operation.payment)
    post(draft, SUSPENSE, -came, operation.currency, payment_id=operation.payment)
    in_suspense = settlement["suspense_minor"] + came  # below zero when some was given back of it already
    amounts = {"amount_minor": came, "currency": operation.currency, "suspense_minor": in_suspense}
    turn(draft, operation, operation.payment, "CONFIRMED", reference=operation.reference, **amounts)
    if was != "PENDING":
        draft.adjust(cases.LATE_CONFIRMATION, operation, subject=subject, said=said, had={"status": was}, **said)
    asked = (settlement["amount_minor"], settlement["currency"])
    if asked != (came, operation.currency):
        had = {"amount": to_amount(*asked), "currency": asked[1]}
        data = {**said, "asked": f"{had['amount']} {had['currency']}"}
        draft.adjust(cases.AMOUNT_MISMATCH, operation, subject=subject, said=said, had=had, **data)
    other = claim_reference(draft, method, operation.reference, operation.payment)
    if other:
        park(draft, operation, operation.payment, other)


def reverse(operation: ReversePayment, draft: Draft) -> None:
    """The provider took the money back: what it had paid is owed again."""
    settlement = settlement_of(draft, operation.payment)
    if settlement["status"] != "CONFIRMED":
        return
    minor, currency = settlement["amount_minor"], settlement["currency"]  # also what was refunded: that is lost twice
    post(draft, SUSPENSE, minor, currency, payment_id=operation.payment)
    post(draft, _clearing(_method(draft, operation.payment)), -minor, currency, payment_id=operation.payment)
    draft.adjust(
        cases.REVERSED,
        operation,
        subject=("payment", operation.payment),
        said={"reference": operation.reference},
        had={"status": "CONFIRMED"},
        outcome="owed again",
        amount=to_amount(minor, currency),
        currency=currency,
    )
    way = settlement["suspense_minor"] - minor
    turn(draft, operation, operation.payment, "REVERSED", reason=operation.reason, suspense_minor=way)


def fail(operation: FailPayment, draft: Draft) -> None:
    """Nothing came of it; once it is confirmed it stays so, whatever else the provider says."""
    settlement = settlement_of(draft, operation.payment)
    if settlement["status"] == "PENDING":
        turn(draft, operation, operation.payment, "FAILED", reason=operation.reason)
        return
    conflict = derived_id("conflict", operation.payment, cases.FAILED_AFTER_CONFIRMATION.id)
    if settlement["status"] == "CONFIRMED" and draft.get("conflict", conflict) is None:  # told once, however often
        draft.adjust(
            cases.FAILED_AFTER_CONFIRMATION,
            operation,
            subject=("payment", operation.payment),
            said={"reason": operation.reason},
            had={"status": "CONFIRMED"},
            outcome="stays confirmed",
            conflict_id=conflict,
            **_amount(settlement),
        )


def expire(operation: ExpirePayment, draft: Draft) -> None:
    """Nobody has said anything in time; finance asks the provider."""
    settlement = settlement_of(draft, operation.payment)
    if settlement["status"] != "PENDING":
        return
    turn(draft, operation, operation.payment, "EXPIRED", reason="no word from the provider")
    is_card = _method(draft, operation.payment) == "card"
    draft.adjust(
        cases.CARD_EXPIRED if is_card else cases.EXPIRED,
        operation,
        subject=("payment", operation.payment),
        had={"status": "PENDING"},
        outcome="expired",
        **_amount(settlement),
    )


def _clearing(method: str) -> str:
    return CARD if method == "card" else MOMO


def _method(draft: Draft, payment: str) -> str:
    method: str = draft.need("payment", payment)["method"]
    return method


def _amount(settlement: Fields) -> Fields:
    currency = settlement["currency"]
    return {"amount": to_amount(settlement["amount_minor"], currency), "currency": currency}
