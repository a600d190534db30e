"""What people do where money is taken: at a counter and in a school's office, with drawers that are counted blind.

Source of the mixes: the decision table of payments; every row of it has somebody here who makes it come about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sync.kernel.changeset import Fields, Operation
from sync.kernel.clock import format_time
from sync.kernel.money import to_amount
from sync.modules.billing import (
    ApplyCredit,
    CancelInvoice,
    CloseDrawer,
    CountDrawer,
    InvoiceLine,
    IssueInvoice,
    OpenDrawer,
    PayRefund,
    RegisterParty,
    RequestPayment,
    RequestRefund,
    TakePayment,
    VoidPayment,
)
from sync.modules.billing.operations import Money
from sync.modules.schools import DeleteStudent, ScheduleFee, UpsertStudent, WithdrawStudent
from tests.simulation.habits import CURRENCY, OTHER_CURRENCY, Eyes, Habit

PAYER = "254700000001"
DAY_MS = 24 * 3600 * 1000
FLOATS = ("0.00", "20.00", "500.00")
SLIP_SHARE = 0.1


def open_drawer(eyes: Eyes) -> list[Operation] | None:
    """A float for the day."""
    drawer = eyes.new_id()
    eyes.heard.append(("drawer_session", drawer))
    return [OpenDrawer(id=drawer, opening=[Money(amount=eyes.random.choice(FLOATS), currency=CURRENCY)])]


def count_drawer(eyes: Eyes) -> list[Operation] | None:
    """Without knowing what should be in it; what is in it is what was taken, more or less, and handed in at once."""
    found = eyes.one("drawer_session", lambda row: row["state"] in {"OPEN", "COUNTED"}) or eyes.one("drawer_session")
    if found is None:
        return None
    taken = sum(
        row["amount_minor"]
        for row in eyes.rows("payment").values()
        if row.get("drawer_id") == found[0] and row["currency"] == CURRENCY
    )
    seen = max(0, taken + found[1]["opening"].get(CURRENCY, 0) + eyes.random.choice((0, 0, 0, -50, 100)))
    drawer = eyes.told("drawer_session") if eyes.random.random() < SLIP_SHARE else found[0]
    return [CountDrawer(drawer=drawer, counted=[Money(amount=to_amount(seen, CURRENCY), currency=CURRENCY)])]


def close_drawer(eyes: Eyes) -> list[Operation] | None:
    """The day is over; once in a while nobody has counted."""
    counted = eyes.one("drawer_session", lambda row: row["state"] == "COUNTED")
    if eyes.random.random() < SLIP_SHARE:
        return [CloseDrawer(drawer=eyes.told("drawer_session"))]
    found = eyes.one("drawer_session") if eyes.random.random() < SLIP_SHARE else counted
    return [CloseDrawer(drawer=found[0])] if found else None


def _invoice(eyes: Eyes) -> tuple[str, Fields] | None:
    return eyes.one("invoice", lambda row: row["remaining_minor"] > 0) or eyes.one("invoice")


def _amount(eyes: Eyes, minor: int) -> str:
    """What is owed, or some of it, or a little more."""
    chosen = eyes.random.choice((minor, minor, minor // 2, minor + 150))
    return to_amount(max(1, chosen), CURRENCY)


def take_for_invoice(eyes: Eyes) -> list[Operation] | None:
    """Cash, or by the terminal or a transfer, whose slips have few numbers here so that one comes twice."""
    found = _invoice(eyes)
    if found is None:
        return None
    invoice = found[0] if eyes.random.random() > SLIP_SHARE / 2 else eyes.told("invoice")
    by_reference: tuple[Literal["card", "bank"], ...] = ("card", "bank") if eyes.school else ("card",)
    method: Literal["cash", "card", "bank"] = eyes.random.choice(("cash", "cash", *by_reference))
    reference = "" if method == "cash" else f"slip {eyes.random.randint(1, 2 if method == 'bank' else 9)}"
    currency = OTHER_CURRENCY if eyes.random.random() < SLIP_SHARE else CURRENCY
    amount = _amount(eyes, found[1]["remaining_minor"])
    return [TakePayment(invoice=invoice, amount=amount, currency=currency, method=method, reference=reference)]


def take_for_order(eyes: Eyes) -> list[Operation] | None:
    """Somebody pays for an order of which this counter only knows by its number."""
    return [TakePayment(order=eyes.told("order"), amount="3.00", currency=CURRENCY, method="cash")]


def claim_momo(eyes: Eyes) -> list[Operation] | None:
    """The customer shows a message of the provider's, or shall be asked."""
    found = _invoice(eyes)
    if found is None:
        return None
    reference = eyes.random.choice(("", "", "MP7"))
    amount = _amount(eyes, found[1]["remaining_minor"])
    invoice = found[0]
    if eyes.random.random() < 2 * SLIP_SHARE:
        invoice = eyes.random.choice((eyes.told("invoice"), eyes.new_id()))
    return [RequestPayment(invoice=invoice, amount=amount, currency=CURRENCY, payer=PAYER, reference=reference)]


