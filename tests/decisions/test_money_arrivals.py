"""Who wins when money is there before what it is for, is asked for twice, or goes back in another currency."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sync.engine.stubs import stub_id
from sync.kernel.money import MINOR_MAX, to_minor
from sync.modules.billing import ExpirePayment, FailPayment, InvoiceLine, PayRefund, TakePayment, VoidPayment
from sync.modules.billing.entities import OWED, credit_id, invoice_id
from sync.modules.commerce import CancelOrder, PlaceOrder
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import ChangeSettings
from sync.modules.schools import FEE_LINES_MAX, ScheduleFee, UpsertStudent, WithdrawStudent, fee_invoice_id
from sync.modules.town_settings import TownSettings
from tests.support.counters import TITLE, CounterTown
from tests.support.decisions import Left, Told, adjusted, money, refused, told

LINES = [InvoiceLine(text="fee", amount="5.00")]


def student(town: CounterTown, number: str) -> str:
    """Somebody at the school."""
    row = UpsertStudent(id=town.new_id(), school=town.school, number=number, name="Ada", class_name="1")
    town.office(row)
    return row.id


def charges(town: CounterTown, fee: str, *students: str) -> Told:
    """The school charges 5.00."""
    said = ScheduleFee(
        id=fee,
        school=town.school,
        title="Fee",
        lines=LINES,
        currency="KES",
        due_on="2026-12-01",
        students=list(students),
    )
    return told(town, town.does(town.school_pc, town.secretary, said))


def asks(town: CounterTown, target: str, *, of: str = "order") -> tuple[str, Told]:
    """The office asks for 9.00 of an order or invoice by mobile money; the payment and what was decided."""
    payment = town.asks(**{of: target})
    return payment, told(town, town.answered[-1])


def test_what_was_paid_on_an_orders_invoice_before_the_order_came_counts_when_it_comes(counters: CounterTown) -> None:
    order = counters.new_id()
    payment, _ = counters.pays(invoice_id(order), "9.00")
    placed = PlaceOrder(
        id=order,
        number="9",
        warehouse=counters.warehouse,
        customer_name="Zoë",
        lines=[OrderLine(product=counters.tea, quantity=3)],
    )

    counters.office(placed)

    assert (money(counters, order), counters.settlement(payment)["suspense_minor"]) == ((900, 900, 0), 0)
    assert counters.row("stub", stub_id("invoice", invoice_id(order)))["state"] == "merged"


def test_what_was_paid_on_a_fee_before_it_was_charged_counts_when_it_is(counters: CounterTown) -> None:
    charged, left, fee = student(counters, "1"), student(counters, "2"), counters.new_id()
    paid, _ = counters.pays(fee_invoice_id(fee, charged), "5.00")
    waits, _ = counters.pays(fee_invoice_id(fee, left), "5.00")
    counters.office(WithdrawStudent(student=left))

    charges(counters, fee, charged, left)

    assert counters.invoice(fee_invoice_id(fee, charged)) == ("PAID", 500, 0)
    assert [counters.settlement(payment)["suspense_minor"] for payment in (paid, waits)] == [0, 500]
    assert counters.row("stub", stub_id("invoice", fee_invoice_id(fee, left)))["state"] == "waiting"


@pytest.mark.parametrize("of", ["order", "invoice"])
def test_payments_asked_already_until_the_end_of_that(counters: CounterTown, of: str) -> None:
    target = counters.places() if of == "order" else counters.bills()
    first, _ = asks(counters, target, of=of)

    second = asks(counters, target, of=of)[1]
    counters.does(counters.server, counters.server.id, ExpirePayment(payment=first))
    third, again = asks(counters, target, of=of)

    assert second == refused(
        "payments.asked_already", "9.00 KES are being asked for by mobile money; wait for the end of that."
    )
    assert (again.rule, counters.settlement(third)["status"]) == (None, "PENDING")


@pytest.mark.parametrize("why", ["cancelled", "paid"])
def test_payments_nothing_due_is_asked_of_nobody(counters: CounterTown, why: str) -> None:
    order = counters.places()
    paid = TakePayment(order=order, amount="9.00", currency="KES")
    counters.office(CancelOrder(order=order) if why == "cancelled" else paid)

    assert asks(counters, order)[1] == refused(
        "payments.nothing_due", "Nothing is due for order 1001; nobody is asked for it."
    )


def test_payments_refund_currency_mismatch_is_owed_in_the_currency_that_was_given(counters: CounterTown) -> None:
    order = counters.places()
    payment = TakePayment(id=counters.new_id(), order=order, amount="9.00", currency="KES")
    counters.does(counters.van_a, counters.driver_a, payment)
    given = PayRefund(payment=payment.id, amount="2.00", currency="GBP")

    answered = counters.does(counters.desk_a, counters.clerk, given)

    assert told(counters, answered) == adjusted(
        "payments.refund_currency_mismatch",
        Left(
            kind="currency_mismatch",
            sentence="2.00 GBP were given back of a payment in KES; they are owed in their own currency.",
            about=("payment", payment.id),
            by="refund.pay",
            said={"amount": "2.00", "currency": "GBP"},
            had={"currency": "KES"},
            outcome="owed 2.00 GBP",
            task="Clear up 2.00 GBP that were given back of a payment in KES",
        ),
    )
    party = counters.row("invoice", invoice_id(order))["party_id"]
    assert counters.row("credit", credit_id(party, "GBP", OWED))["left_minor"] == -200
    assert counters.balances("GBP") == {"credit": 200, "drawer": -200}
    assert money(counters, order) == (900, 900, 0)


def test_payments_refund_currency_mismatch_of_a_payment_abroad_leaves_the_order_as_it_is(counters: CounterTown) -> None:
    order = counters.places()
    payment = TakePayment(id=counters.new_id(), order=order, amount="7.00", currency="GBP")
    counters.does(counters.van_a, counters.driver_a, payment)

    counters.does(counters.desk_a, counters.clerk, PayRefund(payment=payment.id, amount="2.00", currency="KES"))

    assert (money(counters, order), counters.balances()["drawer"]) == ((900, 0, 0), -200)


def test_payments_invoice_sum_too_large_stays_in_suspense(counters: CounterTown) -> None:
    counters.office(ChangeSettings(settings=TownSettings(payment_units_max=999_999_999_999)), actor=counters.admin)
    invoice, amount = counters.bills("9.00"), "999999999998.00"
    for _ in range(MINOR_MAX // to_minor(amount, "KES") + 1):
        payment, answered = counters.pays(invoice, amount)

    assert told(counters, answered) == adjusted(
        "payments.invoice_sum_too_large",
        Left(
            kind="sum_too_large",
            sentence=f"{amount} KES are more than can be added to the credit of {TITLE}; they stay in suspense.",
            about=("payment", payment),
            by="payment.take",
            said={"operation": "payment.take"},
            had={"party_id": counters.party},
            outcome="in suspense",
            task=f"{TITLE}: find out how {amount} KES came to be paid",
        ),
    )
    assert counters.settlement(payment)["suspense_minor"] > 0


def test_a_card_payment_with_another_reference_is_another_payment(counters: CounterTown) -> None:
    invoice = counters.bills("18.00")
    for reference in ("T1", "T2"):
        payment = counters.payment(invoice, "9.00", method="card", reference=reference)
        counters.does(counters.desk_a, counters.clerk, payment)

    assert counters.invoice(invoice) == ("PAID", 1800, 0)


def test_what_was_voided_is_taken_again_at_once(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    wrong, _ = counters.pays(invoice, "9.00")
    counters.does(counters.desk_a, counters.clerk, VoidPayment(payment=wrong, reason="wrong customer"))

    again = counters.does(counters.desk_a, counters.clerk, counters.payment(invoice, "9.00"))

    assert (told(counters, again).rule, counters.invoice(invoice)) == (None, ("PAID", 900, 0))


def test_payments_failed_after_confirmation_is_told_once_however_often_it_is_said(counters: CounterTown) -> None:
    payment = counters.asks(invoice=counters.bills("9.00"))
    counters.hears(payment)
    for reason in ("x", "y", "z"):
        counters.does(counters.server, counters.server.id, FailPayment(payment=payment, reason=reason))

    assert [row["kind"] for row in counters.rows_of("conflict").values()] == ["failed_after_confirmation"]


def test_a_fee_has_so_many_lines_and_no_more() -> None:
    said = {"school": stub_id("a", "b"), "title": "Fee", "currency": "KES", "due_on": "2026-12-01"}
    line = LINES[0].model_dump()

    with pytest.raises(ValidationError, match="at most 20 items"):
        ScheduleFee.model_validate({**said, "students": [stub_id("a", "c")], "lines": [line] * (FEE_LINES_MAX + 1)})
