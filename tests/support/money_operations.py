"""One operation about money of each kind, on a stage that has everything they are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sync.kernel.changeset import Operation
from sync.kernel.ids import derived_id
from sync.modules.billing import (
    ApplyCredit,
    ApproveRefund,
    AssignPayments,
    CancelInvoice,
    CloseDrawer,
    ConfirmPayment,
    CountDrawer,
    ExpirePayment,
    FailPayment,
    InvoiceLine,
    IssueInvoice,
    OpenDrawer,
    PayOut,
    PayRefund,
    RegisterParty,
    RejectRefund,
    RequestCardPayment,
    RequestPayment,
    RequestRefund,
    ReversePayment,
    VoidPayment,
)
from sync.modules.billing.entities import credit_id
from sync.modules.schools import DeleteStudent, OpenSchool, ScheduleFee, UpsertStudent, WithdrawStudent
from tests.support.counters import CounterTown

LINES = [InvoiceLine(text="t", amount="1.00")]


class MoneyStage:
    """A paid invoice, an open one, credit, a refund that waits, a drawer, mobile money and a student."""

    def __init__(self, town: CounterTown) -> None:
        self.town = town
        self.invoice, self.student = town.bills("500.00"), derived_id("student")
        self.payment, _ = town.pays(self.invoice, "600.00")
        self.open_invoice = town.bills("9.00")
        self.credit = credit_id(town.party, "KES")
        self.momo = town.asks(invoice=self.open_invoice)
        refund = RequestRefund(id=town.new_id(), payment=self.payment, amount="200.00", currency="KES", reason="r")
        town.does(town.desk_a, town.clerk, refund)
        self.refund, self.drawer = refund.id, town.drawer()
        town.office(
            UpsertStudent(id=self.student, school=town.school, number="1", name="A", class_name="1"),
        )


def _school(stage: MoneyStage) -> Operation:
    student = [stage.student]
    said = {"title": "t", "lines": LINES, "currency": "KES", "due_on": "2026-12-01", "students": student}
    return ScheduleFee.model_validate({"school": stage.town.school, **said})


def _request(stage: MoneyStage) -> Operation:
    return RequestPayment(invoice=stage.open_invoice, amount="1.00", currency="KES", payer="254700000001")


def _request_card(stage: MoneyStage) -> Operation:
    return RequestCardPayment(invoice=stage.open_invoice, amount="1.00", currency="KES")


def _confirm(stage: MoneyStage) -> Operation:
    return ConfirmPayment(payment=stage.momo, amount="9.00", currency="KES", reference="M")


def _refund(stage: MoneyStage) -> Operation:
    return RequestRefund(payment=stage.payment, amount="1.00", currency="KES", reason="r")


def _upsert(stage: MoneyStage) -> Operation:
    return UpsertStudent(school=stage.town.school, number="2", name="B", class_name="1")


MONEY_OPERATIONS: Mapping[str, Callable[[MoneyStage], Operation]] = {
    "party.register": lambda _stage: RegisterParty(name="P"),
    "invoice.issue": lambda stage: IssueInvoice(party=stage.town.party, title="t", lines=LINES, currency="KES"),
    "invoice.cancel": lambda stage: CancelInvoice(invoice=stage.open_invoice),
    "payment.request": _request,
    "payment.request_card": _request_card,
    "payment.confirm": _confirm,
    "payment.fail": lambda stage: FailPayment(payment=stage.momo),
    "payment.expire": lambda stage: ExpirePayment(payment=stage.momo),
    "payment.reverse": lambda stage: ReversePayment(payment=stage.payment, reference="R"),
    "payment.void": lambda stage: VoidPayment(payment=stage.payment, reason="r"),
    "payment.assign": lambda stage: AssignPayments(payment=stage.payment, invoice=stage.open_invoice),
    "refund.request": _refund,
    "refund.approve": lambda stage: ApproveRefund(refund=stage.refund),
    "refund.reject": lambda stage: RejectRefund(refund=stage.refund, reason="r"),
    "refund.pay": lambda stage: PayRefund(payment=stage.payment, amount="1.00", currency="KES"),
    "credit.apply": lambda stage: ApplyCredit(credit=stage.credit, invoice=stage.open_invoice, amount="1.00"),
    "drawer.open": lambda _stage: OpenDrawer(),
    "drawer.count": lambda stage: CountDrawer(drawer=stage.drawer, counted=[]),
    "drawer.close": lambda stage: CloseDrawer(drawer=stage.drawer),
    "clearing.pay_out": lambda _stage: PayOut(method="momo", amount="9.00", currency="KES", reference="B"),
    "school.open": lambda _stage: OpenSchool(name="S"),
    "student.upsert": _upsert,
    "student.withdraw": lambda stage: WithdrawStudent(student=stage.student),
    "student.delete": lambda stage: DeleteStudent(student=stage.student),
    "fee.schedule": _school,
}

AT_A_TILL = {"payment.take", "payment.request", "payment.void", "drawer.open", "drawer.count", "drawer.close"}
AT_A_COUNTER = AT_A_TILL | {"party.register", "invoice.issue", "refund.request", "refund.pay", "credit.apply"}
IN_A_SCHOOL = AT_A_TILL | {"student.upsert", "student.withdraw", "student.delete", "fee.schedule"}
IN_AN_OFFICE = AT_A_COUNTER | {
    *("invoice.cancel", "payment.assign", "refund.approve", "refund.reject", "clearing.pay_out"),
}
BY_THE_TOWN = {"payment.request_card", "payment.confirm", "payment.fail", "payment.expire", "payment.reverse"}
