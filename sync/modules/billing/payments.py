"""Payments: money that was taken is kept whatever becomes of the business behind it.

Each payment is in suspense first, and goes on at once to what it was for, by the rule of the module that knows that:
here for invoices, in commerce for orders. When that is not known yet, the rule waits and the money stays in suspense.
What is given back takes the same way: the `settlement` says how much of a payment is on its way (`suspense_minor`,
below zero for money that goes back).
"""

from __future__ import annotations

from sync.kernel.casework import OPEN_STUBS
from sync.kernel.changeset import Fields, Operation
from sync.kernel.draft import Draft
from sync.kernel.money import MINOR_MAX, to_amount
from sync.modules.billing import cases, drawers
from sync.modules.billing.entities import FREE, PARKED, credit_id
from sync.modules.billing.invoices import Incoming, change_credit, rebook, set_aside
from sync.modules.billing.ledger import BANK, CARD, SUSPENSE, drawer_account, post
from sync.modules.billing.marks import look_for_double
from sync.modules.billing.operations import (
    ApproveRefund,
    AssignPayments,
    ConfirmPayment,
    TakePayment,
    VoidPayment,
)
from sync.modules.billing.refunds import there_of
from sync.modules.billing.settlements import begin, checked_amount, is_booked, payment_row, settlement_of, turn

CASH = frozenset({"cash", "cod"})
_ACCOUNTS = {"card": CARD, "bank": BANK}


def take(operation: TakePayment, draft: Draft) -> None:
    """The payment's row, and the money in its drawer, on its way from the card's bank, or there."""
    amount_minor = checked_amount(operation, draft)
    is_cash = operation.method in CASH
    drawer = drawers.put_in(draft, operation, amount_minor) if is_cash and is_booked(draft) else None
    draft.create("payment", operation.id, payment_row(operation, draft, amount_minor, "CONFIRMED", drawer))
    if is_booked(draft):
        begin(draft, operation, "CONFIRMED", amount_minor, in_suspense=amount_minor)
        account = drawer_account(drawer) if drawer else _ACCOUNTS[operation.method]
        post(draft, account, amount_minor, operation.currency, payment_id=operation.id, drawer_id=drawer)
        post(draft, SUSPENSE, -amount_minor, operation.currency, payment_id=operation.id)
        look_for_double(operation, draft)
    target = ("order", operation.order) if operation.order else ("invoice", str(operation.invoice))
    if draft.context.is_truth and draft.get(*target) is None:
        subject = ("payment", operation.id)
        case = cases.SUSPENSE if operation.order else cases.INVOICE_SUSPENSE
        draft.adjust(case, operation, subject=subject, amount=operation.amount, currency=operation.currency)


def void(operation: VoidPayment, draft: Draft) -> None:
    """The cash goes out of the drawer as it came in, and what it had paid is owed again."""
    payment = draft.need("payment", operation.payment)
    settlement = settlement_of(draft, operation.payment)
    drawer_id = payment.get("drawer_id")  # devices are not told of what is not there
    drawer = draft.get("drawer_session", drawer_id) if drawer_id else None
    is_here = settlement["status"] == "CONFIRMED" and drawer is not None and drawers.is_own(draft, drawer)
    is_counted = drawer and drawer["counted_at"] and drawer["counted_at"] >= payment["taken_at"]
    has_all = not settlement["refunded_minor"] and not settlement["suspense_minor"]
    has_all = has_all and payment["amount_minor"] <= there_of(draft, settlement)
    if not (drawer_id and is_here and has_all and drawer and drawer["state"] == "OPEN") or is_counted:
        amount = to_amount(payment["amount_minor"], payment["currency"])
        raise draft.refuse(cases.NOT_VOIDABLE, amount=amount, currency=payment["currency"])
    minor, currency = payment["amount_minor"], payment["currency"]
    drawers.take_out(draft, drawer_id, currency, minor)
    post(draft, SUSPENSE, minor, currency, payment_id=operation.payment)
    account = drawer_account(drawer_id)
    post(draft, account, -minor, currency, payment_id=operation.payment, drawer_id=drawer_id)
    turn(draft, operation, operation.payment, "VOIDED", reason=operation.reason, suspense_minor=-minor)


def assign(operation: AssignPayments, draft: Draft) -> None:
    """The engine has what waits count towards this invoice, as if it had been said of it."""
    draft.need("invoice", operation.invoice)
    if operation.stub is None:
        settlement = settlement_of(draft, str(operation.payment))
        if settlement["suspense_minor"] <= 0:
            raise draft.refuse(cases.NOTHING_IN_SUSPENSE)
        draft.update("settlement", str(operation.payment), order_id=None, invoice_id=operation.invoice)
        return
    stub = draft.need("stub", operation.stub)
    if stub["state"] not in OPEN_STUBS or stub["awaited_entity"] != "invoice":
        raise draft.refuse(cases.NOTHING_IN_SUSPENSE)
    draft.update("stub", operation.stub, state="assigned", given_id=operation.invoice)


