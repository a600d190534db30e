"""What people, devices and the town's own workers may say about money. Amounts are decimal strings from 0 up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from sync.kernel.changeset import Intent, Operation, RowKey
from sync.kernel.ids import Id
from sync.kernel.module import Ref
from sync.kernel.money import Amount, CurrencyCode
from sync.modules.billing.entities import credit_id, invoice_id, mark_id, party_id, pay_out_id, till_id

Text = Annotated[str, StringConstraints(max_length=500)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Reference = Annotated[str, StringConstraints(max_length=100)]
Title = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Day = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")]
Msisdn = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{6,14}$")]
"""A phone number with its country, digits only (ITU-T E.164)."""

OrderRef = Annotated[Id, Ref(entity="order")]
InvoiceRef = Annotated[Id, Ref(entity="invoice")]
PaymentRef = Annotated[Id, Ref(entity="payment")]
RefundRef = Annotated[Id, Ref(entity="refund")]
DrawerRef = Annotated[Id, Ref(entity="drawer_session")]

OFFICE = frozenset({"dispatcher", "admin"})
COUNTERS = frozenset({"counter_clerk"}) | OFFICE
TILLS = frozenset({"driver", "school_office"}) | COUNTERS
TOWN_ONLY = frozenset[str]()
"""Nobody says it but the town itself: a worker that has asked the provider."""

INVOICE_LINES_MAX = 200


class Money(BaseModel):
    """So much of one currency."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    amount: Amount
    currency: CurrencyCode


class InvoiceLine(BaseModel):
    """What is charged for."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    text: Title
    amount: Amount


Sums = Annotated[list[Money], Field(max_length=8)]
InvoiceLines = Annotated[list[InvoiceLine], Field(min_length=1, max_length=INVOICE_LINES_MAX)]


class RegisterParty(Operation):
    """Somebody who may owe, or be owed."""

    op: ClassVar = "party.register"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = COUNTERS
    creates: ClassVar = "party"
    name: Title
    phone: Text = ""


class IssueInvoice(Operation):
    """The party owes the sum of the lines."""

    op: ClassVar = "invoice.issue"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = COUNTERS
    resolves: ClassVar = frozenset({"compensate"})
    creates: ClassVar = "invoice"
    party: Annotated[Id, Ref(entity="party")]
    title: Title
    lines: InvoiceLines
    currency: CurrencyCode
    due_on: Day | None = None


class CancelInvoice(Operation):
    """Nothing is owed for it after all; what was paid is credit of the party."""

    op: ClassVar = "invoice.cancel"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICE
    resolves: ClassVar = frozenset({"compensate"})
    invoice: InvoiceRef
    reason: Text = ""


class _ForSomething(Operation):
    """Money for an order or for an invoice: one of the two."""

    order: Annotated[Id | None, Ref(entity="order")] = None
    invoice: Annotated[Id | None, Ref(entity="invoice")] = None
    amount: Amount
    currency: CurrencyCode

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.order is None) == (self.invoice is None):
            msg = "a payment is for an order or for an invoice"
            raise ValueError(msg)
        return self

    def reads(self) -> Iterable[RowKey]:
        """What an order owes, and what its party has as credit."""
        if self.order is not None:
            yield "invoice", invoice_id(self.order)
            yield "credit", credit_id(party_id(self.order), self.currency)


class TakePayment(_ForSomething):
    """Money was taken: cash, at the door as `cod`, by a card, or a transfer that is seen under the bank's reference."""

    op: ClassVar = "payment.take"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = TILLS
    resolves: ClassVar = frozenset({"compensate"})
    creates: ClassVar = "payment"
    method: Literal["cash", "card", "cod", "bank"] = "cash"
    reference: Reference = ""

    @model_validator(mode="after")
    def _seen_at_the_bank(self) -> Self:
        if self.method == "bank" and not self.reference.strip():
            msg = "a transfer has the bank's reference"
            raise ValueError(msg)
        return self

    def reads_on(self, device: str) -> Iterable[RowKey]:
        """The drawer that the money went into, and the last payment that looked like this one."""
        yield "till", till_id(device)
        yield "payment_mark", mark_id("tap", device, self.order or self.invoice or "", self.amount, self.currency)


class RequestPayment(_ForSomething):
    """The customer shall pay, or says that they have paid, by mobile money: a claim, and no money yet.

    `reference` is what the customer shows of the provider's message, if anything.
    """

    op: ClassVar = "payment.request"
    intent: ClassVar = Intent.WISH
    offline_intent: ClassVar = Intent.FACT
    roles: ClassVar = TILLS
    creates: ClassVar = "payment"
    payer: Msisdn
    method: Literal["momo"] = "momo"
    reference: Reference = ""


class RequestCardPayment(_ForSomething):
    """A customer shall pay by card on the provider's page: no money before the provider says so."""

    op: ClassVar = "payment.request_card"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = TOWN_ONLY
    creates: ClassVar = "payment"
    method: Literal["card"] = "card"

    @property
    def reference(self) -> str:
        """There is none before the provider has one."""
        return ""


