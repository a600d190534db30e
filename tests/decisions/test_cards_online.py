"""Who wins over cards online: the provider's word is money, as of mobile money, in an account of the cards' own."""

from __future__ import annotations

from sync.engine.town import Answered
from sync.modules.billing import (
    ExpirePayment,
    FailPayment,
    RequestCardPayment,
    RequestPayment,
    RequestRefund,
    ReversePayment,
)
from tests.support.counters import CounterTown
from tests.support.decisions import ACCEPTED, Left, adjusted, refused, told


def asks(town: CounterTown, amount: str = "9.00", **target: str) -> tuple[str, Answered]:
    """A customer is sent to the provider's page; the payment's id and what was decided."""
    said = {"id": town.new_id(), "amount": amount, "currency": "KES", **target}
    request = RequestCardPayment.model_validate(said)
    return request.id, town.does(town.server, town.server.id, request)


def test_a_page_is_no_money_and_the_providers_word_is(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    payment, answered = asks(counters, invoice=invoice)
    before = (counters.invoice(invoice), [effect.kind for effect in counters.effects])

    confirmed = counters.hears(payment, reference="ch_1")

    assert (told(counters, answered), told(counters, confirmed)) == (ACCEPTED, ACCEPTED)
    assert before == (("PENDING", 0, 900), ["card.request"])
    assert (counters.invoice(invoice), counters.balances()) == (
        ("PAID", 900, 0),
        {"card_clearing": 900, "sales": -900},
    )


def test_payments_under_way_when_a_page_is_open_for_the_same_invoice(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    first, _ = asks(counters, invoice=invoice)

    _, again = asks(counters, invoice=invoice)
    counters.does(counters.server, counters.server.id, FailPayment(payment=first, reason="expired"))
    _, later = asks(counters, invoice=invoice)

    assert told(counters, again) == refused(
        "payments.under_way", "9.00 KES are being paid already; wait for the end of that."
    )
    assert told(counters, later) == ACCEPTED


def test_payments_under_way_when_an_order_is_paid_by_card_and_its_customer_is_asked_by_telephone(
    counters: CounterTown,
) -> None:
    order = counters.places()
    asks(counters, "5.00", order=order)

    answered = counters.does(
        counters.server,
        counters.server.id,
        RequestPayment(id=counters.new_id(), order=order, amount="5.00", currency="KES", payer="254700000001"),
    )

    assert told(counters, answered) == refused(
        "payments.under_way", "5.00 KES are being paid already; wait for the end of that."
    )


def test_payments_invoice_nothing_due_when_it_is_paid(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    counters.pays(invoice, "9.00")

    _, answered = asks(counters, invoice=invoice)

    assert told(counters, answered) == refused(
        "payments.invoice_nothing_due", "Nothing is to be paid for Stall rent, May."
    )


def test_payments_card_expired_leaves_the_debt_and_a_task(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    payment, _ = asks(counters, invoice=invoice)

    answered = counters.does(counters.server, counters.server.id, ExpirePayment(payment=payment))

    assert told(counters, answered) == adjusted(
        "payments.card_expired",
        Left(
            kind="expired",
            sentence="Nobody has said in time what became of 9.00 KES by card; the payment has expired.",
            about=("payment", payment),
            by="payment.expire",
            had={"status": "PENDING"},
            outcome="expired",
            task="Finance: ask the provider of cards what became of 9.00 KES",
        ),
    )
    assert counters.invoice(invoice) == ("PENDING", 0, 900)


def test_payments_possible_duplicate_when_a_terminal_has_the_reference_of_a_payment_online(
    counters: CounterTown,
) -> None:
    invoice = counters.bills("18.00")
    counters.pays(invoice, "9.00", method="card", reference="ch_1")
    payment, _ = asks(counters, invoice=invoice)

    answered = counters.hears(payment, reference="ch_1")

    assert answered.verdict.rule == "payments.possible_duplicate"
    assert counters.invoice(invoice) == ("PARTIALLY_PAID", 900, 900)


def test_payments_late_confirmation_by_card_pays_what_was_given_up(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    payment, _ = asks(counters, invoice=invoice)
    counters.does(counters.server, counters.server.id, FailPayment(payment=payment, reason="expired"))

    answered = counters.hears(payment, reference="ch_1")

    assert answered.verdict.rule == "payments.late_confirmation"
    assert counters.invoice(invoice) == ("PAID", 900, 0)


def test_payments_amount_mismatch_by_card_counts_what_came(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    payment, _ = asks(counters, invoice=invoice)

    answered = counters.hears(payment, amount="4.00", reference="ch_1")

    assert answered.verdict.rule == "payments.amount_mismatch"
    assert counters.invoice(invoice) == ("PARTIALLY_PAID", 400, 500)


def test_payments_overpayment_by_card_of_an_order_that_was_paid_meanwhile(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    payment, _ = asks(counters, invoice=invoice)
    counters.pays(invoice, "9.00")

    answered = counters.hears(payment, reference="ch_1")

    assert answered.verdict.rule == "payments.invoice_overpaid"
    assert counters.balances()["credit"] == -900


def test_payments_reversed_by_a_charge_back_is_owed_again(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    payment, _ = asks(counters, invoice=invoice)
    counters.hears(payment, reference="ch_1")

    answered = counters.does(
        counters.server, counters.server.id, ReversePayment(payment=payment, reference="dp_1", reason="fraudulent")
    )

    assert answered.verdict.rule == "payments.reversed"
    assert counters.invoice(invoice) == ("PENDING", 0, 900)
    assert counters.balances() == {"receivable": 900, "sales": -900}


def test_only_what_was_paid_online_is_given_back_by_the_provider_of_cards(counters: CounterTown) -> None:
    invoice = counters.bills("18.00")
    terminal, _ = counters.pays(invoice, "9.00", method="card", reference="slip 7")
    online, _ = asks(counters, invoice=invoice)
    counters.hears(online, reference="ch_1")

    for payment in (terminal, online):
        said = {"payment": payment, "amount": "1.00", "currency": "KES", "method": "card", "reason": "broken"}
        counters.office(RequestRefund.model_validate({"id": counters.new_id(), **said}))

    assert [effect.kind for effect in counters.effects] == ["card.request", "card.refund"]
