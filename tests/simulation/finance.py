"""What the office does about money: bills, refunds that a second person looks at, what nobody knows what it is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from server.domain.devices import server_device_id
from sync.kernel.changeset import Fields, Operation
from sync.kernel.money import to_amount
from sync.modules.billing import (
    ApplyCredit,
    ApproveRefund,
    AssignPayments,
    CancelInvoice,
    CloseDrawer,
    ConfirmPayment,
    CountDrawer,
    InvoiceLine,
    IssueInvoice,
    PayOut,
    RegisterParty,
    RejectRefund,
    RequestCardPayment,
    RequestPayment,
    RequestRefund,
    ReversePayment,
    TakePayment,
)
from sync.modules.billing.operations import Money
from sync.modules.identity import AddUser
from sync.modules.schools import ScheduleFee, UpsertStudent
from tests.simulation.office import Asked, Desk, Errand

CURRENCY = "KES"
PAYER = "254700000002"


def bill(desk: Desk) -> Asked | None:
    """Somebody owes something; once in a while it is sent to who is only here by an order."""
    party, invoice = desk.new_id(), desk.new_id()
    desk.heard.append(("invoice", invoice))
    known = desk.one("party") if desk.random.random() < 0.3 else None
    lines = [InvoiceLine(text="rent", amount="60.00")]
    issued = IssueInvoice(id=invoice, party=known[0] if known else party, title="Rent", lines=lines, currency=CURRENCY)
    return desk.town.dispatcher, [issued] if known else [RegisterParty(id=party, name="Zoë"), issued]


def take(desk: Desk) -> Asked | None:
    """Cash over the office's own counter, or a transfer that somebody sees at the bank, now and then again."""
    found = desk.one("invoice")
    if found is None:
        return None
    amount = to_amount(max(100, found[1]["remaining_minor"]), CURRENCY)
    method: Literal["cash", "bank"] = desk.random.choice(("cash", "bank", "bank"))
    seen = "" if method == "cash" else f"slip {desk.random.randint(1, 2)}"
    taken = TakePayment(invoice=found[0], amount=amount, currency=CURRENCY, method=method, reference=seen)
    return desk.town.dispatcher, [taken]


def pay_out(desk: Desk) -> Asked | None:
    """A provider pays out what it had, less what it keeps; the same line of the bank is sometimes read twice."""
    method: Literal["momo", "card"] = desk.random.choice(("momo", "card"))
    kept = desk.random.choice(("0", "1.50"))
    reference = f"line {desk.random.randint(1, 2)}"
    paid = PayOut(method=method, amount="30.00", fee=kept, currency=CURRENCY, reference=reference)
    return desk.random.choice((desk.town.admin, desk.town.dispatcher)), [paid]


def ask_by_phone(desk: Desk) -> Asked | None:
    """Somebody shall pay an invoice or an order by mobile money, whatever is under way."""
    order = desk.one("order") if desk.random.random() < 0.5 else None
    if order:
        due = to_amount(max(100, order[1]["total_minor"] - order[1]["paid_minor"]), CURRENCY)
        return desk.town.dispatcher, [RequestPayment(order=order[0], amount=due, currency=CURRENCY, payer=PAYER)]
    found = desk.one("invoice")
    if found is None:
        return None
    amount = to_amount(max(100, found[1]["remaining_minor"]), CURRENCY)
    return desk.town.dispatcher, [RequestPayment(invoice=found[0], amount=amount, currency=CURRENCY, payer=PAYER)]


def ask_by_card(desk: Desk) -> Asked | None:
    """A page is opened for an invoice, whatever is under way, and whether anything is due or not."""
    found = desk.one("invoice", lambda row: row["source_entity"] != "order")
    if found is None:
        return None
    amount = to_amount(max(100, found[1]["remaining_minor"]), CURRENCY)
    asked = RequestCardPayment(invoice=found[0], amount=amount, currency=CURRENCY)
    return server_device_id(desk.town.id), [asked]


def cancel_invoice(desk: Desk) -> Asked | None:
    """It was not owed; orders' invoices go with their orders."""
    found = desk.one("invoice")
    return (desk.town.dispatcher, [CancelInvoice(invoice=found[0], reason="not owed")]) if found else None


