"""Billing (workflow), so far: cash taken is a fact of its own, kept whatever becomes of the business behind it.

Other modules add a rule to `payment.take` to say what the money was for. Invoices, allocation and the ledger follow.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from sync.kernel.changeset import Intent, Operation
from sync.kernel.draft import Draft
from sync.kernel.errors import InvalidMoney
from sync.kernel.ids import Id
from sync.kernel.module import Case, Entity, FieldKind, Module, ModuleKind, Ref
from sync.kernel.money import Amount, CurrencyCode, to_minor
from sync.modules.identity import PAYMENT_UNITS_MAX

PAYMENT = Entity(
    name="payment",
    plural="payments",
    fields={
        "order_id": FieldKind.ID,
        "method": FieldKind.TEXT,
        "amount_minor": FieldKind.INTEGER,
        "currency": FieldKind.TEXT,
        "taken_by": FieldKind.ID,
        "device_id": FieldKind.ID,
        "taken_at": FieldKind.TIME,
        "status": FieldKind.TEXT,
    },
    bucket_kinds=frozenset({"device"}),
    buckets=lambda row: (f"device:{row['device_id']}",),
    is_append_only=True,
)

SUSPENSE = Case(
    id="payments.suspense",
    sentence="{amount} {currency} were taken for an order that is not known here yet; they are on the books, and count "
    "towards it as soon as it is.",
)


class TakePayment(Operation):
    """Cash was taken for an order."""

    op: ClassVar = "payment.take"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = frozenset({"driver", "dispatcher", "admin"})
    resolves: ClassVar = frozenset({"compensate"})
    creates: ClassVar = "payment"
    order: Annotated[Id, Ref(entity="order")]
    amount: Amount
    currency: CurrencyCode
    method: Literal["cash"] = "cash"


def take_payment(operation: TakePayment, draft: Draft) -> None:
    """The payment's row; zero is no payment, and more than the town thinks possible is a slip or worse."""
    amount_minor = to_minor(operation.amount, operation.currency)
    if amount_minor == 0:
        raise InvalidMoney("nothing was taken")
    units_max = _payment_units_max(draft)
    if amount_minor > to_minor(str(units_max), operation.currency):
        raise InvalidMoney(f"one payment is at most {units_max} {operation.currency} here")
    row = {
        "order_id": operation.order,
        "method": operation.method,
        "amount_minor": amount_minor,
        "currency": operation.currency,
        "taken_by": draft.change_set.actor,
        "device_id": draft.change_set.device,
        "taken_at": draft.claimed_at,
        "status": "CONFIRMED",
    }
    draft.create("payment", operation.id, row)
    if draft.context.is_truth and draft.get("order", operation.order) is None:
        subject = ("payment", operation.id)
        draft.adjust(SUSPENSE, operation, subject=subject, amount=operation.amount, currency=operation.currency)


def _payment_units_max(draft: Draft) -> int:
    town = draft.get("town", draft.change_set.town)
    units_max: int = town["settings"]["payment_units_max"] if town else PAYMENT_UNITS_MAX
    return units_max


MODULE = Module(
    name="billing",
    kind=ModuleKind.WORKFLOW,
    needs=frozenset({"identity"}),
    entities=(PAYMENT,),
    operations=(TakePayment,),
    rules={TakePayment: take_payment},
    cases=(SUSPENSE,),
)
