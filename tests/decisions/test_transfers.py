"""Who wins over transfers: money at the bank is a payment like a card's at a counter, told apart by its reference."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sync.kernel.ids import derived_id
from sync.modules.billing import CancelInvoice, PayRefund, RequestRefund, TakePayment, VoidPayment
from tests.support.counters import TITLE, CounterTown
from tests.support.decisions import ACCEPTED, Left, adjusted, refused, told

TRANSFER = {"method": "bank", "reference": "TRF 88"}


def test_a_transfer_pays_its_invoice_and_lies_at_the_bank_and_in_no_drawer(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    seen = counters.payment(invoice, "9.00", **TRANSFER)

    answered = counters.office(seen)

    assert told(counters, answered) == ACCEPTED
    assert (counters.invoice(invoice), counters.balances()) == (("PAID", 900, 0), {"bank": 900, "sales": -900})
    assert (counters.row("payment", seen.id)["drawer_id"], counters.rows_of("drawer_session")) == (None, {})


def test_a_school_records_a_transfer_on_its_own_device(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")

    answered = counters.does(counters.school_pc, counters.secretary, counters.payment(invoice, "9.00", **TRANSFER))

    assert (told(counters, answered), counters.invoice(invoice)) == (ACCEPTED, ("PAID", 900, 0))


@pytest.mark.parametrize("reference", ["", "  "])
def test_a_transfer_without_the_banks_reference_is_none(reference: str) -> None:
    with pytest.raises(ValidationError, match="a transfer has the bank's reference"):
        TakePayment(invoice=derived_id("i"), amount="9.00", currency="KES", method="bank", reference=reference)


def test_payments_transfer_twice_when_one_reference_is_recorded_again(counters: CounterTown) -> None:
    invoice = counters.bills("18.00")
    first, _ = counters.pays(invoice, "9.00", **TRANSFER)
    counters.now_ms += 24 * 3_600_000

    second = counters.payment(invoice, "9.00", **TRANSFER)
    answered = counters.does(counters.school_pc, counters.secretary, second)

    assert told(counters, answered) == adjusted(
        "payments.transfer_twice",
        Left(
            kind="possible_duplicate",
            sentence="A transfer with the bank's reference TRF 88 was recorded before; the 9.00 KES are kept apart "
            "until it is known whether another one came.",
            about=("payment", second.id),
            by="payment.take",
            said={"amount": "9.00", "currency": "KES", "reference": "TRF 88"},
            had={"payment": first},
            outcome="parked as credit",
            task="Look at the bank's statement: did 9.00 KES come once more under TRF 88?",
        ),
    )
    assert counters.balances() == {"bank": 1800, "credit": -900, "receivable": 900, "sales": -1800}


def test_two_transfers_in_a_minute_and_a_card_with_the_same_reference_are_three_payments(
    counters: CounterTown,
) -> None:
    invoice = counters.bills("27.00")
    for said in (TRANSFER, {"method": "bank", "reference": "TRF 89"}, {"method": "card", "reference": "TRF 88"}):
        counters.does(counters.desk_a, counters.clerk, counters.payment(invoice, "9.00", **said))

    assert counters.invoice(invoice) == ("PAID", 2700, 0)
    assert counters.balances() == {"bank": 1800, "card_clearing": 900, "sales": -2700}


def test_payments_invoice_overpaid_by_a_transfer(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")

    _, answered = counters.pays(invoice, "10.00", **TRANSFER)

    assert (answered.verdict.rule, counters.credit()) == ("payments.invoice_overpaid", 100)


def test_payments_invoice_paid_after_cancel_by_a_transfer(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    counters.office(CancelInvoice(invoice=invoice))

    _, answered = counters.pays(invoice, "9.00", **TRANSFER)

    assert (answered.verdict.rule, counters.balances()) == (
        "payments.invoice_paid_after_cancel",
        {"bank": 900, "credit": -900},
    )


def test_payments_invoice_suspense_of_a_transfer_for_what_is_not_known_yet(counters: CounterTown) -> None:
    _, answered = counters.pays(derived_id("not yet"), "9.00", **TRANSFER)

    assert (answered.verdict.rule, counters.balances()) == (
        "payments.invoice_suspense",
        {"bank": 900, "suspense": -900},
    )


def test_payments_not_voidable_is_a_transfer_and_its_refund_goes_by_the_bank(counters: CounterTown) -> None:
    invoice = counters.bills("9.00", title=TITLE)
    payment, _ = counters.pays(invoice, "9.00", **TRANSFER)

    void = counters.does(counters.desk_a, counters.clerk, VoidPayment(payment=payment, reason="r"))
    said = {"payment": payment, "amount": "9.00", "currency": "KES", "method": "bank"}
    refund = RequestRefund.model_validate({"id": counters.new_id(), **said, "reason": "moved away"})
    counters.does(counters.desk_a, counters.clerk, refund)
    counters.office(PayRefund.model_validate({**said, "refund": refund.id}))

    assert told(counters, void) == refused(
        "payments.not_voidable",
        "The 9.00 KES are no longer in the open drawer of this device that they were put into; use a refund.",
    )
    assert counters.row("refund", refund.id)["state"] == "PAID"
    assert counters.balances() == {"receivable": 900, "sales": -900}