def ask_refund(desk: Desk) -> Asked | None:
    """Money back, by any way."""
    found = desk.one("payment")
    if found is None:
        return None
    how: Literal["cash", "momo", "card", "bank"] = desk.random.choice(("cash", "momo", "momo", "card", "bank"))
    minor, currency = max(1, found[1]["amount_minor"] // desk.random.choice((1, 2))), found[1]["currency"]
    asked = RequestRefund(
        payment=found[0], amount=to_amount(minor, currency), currency=currency, method=how, reason="complaint"
    )
    return desk.town.dispatcher, [asked]


def look_at_refund(desk: Desk) -> Asked | None:
    """A second person agrees or does not; now and then it is the first one."""

    def is_unfounded(refund: Fields) -> bool:
        settlement = desk.state.rows["settlement", refund["payment_id"]].fields
        return bool(refund["state"] == "REQUESTED" and settlement["status"] != "CONFIRMED")

    found = desk.one("refund", is_unfounded) or desk.one("refund", lambda row: row["state"] == "REQUESTED")
    found = found or desk.one("refund")
    if found is None:
        return None
    second = desk.random.choice((desk.town.admin, desk.town.dispatcher))
    chosen: Sequence[Operation] = (ApproveRefund(refund=found[0]),) * 3
    return second, [desk.random.choice((*chosen, RejectRefund(refund=found[0], reason="no")))]


def use_credit(desk: Desk) -> Asked | None:
    """What was paid too much pays something of the same party, or of another."""
    credit = desk.one("credit", lambda row: row["left_minor"] > 0)
    invoice = desk.one("invoice", lambda row: row["remaining_minor"] > 0)
    if credit is None or invoice is None:
        return None
    amount = to_amount(min(credit[1]["left_minor"], invoice[1]["remaining_minor"]), CURRENCY)
    return desk.town.dispatcher, [ApplyCredit(credit=credit[0], invoice=invoice[0], amount=amount)]


def assign(desk: Desk) -> Asked | None:
    """What waits is for that invoice."""
    invoice = desk.one("invoice")
    if invoice is None:
        return None
    stub = desk.one("stub", lambda row: row["awaited_entity"] == "invoice")
    waiting = desk.one("settlement", lambda row: row["suspense_minor"] > 0) or desk.one("payment")
    if stub and desk.random.random() < 0.5:
        return desk.town.dispatcher, [AssignPayments(stub=stub[0], invoice=invoice[0])]
    return (desk.town.dispatcher, [AssignPayments(payment=waiting[0], invoice=invoice[0])]) if waiting else None


def close_drawers(desk: Desk) -> Asked | None:
    """A drawer that was forgotten is counted and closed in the office."""
    found = desk.one("drawer_session", lambda row: row["state"] != "CLOSED")
    if found is None:
        return None
    counted = [Money(amount="5.00", currency=CURRENCY)]
    chosen: Operation = (
        CloseDrawer(drawer=found[0])
        if found[1]["state"] == "COUNTED"
        else CountDrawer(drawer=found[0], counted=counted)
    )
    return desk.town.dispatcher, [chosen]


def take_back(desk: Desk) -> Asked | None:
    """The provider has taken something back."""
    given_back = desk.one("settlement", lambda row: _is_by_provider(row) and row["refunded_minor"] > 0)
    found = given_back or desk.one("settlement", _is_by_provider)
    payment = desk.state.rows.get(("payment", found[0])) if found else None
    if found is None or payment is None or payment.fields["method"] != "momo":
        return None
    reversed_ = ReversePayment(payment=found[0], reference=f"back {found[0][-6:]}", reason="disputed")
    return server_device_id(desk.town.id), [reversed_]


def _is_by_provider(settlement: Fields) -> bool:
    return settlement["status"] == "CONFIRMED" and bool(settlement["reference"])


def say_again(desk: Desk) -> Asked | None:
    """A worker that had asked the provider before another one said it; the provider may have said it anew."""
    found = desk.one("settlement", _is_by_provider)
    payment = desk.state.rows.get(("payment", found[0])) if found else None
    if found is None or payment is None or payment.fields["method"] != "momo":
        return None
    amount, reference = to_amount(found[1]["amount_minor"], found[1]["currency"]), found[1]["reference"]
    reference = desk.random.choice((reference, f"{reference} anew"))
    again = ConfirmPayment(payment=found[0], amount=amount, currency=found[1]["currency"], reference=reference)
    return server_device_id(desk.town.id), [again]


def charge(desk: Desk) -> Asked | None:
    """A student and a fee, from the office."""
    school = desk.one("school")
    if school is None:
        return None
    student = desk.new_id()
    lines = [InvoiceLine(text="fee", amount="30.00")]
    students = [student, *(row_id for of, row_id in list(desk.state.rows) if of == "student")][:4]
    enrolled = UpsertStudent(id=student, school=school[0], number=student[-4:], name="Ivy", class_name="2")
    charged = ScheduleFee(
        school=school[0], title="Trip", lines=lines, currency=CURRENCY, due_on="2026-12-01", students=students
    )
    return desk.town.admin, [enrolled, charged]


def for_one_school(desk: Desk) -> Asked | None:
    """Somebody in the office works for one school, and now and then takes a student of another one for theirs."""
    school, clerk = desk.one("school"), desk.one("user", lambda row: bool(row["school_id"]))
    if school is None:
        return None
    new = desk.new_id()
    if clerk is None:
        added = AddUser(id=new, name="Lea", login=new[-6:], user_roles=["school_office"], school=school[0])
        return desk.town.admin, [added]
    return clerk[0], [UpsertStudent(id=new, school=school[0], number=new[-4:], name="Ivo", class_name="2")]


MONEY_ERRANDS: Sequence[tuple[int, Errand]] = (
    (4, bill),
    (3, take),
    (4, ask_by_phone),
    (2, ask_by_card),
    (1, cancel_invoice),
    (4, ask_refund),
    (5, look_at_refund),
    (3, use_credit),
    (3, assign),
    (2, close_drawers),
    (3, pay_out),
    (1, take_back),
    (2, say_again),
    (2, charge),
    (2, for_one_school),
)