class _ByProvider(Operation):
    """The provider's word on a payment that was requested."""

    payment: PaymentRef


class ConfirmPayment(_ByProvider):
    """The provider has the money; `amount` is what came, `reference` the provider's own for it."""

    op: ClassVar = "payment.confirm"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = TOWN_ONLY
    amount: Amount
    currency: CurrencyCode
    reference: Annotated[str, StringConstraints(min_length=1, max_length=100)]


class FailPayment(_ByProvider):
    """The provider says that nothing came of it."""

    op: ClassVar = "payment.fail"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = TOWN_ONLY
    reason: Text = ""


class ExpirePayment(_ByProvider):
    """The provider has not said anything in time."""

    op: ClassVar = "payment.expire"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = TOWN_ONLY


class ReversePayment(_ByProvider):
    """The provider has taken the money back, under a reference of its own."""

    op: ClassVar = "payment.reverse"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = TOWN_ONLY
    reference: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    reason: Text = ""


class VoidPayment(Operation):
    """The cash was given back at once: it never was a payment. Only where and while it lies in the open drawer."""

    op: ClassVar = "payment.void"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = TILLS
    resolves: ClassVar = frozenset({"compensate"})
    payment: PaymentRef
    reason: Reason


class AssignPayments(Operation):
    """What waits in suspense is for that invoice: a stub's payments, or one that was confirmed."""

    op: ClassVar = "payment.assign"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICE
    resolves: ClassVar = frozenset({"reassign"})
    stub: Annotated[Id | None, Ref(entity="stub")] = None
    payment: Annotated[Id | None, Ref(entity="payment")] = None
    invoice: InvoiceRef

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.stub is None) == (self.payment is None):
            msg = "a stub's payments are assigned, or one payment"
            raise ValueError(msg)
        return self


class RequestRefund(Operation):
    """Some of a payment shall be given back."""

    op: ClassVar = "refund.request"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = COUNTERS
    resolves: ClassVar = frozenset({"compensate"})
    creates: ClassVar = "refund"
    payment: PaymentRef
    amount: Amount
    currency: CurrencyCode
    method: Literal["cash", "momo", "card", "bank"] = "cash"
    reason: Reason

    def reads(self) -> Iterable[RowKey]:
        """What became of the payment."""
        yield "settlement", self.payment


class ApproveRefund(Operation):
    """A second person agrees."""

    op: ClassVar = "refund.approve"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICE
    resolves: ClassVar = frozenset({"compensate"})
    refund: RefundRef


class RejectRefund(Operation):
    """It shall not be given back."""

    op: ClassVar = "refund.reject"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICE
    refund: RefundRef
    reason: Reason


class PayRefund(Operation):
    """Money was given back; `refund` is what had been agreed, if anything had."""

    op: ClassVar = "refund.pay"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = COUNTERS
    resolves: ClassVar = frozenset({"compensate"})
    payment: PaymentRef
    refund: Annotated[Id | None, Ref(entity="refund")] = None
    amount: Amount
    currency: CurrencyCode
    method: Literal["cash", "momo", "card", "bank"] = "cash"
    reference: Reference = ""

    def reads(self) -> Iterable[RowKey]:
        """What became of the payment."""
        yield "settlement", self.payment

    def reads_on(self, device: str) -> Iterable[RowKey]:
        """The drawer that the money came out of."""
        yield "till", till_id(device)


class ApplyCredit(Operation):
    """Credit is used to pay an invoice."""

    op: ClassVar = "credit.apply"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = COUNTERS
    resolves: ClassVar = frozenset({"compensate"})
    credit: Annotated[Id, Ref(entity="credit")]
    invoice: InvoiceRef
    amount: Amount


class OpenDrawer(Operation):
    """A drawer is in use from now on, with these floats in it."""

    op: ClassVar = "drawer.open"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = TILLS
    creates: ClassVar = "drawer_session"
    opening: Sums = Field(default_factory=list)

    def reads_on(self, device: str) -> Iterable[RowKey]:
        """The drawer before it."""
        yield "till", till_id(device)


class CountDrawer(Operation):
    """Somebody has counted what is in the drawer, without being told what should be."""

    op: ClassVar = "drawer.count"
    intent: ClassVar = Intent.OBSERVATION
    roles: ClassVar = TILLS
    resolves: ClassVar = frozenset({"compensate"})
    drawer: DrawerRef
    counted: Sums


class CloseDrawer(Operation):
    """What was counted is handed in; the day of this drawer is over."""

    op: ClassVar = "drawer.close"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = TILLS
    drawer: DrawerRef


class PayOut(Operation):
    """A provider has paid out what it had taken: `amount` is seen under the bank's `reference`, `fee` it has kept."""

    op: ClassVar = "clearing.pay_out"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICE
    method: Literal["momo", "card"]
    amount: Amount
    fee: Amount = "0"
    currency: CurrencyCode
    reference: Annotated[str, StringConstraints(min_length=1, max_length=100)]

    def reads(self) -> Iterable[RowKey]:
        """Whether it is booked already."""
        yield "pay_out", pay_out_id(self.method, self.currency, self.reference)