def place(operation: Operation, draft: Draft) -> None:
    """What is on its way of a payment goes to its invoice, or comes back from there; an order's is not for here."""
    payment = payment_of(operation, draft)
    settlement = draft.get("settlement", payment)
    if settlement is None or settlement["invoice_id"] is None or not settlement["suspense_minor"]:
        return
    meant = operation.invoice if isinstance(operation, TakePayment) and operation.invoice else settlement["invoice_id"]
    if isinstance(operation, ConfirmPayment) and draft.get("invoice", meant) is None:
        tell_unknown(operation, draft)
        return
    invoice = draft.need("invoice", meant)  # another than was said when the office has assigned it
    if meant != settlement["invoice_id"]:
        settlement = draft.update("settlement", payment, invoice_id=meant)
    if invoice["source_entity"] == "order" and draft.context.is_truth:
        return
    if settlement["is_parked"] or settlement["parked_minor"]:
        set_aside(draft, payment, settlement, invoice["party_id"], name=invoice["title"], kind=PARKED)
        return
    if settlement["currency"] != invoice["currency"]:
        _keep_beside(operation, draft, payment, settlement, invoice)
        return
    _settle(operation, draft, payment, settlement, meant)


def payment_of(operation: Operation, draft: Draft) -> str:
    """The payment that an operation is about: the one it names, also by a refund, or the one it makes."""
    if isinstance(operation, ApproveRefund):
        of_refund: str = draft.need("refund", operation.refund)["payment_id"]
        return of_refund
    named: str | None = getattr(operation, "payment", operation.id)
    return named or operation.id


def tell_unknown(operation: ConfirmPayment, draft: Draft) -> None:
    """The provider has money for something that is not known here: it is in suspense, and somebody has to look."""
    draft.adjust(
        cases.CONFIRMED_UNKNOWN,
        operation,
        subject=("payment", operation.payment),
        said={"reference": operation.reference},
        outcome="in suspense",
        amount=operation.amount,
        currency=operation.currency,
    )


def _settle(operation: Operation, draft: Draft, payment: str, settlement: Fields, key: str) -> None:
    """On the invoice what it takes, the rest as credit; what goes back comes from the credit first."""
    invoice = draft.need("invoice", key)
    minor, paid = settlement["suspense_minor"], invoice["paid_minor"]
    is_void = invoice["state"] == "CANCELLED"
    if minor > 0:
        placed = 0 if is_void else min(minor, invoice["remaining_minor"])
    else:
        credit = draft.get("credit", credit_id(invoice["party_id"], invoice["currency"]))
        spare = min(settlement["credited_minor"], credit["left_minor"]) if credit else 0
        placed = -min(paid, max(0, -minor - max(0, spare)))
    credited = minor - placed
    if credited and _is_beyond(draft, invoice, credited):
        _tell_too_large(operation, draft, payment, invoice, minor)
        return
    change_credit(draft, invoice["party_id"], invoice["currency"], credited, name=invoice["title"])
    incoming = Incoming(minor=minor, payment_id=payment)
    total = invoice["total_minor"]
    rebook(
        draft,
        key,
        total_minor=total,
        paid_minor=paid + placed,
        is_void=is_void,
        incoming=incoming,
        allocated_minor=settlement["allocated_minor"],
    )
    sums = {"allocated_minor": placed, "credited_minor": credited}
    draft.update("settlement", payment, suspense_minor=0, **{name: settlement[name] + by for name, by in sums.items()})
    if credited > 0:
        _tell_excess(operation, draft, payment, invoice, credited, is_void=is_void)


def _tell_too_large(operation: Operation, draft: Draft, payment: str, invoice: Fields, minor: int) -> None:
    amount, currency = to_amount(minor, invoice["currency"]), invoice["currency"]
    draft.adjust(
        cases.INVOICE_SUM_TOO_LARGE,
        operation,
        subject=("payment", payment),
        said={"operation": operation.op},
        had={"party_id": invoice["party_id"]},
        outcome="in suspense",
        title=invoice["title"],
        amount=amount,
        currency=currency,
    )


def _tell_excess(
    operation: Operation, draft: Draft, payment: str, invoice: Fields, excess: int, *, is_void: bool
) -> None:
    currency = invoice["currency"]
    draft.adjust(
        cases.INVOICE_PAID_AFTER_CANCEL if is_void else cases.INVOICE_OVERPAID,
        operation,
        subject=("payment", payment),
        said={"operation": operation.op},
        had={"total_minor": invoice["total_minor"], "paid_minor": invoice["paid_minor"], "state": invoice["state"]},
        outcome=f"credit {to_amount(excess, currency)} {currency}",
        title=invoice["title"],
        excess=to_amount(excess, currency),
        currency=currency,
    )


def _keep_beside(operation: Operation, draft: Draft, payment: str, settlement: Fields, invoice: Fields) -> None:
    amount = to_amount(settlement["suspense_minor"], settlement["currency"])
    set_aside(draft, payment, settlement, invoice["party_id"], name=invoice["title"], kind=FREE)
    draft.adjust(
        cases.INVOICE_CURRENCY,
        operation,
        subject=("payment", payment),
        said={"amount": amount, "currency": settlement["currency"]},
        had={"currency": invoice["currency"]},
        outcome=f"credit {amount} {settlement['currency']}",
        title=invoice["title"],
        wanted=invoice["currency"],
        amount=amount,
        currency=settlement["currency"],
    )


def _is_beyond(draft: Draft, invoice: Fields, minor: int) -> bool:
    credit = draft.get("credit", credit_id(invoice["party_id"], invoice["currency"]))
    return (credit["left_minor"] if credit else 0) + minor > MINOR_MAX
