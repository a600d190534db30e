"""Who wins over mobile money: the provider's word is money, whenever it comes; a customer's word is a claim."""

from __future__ import annotations

from sync.kernel.ids import derived_id
from sync.modules.billing import (
    AssignPayments,
    ExpirePayment,
    FailPayment,
    RequestPayment,
    ReversePayment,
    TakePayment,
)
from sync.modules.commerce import CompleteDelivery
from tests.support.counters import CounterTown
from tests.support.decisions import ACCEPTED, Left, adjusted, axes, depart, money, noted, refused, told


def fails(town: CounterTown, payment: str, reason: str = "EXPIRED") -> object:
    """The provider says that nothing came of it; what was decided."""
    return told(town, town.does(town.server, town.server.id, FailPayment(payment=payment, reason=reason)))


def test_a_request_is_no_money_and_the_confirmation_is(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    payment = counters.asks(invoice=invoice)
    before = (counters.invoice(invoice), counters.balances(), [effect.kind for effect in counters.effects])

    answered = counters.hears(payment)

    assert before == (("PENDING", 0, 900), {"receivable": 900, "sales": -900}, ["momo.request"])
    assert told(counters, answered) == ACCEPTED
    assert (counters.invoice(invoice), counters.balances()) == (
        ("PAID", 900, 0),
        {"momo_clearing": 900, "sales": -900},
    )
    steps = [(row["from_status"], row["to_status"]) for row in counters.rows_of("payment_event").values()]
    assert (steps, counters.row("payment", payment)["status"]) == ([("PENDING", "CONFIRMED")], "PENDING")


def test_a_confirmation_that_comes_again_counts_once(counters: CounterTown) -> None:
    invoice = counters.bills("18.00")
    payment = counters.asks(invoice=invoice)
    counters.hears(payment)
    rows = {key: row for key, row in counters.rows.items() if key[0] not in {"device", "voided"}}

    assert told(counters, counters.hears(payment)) == ACCEPTED
    assert {key: row for key, row in counters.rows.items() if key[0] not in {"device", "voided"}} == rows


def test_payments_confirmed_twice_under_another_reference_counts_once(counters: CounterTown) -> None:
    payment = counters.asks(invoice=counters.bills("18.00"))
    counters.hears(payment)

    answered = counters.hears(payment, reference="MP2")

    assert told(counters, answered) == adjusted(
        "payments.confirmed_twice",
        Left(
            kind="confirmed_twice",
            sentence="The provider confirms 9.00 KES under the reference MP2, for a payment that had ended before; it "
            "counts once.",
            about=("payment", payment),
            by="payment.confirm",
            said={"amount": "9.00", "currency": "KES", "reference": "MP2"},
            had={"status": "CONFIRMED"},
            task="Ask the provider whether 9.00 KES with the reference MP2 came a second time",
        ),
    )
    assert counters.balances()["momo_clearing"] == 900


def test_payments_possible_duplicate_when_two_payments_are_confirmed_by_one_reference(counters: CounterTown) -> None:
    invoice = counters.bills("18.00")
    counters.hears(counters.asks(invoice=invoice))

    answered = counters.hears(counters.asks(invoice=invoice))

    assert answered.verdict.rule == "payments.possible_duplicate"
    assert (counters.invoice(invoice)[1], counters.credit(is_parked=True)) == (900, 900)


def test_payments_claim_pending_when_a_customer_says_that_it_went_through(counters: CounterTown) -> None:
    order = counters.places()
    claim = RequestPayment(id=counters.new_id(), order=order, amount="9.00", currency="KES", payer="254700000001")

    answered = counters.does(counters.van_a, counters.driver_a, claim)

    assert told(counters, answered) == noted(
        "payments.claim_pending",
        "9.00 KES by mobile money are a claim until the provider confirms them; the debt stands.",
    )
    assert (money(counters, order), counters.settlement(claim.id)["status"]) == ((900, 0, 0), "PENDING")
    assert [(effect.kind, dict(effect.data)) for effect in counters.effects] == [
        ("momo.request", {"payment": claim.id})
    ]


def test_payments_paid_before_momo_when_cash_was_taken_at_the_door(counters: CounterTown) -> None:
    order = counters.places()
    payment = counters.asks(order=order)
    cash = TakePayment(order=order, amount="9.00", currency="KES", method="cod")
    counters.does(counters.van_a, counters.driver_a, cash)

    answered = counters.hears(payment)

    assert told(counters, answered) == adjusted(
        "payments.paid_before_momo",
        Left(
            kind="overpayment",
            sentence="Order 1001 had been paid before its mobile money came; 9.00 KES are kept as credit.",
            about=("payment", payment),
            by="payment.confirm",
            said={"amount": "9.00", "currency": "KES"},
            had={"total_minor": 900, "paid_minor": 900},
            outcome="credit 9.00 KES",
            task="Order 1001: refund 9.00 KES by mobile money",
        ),
    )
    assert money(counters, order) == (900, 900, 900)
    assert counters.balances() == {"credit": -900, "drawer": 900, "momo_clearing": 900, "sales": -900}


def test_payments_delivered_unpaid_when_mobile_money_fails_after_the_delivery(counters: CounterTown) -> None:
    order = counters.places(payment_method="account")
    payment = counters.asks(order=order)
    dispatch = depart(counters, order)
    counters.does(counters.van_a, counters.driver_a, CompleteDelivery(dispatch=dispatch))

    left = Left(
        kind="delivered_unpaid",
        sentence="Order 1001 was handed over, and its mobile money has not come: 9.00 KES are owed.",
        about=("order", order),
        by="payment.fail",
        said={"operation": "payment.fail"},
        had={"total_minor": 900, "paid_minor": 0},
        outcome="delivered, unpaid",
        task="Order 1001: collect 9.00 KES",
    )
    assert fails(counters, payment) == adjusted("payments.delivered_unpaid", left)
    assert axes(counters, order)[2:] == ("unpaid", "DELIVERED")
    assert fails(counters, payment) == ACCEPTED


def test_payments_late_confirmation_is_money_all_the_same(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    payment = counters.asks(invoice=invoice)
    fails(counters, payment)
    assert counters.settlement(payment)["status"] == "FAILED"

    answered = counters.hears(payment)

    assert told(counters, answered) == adjusted(
        "payments.late_confirmation",
        Left(
            kind="late_confirmation",
            sentence="9.00 KES came after the payment had been given up; they count.",
            about=("payment", payment),
            by="payment.confirm",
            said={"amount": "9.00", "currency": "KES", "reference": "MP1"},
            had={"status": "FAILED"},
            task="Tell the customer that 9.00 KES came after all",
        ),
    )
    assert counters.invoice(invoice) == ("PAID", 900, 0)


def test_payments_late_confirmation_of_what_was_paid_otherwise_meanwhile_is_credit(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    payment = counters.asks(invoice=invoice)
    counters.does(counters.server, counters.server.id, ExpirePayment(payment=payment))
    counters.pays(invoice, "6.00")

    answered = counters.hears(payment)

    assert [note.code for note in answered.verdict.notes] == ["payments.late_confirmation", "payments.invoice_overpaid"]
    assert (counters.invoice(invoice), counters.credit()) == (("PAID", 900, 0), 600)


def test_payments_failed_after_confirmation_stays_confirmed(counters: CounterTown) -> None:
    payment = counters.asks(invoice=counters.bills("9.00"))
    counters.hears(payment)

    left = Left(
        kind="failed_after_confirmation",
        sentence="The provider now says that 9.00 KES failed, which it had confirmed; they stay confirmed.",
        about=("payment", payment),
        by="payment.fail",
        said={"reason": "EXPIRED"},
        had={"status": "CONFIRMED"},
        outcome="stays confirmed",
        task="Ask the provider what became of 9.00 KES",
    )
    assert fails(counters, payment) == adjusted("payments.failed_after_confirmation", left)
    assert counters.settlement(payment)["status"] == "CONFIRMED"


def test_payments_reversed_by_the_provider_is_owed_again(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    payment = counters.asks(invoice=invoice)
    counters.hears(payment)
    reversal = ReversePayment(payment=payment, reference="RV1")

    answered = counters.does(counters.server, counters.server.id, reversal)
    again = counters.does(counters.server, counters.server.id, reversal.model_copy(update={"id": counters.new_id()}))

    assert told(counters, answered) == adjusted(
        "payments.reversed",
        Left(
            kind="reversed",
            sentence="The provider has taken back 9.00 KES; what they had paid is owed again.",
            about=("payment", payment),
            by="payment.reverse",
            said={"reference": "RV1"},
            had={"status": "CONFIRMED"},
            outcome="owed again",
            task="Collect 9.00 KES again, which the provider has taken back",
        ),
    )
    assert told(counters, again) == ACCEPTED
    assert (counters.invoice(invoice), counters.balances()) == (("PENDING", 0, 900), {"receivable": 900, "sales": -900})


def test_payments_amount_mismatch_books_what_came(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    payment = counters.asks(invoice=invoice)

    answered = counters.hears(payment, amount="8.50")

    assert told(counters, answered) == adjusted(
        "payments.amount_mismatch",
        Left(
            kind="amount_mismatch",
            sentence="9.00 KES were asked for, and 8.50 KES came; what came counts.",
            about=("payment", payment),
            by="payment.confirm",
            said={"amount": "8.50", "currency": "KES", "reference": "MP1"},
            had={"amount": "9.00", "currency": "KES"},
            task="Find out why 8.50 KES came instead of 9.00 KES",
        ),
    )
    assert counters.invoice(invoice) == ("PARTIALLY_PAID", 850, 50)


def test_payments_expired_when_nobody_says_anything_is_for_finance_to_ask(counters: CounterTown) -> None:
    payment = counters.asks(invoice=counters.bills("9.00"))
    expire = ExpirePayment(payment=payment)

    answered = counters.does(counters.server, counters.server.id, expire)

    assert told(counters, answered) == adjusted(
        "payments.expired",
        Left(
            kind="expired",
            sentence="Nobody has said in time what became of 9.00 KES by mobile money; the payment has expired.",
            about=("payment", payment),
            by="payment.expire",
            had={"status": "PENDING"},
            outcome="expired",
            task="Finance: ask the provider what became of 9.00 KES",
        ),
    )
    assert counters.settlement(payment)["status"] == "EXPIRED"
    assert told(counters, counters.does(counters.server, counters.server.id, expire)) != told(counters, answered)


def test_payments_confirmed_unknown_is_in_suspense_until_it_is_assigned(counters: CounterTown) -> None:
    late, meant = derived_id("an order that no one has reported"), counters.bills("9.00")
    claim = RequestPayment(id=counters.new_id(), order=late, amount="9.00", currency="KES", payer="254700000001")
    counters.does(counters.van_a, counters.driver_a, claim)

    answered = counters.hears(claim.id)

    assert told(counters, answered) == adjusted(
        "payments.confirmed_unknown",
        Left(
            kind="unknown_invoice",
            sentence="9.00 KES of mobile money came for something that is not known here; they are in suspense.",
            about=("payment", claim.id),
            by="payment.confirm",
            said={"reference": "MP1"},
            outcome="in suspense",
            task="Find out what 9.00 KES of mobile money were paid for, and assign them",
        ),
    )
    assert counters.balances() == {"momo_clearing": 900, "receivable": 900, "sales": -900, "suspense": -900}

    counters.office(AssignPayments(payment=claim.id, invoice=meant))

    assert counters.invoice(meant) == ("PAID", 900, 0)
    assert counters.balances() == {"momo_clearing": 900, "sales": -900}


def test_nobody_but_the_town_says_what_the_provider_has_said(counters: CounterTown) -> None:
    payment = counters.asks(invoice=counters.bills("9.00"))

    answered = counters.office(FailPayment(payment=payment), actor=counters.admin)

    assert told(counters, answered) == refused("people.actor_refused", "Ada may not do this here.")
