"""What payments mean for orders: they count towards what the order owes, and what is beyond that becomes credit."""

from __future__ import annotations

from typing import Any

from sync.kernel.changeset import Fields, Operation
from sync.kernel.draft import Draft
from sync.kernel.money import MINOR_MAX, to_amount, to_minor
from sync.modules.billing import (
    ApplyCredit,
    ConfirmPayment,
    ExpirePayment,
    FailPayment,
    RequestCardPayment,
    RequestPayment,
    TakePayment,
)
from sync.modules.billing.entities import FREE, PARKED, party_id
from sync.modules.billing.invoices import set_aside
from sync.modules.billing.ledger import MONEY_SINCE, has_books
from sync.modules.billing.payments import payment_of, tell_unknown
from sync.modules.billing.settlements import adopt
from sync.modules.commerce import accounts, cases
from sync.modules.commerce.entities import is_void
from sync.modules.commerce.orders import settle


def post_payment(operation: Operation, draft: Draft) -> None:
    """What is on its way of a payment goes to its order, or comes back from there.

    Its name is in stubs that wait: it stays.
    """
    if draft.context.rules < MONEY_SINCE:
        assert isinstance(operation, TakePayment)
        if operation.order is not None:
            _post(operation, draft, operation.order, operation.id, to_minor(operation.amount, operation.currency))
        return
    payment = payment_of(operation, draft)
    settlement = draft.get("settlement", payment)
    if settlement is None and isinstance(operation, TakePayment) and has_books(draft):
        settlement = adopt(operation, draft)
    if settlement is None or not settlement["suspense_minor"]:
        return
    order_id = _order_of(operation, draft, settlement)
    if order_id is None:
        return
    if isinstance(operation, ConfirmPayment) and draft.get("order", order_id) is None:
        tell_unknown(operation, draft)
        return
    order = draft.need("order", order_id)
    if settlement["is_parked"] or settlement["parked_minor"]:
        party = party_id(order_id)
        set_aside(draft, payment, settlement, party, name=accounts.title_of(order), kind=PARKED)
        return
    _post(operation, draft, order_id, payment, settlement["suspense_minor"])


def use_credit(operation: ApplyCredit, draft: Draft) -> None:
    """An order shows what is paid on its invoice and what is left of its party's credit."""
    if not has_books(draft):
        return
    invoice, credit = draft.need("invoice", operation.invoice), draft.need("credit", operation.credit)
    party = draft.need("party", credit["party_id"])
    sources = ((invoice["source_entity"], invoice["source_id"]), (party["source_entity"], party["source_id"]))
    for order_id in dict.fromkeys(row_id for entity, row_id in sources if entity == "order"):
        order = draft.need("order", order_id)
        paid, left = accounts.shown(draft, order_id, order)
        settle(draft, order_id, draft.update("order", order_id, paid_minor=paid, credit_minor=left))


def check_due(operation: RequestPayment | RequestCardPayment, draft: Draft) -> None:
    """In the office nobody is asked for what is not due; what a customer says they have paid is heard."""
    order = draft.get("order", operation.order) if operation.order and draft.context.is_server else None
    if order is None:
        return
    if is_void(order["commercial"], order["custody"]) or order["total_minor"] <= order["paid_minor"]:
        raise draft.refuse(cases.NOTHING_DUE, number=order["number"])


def no_money_came(operation: FailPayment | ExpirePayment, draft: Draft) -> None:
    """An order that was handed over for a payment that came to nothing is unpaid."""
    settlement = draft.need("settlement", operation.payment)
    is_news = ("settlement", operation.payment) in draft.rows and settlement["status"] in {"FAILED", "EXPIRED"}
    order = draft.get("order", settlement["order_id"]) if settlement["order_id"] else None
    if not is_news or order is None or order["custody"] != "customer":
        return
    due = order["total_minor"] - order["paid_minor"]
    if due > 0:
        draft.adjust(
            cases.PAYMENT_FAILED_AFTER_DELIVERY,
            operation,
            subject=("order", settlement["order_id"]),
            said={"operation": operation.op},
            had={"total_minor": order["total_minor"], "paid_minor": order["paid_minor"]},
            outcome="delivered, unpaid",
            number=order["number"],
            due=to_amount(due, order["currency"]),
            currency=order["currency"],
        )


def _order_of(operation: Operation, draft: Draft, settlement: Fields) -> str | None:
    """The order that a payment is for, also by its invoice; another than was said when the office has assigned it."""
    if isinstance(operation, TakePayment) and operation.order:
        return operation.order
    if settlement["order_id"] or not settlement["invoice_id"]:
        order_id: str | None = settlement["order_id"]
        return order_id
    if not draft.context.is_truth or isinstance(operation, ConfirmPayment):
        invoice = draft.get("invoice", settlement["invoice_id"])
    else:
        invoice = draft.need("invoice", settlement["invoice_id"])
    is_of_order = invoice is not None and invoice["source_entity"] == "order" and draft.context.is_truth
    return invoice["source_id"] if invoice and is_of_order else None


def _post(operation: Operation, draft: Draft, order_id: str, payment: str, amount_minor: int) -> None:
    order = draft.need("order", order_id)
    settlement = draft.get("settlement", payment)
    currency = settlement["currency"] if settlement else getattr(operation, "currency")  # noqa: B009
    amount = to_amount(amount_minor, currency)
    if isinstance(operation, TakePayment):
        amount = operation.amount
    data = {"number": order["number"], "amount": amount, "currency": currency}
    said = {"amount": amount, "currency": currency}
    subject = ("payment", payment)
    if currency != order["currency"]:
        if settlement and draft.context.rules >= MONEY_SINCE:
            set_aside(draft, payment, settlement, party_id(order_id), name=accounts.title_of(order), kind=FREE)
        draft.adjust(
            cases.CURRENCY_MISMATCH,
            operation,
            subject=subject,
            said=said,
            had={"currency": order["currency"]},
            outcome="kept beside the order",
            wanted=order["currency"],
            **data,
        )
        return
    received_minor = order["paid_minor"] + order["credit_minor"]
    if received_minor + amount_minor > MINOR_MAX:
        draft.adjust(
            cases.SUM_TOO_LARGE,
            operation,
            subject=subject,
            said=said,
            had={"received_minor": received_minor},
            outcome="kept beside the order",
            **data,
        )
        return
    after = settle(draft, order_id, {**order, "credit_minor": order["credit_minor"] + amount_minor}, payment=payment)
    excess = after["credit_minor"] - order["credit_minor"]
    if excess > 0:
        _tell_excess(operation, draft, payment, (order, after), data)


def _tell_excess(
    operation: Operation, draft: Draft, payment: str, orders: tuple[Fields, Fields], data: dict[str, Any]
) -> None:
    order, after = orders
    currency = order["currency"]
    case = cases.PAID_AFTER_CANCEL if is_void(order["commercial"], order["custody"]) else cases.OVERPAYMENT
    is_momo = isinstance(operation, ConfirmPayment) and draft.need("payment", payment)["method"] == "momo"
    if case is cases.OVERPAYMENT and is_momo:
        case = cases.PAID_BEFORE_MOMO
    draft.adjust(
        case,
        operation,
        subject=("payment", payment),
        said={name: data[name] for name in ("amount", "currency")},
        had={"total_minor": order["total_minor"], "paid_minor": order["paid_minor"]},
        outcome=f"credit {to_amount(after['credit_minor'], currency)} {currency}",
        excess=to_amount(after["credit_minor"] - order["credit_minor"], currency),
        **data,
    )