def void_payment(eyes: Eyes) -> list[Operation] | None:
    """It was a mistake."""
    found = eyes.one("payment")
    return [VoidPayment(payment=found[0], reason="the wrong one")] if found else None


def ask_refund(eyes: Eyes) -> list[Operation] | None:
    """Some of it back, once in a while more than there is."""
    found = eyes.one("payment")
    if found is None:
        return None
    minor = eyes.random.choice((found[1]["amount_minor"], found[1]["amount_minor"] // 2, 99_000)) or 1
    method: Literal["cash", "momo", "bank"] = eyes.random.choice(("cash", "cash", "momo", "bank"))
    amount = to_amount(minor, found[1]["currency"])
    return [
        RequestRefund(
            payment=found[0], amount=amount, currency=found[1]["currency"], method=method, reason="not wanted"
        )
    ]


def pay_refund(eyes: Eyes) -> list[Operation] | None:
    """What was agreed is given back; once in a while what was not, or in another currency."""
    refund = eyes.one("refund", lambda row: row["state"] == "APPROVED" and row["method"] != "momo")
    if refund is None or eyes.random.random() < SLIP_SHARE:
        found = eyes.one("payment")
        currency = eyes.random.choice((CURRENCY, CURRENCY, OTHER_CURRENCY))
        return [PayRefund(payment=found[0], amount="1.00", currency=currency)] if found else None
    row = refund[1]
    minor = row["amount_minor"] - row["paid_minor"] + eyes.random.choice((0, 0, 0, 100))
    amount = to_amount(minor, row["currency"])
    return [PayRefund(payment=row["payment_id"], refund=refund[0], amount=amount, currency=row["currency"])]


def apply_credit(eyes: Eyes) -> list[Operation] | None:
    """What was paid too much pays something else."""
    credit, invoice = eyes.one("credit"), _invoice(eyes)
    if credit is None or invoice is None:
        return None
    minor = min(credit[1]["left_minor"], invoice[1]["remaining_minor"]) + eyes.random.choice((0, 0, 10))
    return [ApplyCredit(credit=credit[0], invoice=invoice[0], amount=to_amount(max(1, minor), CURRENCY))]


def bill(eyes: Eyes) -> list[Operation] | None:
    """Somebody new, and what they owe."""
    party, invoice = eyes.new_id(), eyes.new_id()
    eyes.heard.append(("invoice", invoice))
    lines = [InvoiceLine(text="rent", amount=eyes.random.choice(("9.00", "120.00")))]
    issued = IssueInvoice(id=invoice, party=party, title="Rent", lines=lines, currency=CURRENCY)
    return [RegisterParty(id=party, name="Zoë"), issued]


def cancel_invoice(eyes: Eyes) -> list[Operation] | None:
    """A counter may not; whoever has the office's role there may."""
    found = eyes.one("invoice")
    return [CancelInvoice(invoice=found[0])] if found else None


def enrol_student(eyes: Eyes) -> list[Operation] | None:
    """Somebody comes to the school, or comes back."""
    number, random = str(eyes.random.randint(1, 99)), eyes.random
    if not eyes.school:
        return None
    school = random.choice(eyes.schools) if random.random() < SLIP_SHARE else eyes.school
    student = eyes.new_id()
    known = eyes.told("student") if random.random() < 2 * SLIP_SHARE else None
    eyes.heard.append(("student", student))
    said = {"school": school, "number": number, "name": f"Eve {number}", "class_name": "1"}
    return [UpsertStudent.model_validate({"id": student, "student": known, **said})]


def charge_fee(eyes: Eyes) -> list[Operation] | None:
    """Everybody of a school, also who has left it."""
    students = list(eyes.rows("student"))
    if not students or not eyes.school:
        return None
    due_on = format_time(eyes.now_ms + eyes.random.choice((-5, 10)) * DAY_MS)[:10]
    lines = [InvoiceLine(text="fee", amount="45.00")]
    return [
        ScheduleFee(
            school=eyes.school, title="Term", lines=lines, currency=CURRENCY, due_on=due_on, students=students[:5]
        )
    ]


def lose_student(eyes: Eyes) -> list[Operation] | None:
    """Somebody leaves, or was never there."""
    found = eyes.one("student")
    if found is None:
        return None
    return [eyes.random.choice((WithdrawStudent(student=found[0]), DeleteStudent(student=found[0])))]


TILL: Sequence[tuple[int, Habit]] = (
    (3, open_drawer),
    (3, count_drawer),
    (3, close_drawer),
    (8, take_for_invoice),
    (2, claim_momo),
    (1, void_payment),
)
COUNTER: Sequence[tuple[int, Habit]] = (
    *TILL,
    (3, take_for_order),
    (3, ask_refund),
    (3, pay_refund),
    (2, apply_credit),
    (4, bill),
    (1, cancel_invoice),
)
SCHOOL: Sequence[tuple[int, Habit]] = (
    *TILL,
    (4, enrol_student),
    (3, charge_fee),
    (3, lose_student),
)
