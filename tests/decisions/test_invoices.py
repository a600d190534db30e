"""Who wins over invoices: paid twice, paid after all, in another currency, or before anybody here has heard of them."""

from __future__ import annotations

from sync.engine.stubs import stub_id
from sync.kernel.ids import derived_id
from sync.modules.billing import (
    ApplyCredit,
    AssignPayments,
    CancelInvoice,
    InvoiceLine,
    IssueInvoice,
    TakePayment,
    VoidPayment,
)
from sync.modules.billing.entities import credit_id, invoice_id, party_id
from sync.modules.billing.marks import DOUBLE_TAP_MS
from sync.modules.commerce import CancelOrder, ExpireStub
from tests.support.counters import TITLE, CounterTown
from tests.support.decisions import ACCEPTED, Left, adjusted, money, noted, refused, told

LATE = derived_id("an invoice of a device that has not reported")


def issue(town: CounterTown, invoice: str) -> IssueInvoice:
    """9.00 KES of the town's party."""
    lines = [InvoiceLine(text="rent", amount="9.00")]
    return IssueInvoice(id=invoice, party=town.party, title=TITLE, lines=lines, currency="KES")


def test_an_invoice_is_paid_in_parts_and_its_state_follows_from_what_is_allocated(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    seen = [counters.invoice(invoice)]

    for amount in ("4.00", "5.00"):
        payment, answered = counters.pays(invoice, amount)
        assert told(counters, answered) == ACCEPTED
        seen.append(counters.invoice(invoice))

    assert seen == [("PENDING", 0, 900), ("PARTIALLY_PAID", 400, 500), ("PAID", 900, 0)]
    assert counters.balances() == {"drawer": 900, "sales": -900}
    assert counters.settlement(payment)["allocated_minor"] == 500


def test_payments_invoice_overpaid_is_kept_as_credit(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")

    payment, answered = counters.pays(invoice, "10.50")

    assert told(counters, answered) == adjusted(
        "payments.invoice_overpaid",
        Left(
            kind="overpayment",
            sentence=f"1.50 KES more than was owed for {TITLE} were paid; they are kept as credit.",
            about=("payment", payment),
            by="payment.take",
            said={"operation": "payment.take"},
            had={"total_minor": 900, "paid_minor": 0, "state": "PENDING"},
            outcome="credit 1.50 KES",
            task=f"{TITLE}: refund 1.50 KES or keep them as credit",
        ),
    )
    assert (counters.invoice(invoice), counters.credit()) == (("PAID", 900, 0), 150)
    assert counters.balances() == {"credit": -150, "drawer": 1050, "sales": -900}


def test_payments_invoice_overpaid_when_two_counters_take_it_without_knowing_of_each_other(
    counters: CounterTown,
) -> None:
    invoice = counters.bills("9.00")
    base = counters.version
    lines = [
        counters.line(counters.desk_a, counters.clerk, counters.payment(invoice, "9.00"), base=base),
        counters.line(counters.desk_b, counters.other_clerk, counters.payment(invoice, "9.00"), base=base),
    ]

    first, second = counters.take(lines).answered

    assert (first.verdict.rule, second.verdict.rule) == (None, "payments.invoice_overpaid")
    assert (counters.invoice(invoice), counters.credit()) == (("PAID", 900, 0), 900)


def test_payments_invoice_paid_after_cancel_is_all_credit(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    counters.office(CancelInvoice(invoice=invoice))

    payment, answered = counters.pays(invoice, "9.00")

    assert told(counters, answered) == adjusted(
        "payments.invoice_paid_after_cancel",
        Left(
            kind="paid_after_cancel",
            sentence=f"{TITLE} was cancelled; the 9.00 KES that were paid are kept as credit.",
            about=("payment", payment),
            by="payment.take",
            said={"operation": "payment.take"},
            had={"total_minor": 900, "paid_minor": 0, "state": "CANCELLED"},
            outcome="credit 9.00 KES",
            task=f"{TITLE}: refund 9.00 KES",
        ),
    )
    assert (counters.invoice(invoice), counters.credit()) == (("CANCELLED", 0, 0), 900)
    assert counters.balances() == {"credit": -900, "drawer": 900}


def test_payments_invoice_paid_before_cancel_is_owed_to_the_party(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    counters.pays(invoice, "4.00")

    answered = counters.office(CancelInvoice(invoice=invoice))

    assert told(counters, answered) == adjusted(
        "payments.invoice_paid_before_cancel",
        Left(
            kind="paid_before_cancel",
            sentence=f"{TITLE} was paid before it was cancelled; 4.00 KES are kept as credit.",
            about=("invoice", invoice),
            by="invoice.cancel",
            said={"operation": "invoice.cancel"},
            had={"paid_minor": 400},
            outcome="credit 4.00 KES",
            task=f"{TITLE}: refund 4.00 KES",
        ),
    )
    assert (counters.invoice(invoice), counters.credit()) == (("CANCELLED", 0, 0), 400)


def test_payments_invoice_not_cancellable_a_second_time_or_without_its_order(counters: CounterTown) -> None:
    invoice, order = counters.bills(), counters.places()
    counters.office(CancelInvoice(invoice=invoice))

    for other, title in ((invoice, TITLE), (invoice_id(order), "Order 1001")):
        assert told(counters, counters.office(CancelInvoice(invoice=other))) == refused(
            "payments.invoice_not_cancellable",
            f"{title} cannot be cancelled: it is already, or it is cancelled with its order.",
        )


def test_payments_invoice_currency_mismatch_is_credit_in_its_own_currency(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")

    payment, answered = counters.pays(invoice, "7.00", "GBP")

    assert told(counters, answered) == adjusted(
        "payments.invoice_currency_mismatch",
        Left(
            kind="currency_mismatch",
            sentence=f"{TITLE} is in KES, the payment in GBP; it is kept as credit in its own currency.",
            about=("payment", payment),
            by="payment.take",
            said={"amount": "7.00", "currency": "GBP"},
            had={"currency": "KES"},
            outcome="credit 7.00 GBP",
            task=f"{TITLE}: clear up the payment of 7.00 GBP",
        ),
    )
    assert (counters.invoice(invoice), counters.credit(currency="GBP")) == (("PENDING", 0, 900), 700)
    assert counters.balances("GBP") == {"credit": -700, "drawer": 700}


def test_payments_currency_mismatch_of_an_order_is_credit_of_its_party_too(counters: CounterTown) -> None:
    order = counters.places()

    counters.does(counters.van_a, counters.driver_a, TakePayment(order=order, amount="7.00", currency="GBP"))

    assert (counters.credit(party_id(order), "GBP"), money(counters, order)) == (700, (900, 0, 0))


def test_payments_invoice_suspense_until_the_invoice_arrives(counters: CounterTown) -> None:
    payment, answered = counters.pays(LATE, "4.00")

    assert told(counters, answered) == noted(
        "payments.invoice_suspense",
        "4.00 KES were taken for an invoice that is not known here yet; they are in suspense, and count towards it as "
        "soon as it is.",
        "This invoice is not known here yet; what was recorded is kept and counts as soon as it is.",
    )
    assert counters.balances() == {"drawer": 400, "suspense": -400}

    counters.office(issue(counters, LATE))

    assert counters.invoice(LATE) == ("PARTIALLY_PAID", 400, 500)
    assert (counters.settlement(payment)["suspense_minor"], counters.balances()["drawer"]) == (0, 400)
    assert "suspense" not in counters.balances()


def test_payments_unknown_invoice_after_three_days_and_then_assigned(counters: CounterTown) -> None:
    meant = counters.bills("9.00")
    payment, _ = counters.pays(LATE, "9.00")
    stub = stub_id("invoice", LATE)
    counters.now_ms += 72 * 3_600_000

    overdue = counters.does(counters.server, counters.server.id, ExpireStub(stub=stub))
    answered = counters.office(AssignPayments(stub=stub, invoice=meant))

    assert (overdue.verdict.rule, answered.verdict.rule) == ("payments.unknown_invoice", "engine.arrived")
    assert (counters.invoice(meant), counters.settlement(payment)["invoice_id"]) == (("PAID", 900, 0), meant)
    assert "suspense" not in counters.balances()


def test_payments_nothing_in_suspense_that_could_be_assigned(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    payment, _ = counters.pays(invoice, "9.00")

    answered = counters.office(AssignPayments(payment=payment, invoice=invoice))

    assert told(counters, answered) == refused(
        "payments.nothing_in_suspense", "Nothing is in suspense here for an invoice."
    )


def test_payments_possible_duplicate_of_a_double_tap_is_parked(counters: CounterTown) -> None:
    invoice = counters.bills("18.00")
    first, _ = counters.pays(invoice, "9.00")
    counters.now_ms += DOUBLE_TAP_MS - 1
    again = counters.payment(invoice, "9.00")

    answered = counters.does(counters.desk_a, counters.clerk, again)

    assert told(counters, answered) == adjusted(
        "payments.possible_duplicate",
        Left(
            kind="possible_duplicate",
            sentence="9.00 KES look like a payment that was recorded before; they are kept apart until it is known.",
            about=("payment", again.id),
            by="payment.take",
            said={"amount": "9.00", "currency": "KES", "reference": ""},
            had={"payment": first},
            outcome="parked as credit",
            task="Count the drawer or ask the card's bank: was 9.00 KES paid twice?",
        ),
    )
    assert (counters.invoice(invoice), counters.credit()) == (("PARTIALLY_PAID", 900, 900), 0)
    assert counters.credit(is_parked=True) == 900


def test_what_is_parked_pays_once_somebody_says_that_it_is_money(counters: CounterTown) -> None:
    invoice = counters.bills("18.00")
    counters.pays(invoice, "9.00")
    counters.does(counters.desk_a, counters.clerk, counters.payment(invoice, "9.00"))
    credit = credit_id(counters.party, "KES", "parked")

    answered = counters.office(ApplyCredit(credit=credit, invoice=invoice, amount="9.00"))

    assert told(counters, answered) == ACCEPTED
    assert (counters.invoice(invoice), counters.credit(is_parked=True)) == (("PAID", 1800, 0), 0)


def test_what_is_parked_is_voided_when_it_was_a_slip(counters: CounterTown) -> None:
    invoice = counters.bills("18.00")
    counters.pays(invoice, "9.00")
    again = counters.payment(invoice, "9.00")
    counters.does(counters.desk_a, counters.clerk, again)

    answered = counters.does(counters.desk_a, counters.clerk, VoidPayment(payment=again.id, reason="a slip"))

    assert told(counters, answered) == ACCEPTED
    assert (counters.invoice(invoice)[1], counters.credit(is_parked=True)) == (900, 0)


def test_no_double_tap_is_what_another_takes_or_a_minute_later_or_another_sum(counters: CounterTown) -> None:
    invoice = counters.bills("90.00")
    taken = [
        (counters.desk_a, counters.clerk, "9.00"),
        (counters.desk_b, counters.clerk, "9.00"),
        (counters.desk_a, counters.other_clerk, "9.00"),
        (counters.desk_a, counters.clerk, "9.01"),
    ]

    verdicts = [counters.does(desk, who, counters.payment(invoice, much)).verdict for desk, who, much in taken]
    counters.now_ms += DOUBLE_TAP_MS
    verdicts.append(counters.does(counters.desk_a, counters.clerk, counters.payment(invoice, "9.01")).verdict)

    assert [verdict.rule for verdict in verdicts] == [None] * 5


def test_payments_possible_duplicate_of_one_card_payment_recorded_twice(counters: CounterTown) -> None:
    invoice = counters.bills("18.00")
    card = {"method": "card", "reference": "T-77"}
    first, _ = counters.pays(invoice, "9.00", **card)
    second = counters.payment(invoice, "9.00", **card)
    counters.now_ms += 24 * 3_600_000

    answered = counters.does(counters.desk_b, counters.other_clerk, second)

    assert answered.verdict.rule == "payments.possible_duplicate"
    [conflict] = counters.rows_of("conflict").values()
    assert conflict["had"] == {"payment": first}
    assert (counters.invoice(invoice)[1], counters.credit(is_parked=True)) == (900, 900)
    assert counters.balances() == {"card_clearing": 1800, "credit": -900, "receivable": 900, "sales": -1800}


def test_payments_credit_unfit_when_there_is_less_or_less_is_owed(counters: CounterTown) -> None:
    paid, owed = counters.bills("9.00"), counters.bills("3.00")
    counters.pays(paid, "11.00")
    credit = credit_id(counters.party, "KES")

    for amount in ("2.01", "0.00"):
        assert told(counters, counters.office(ApplyCredit(credit=credit, invoice=owed, amount=amount))) == refused(
            "payments.credit_unfit",
            f"{amount} KES cannot be put on {TITLE}: there are 2.00 KES of credit, and 3.00 KES to pay.",
        )
    counters.office(ApplyCredit(credit=credit, invoice=owed, amount="2.00"))

    assert (counters.invoice(owed), counters.credit()) == (("PARTIALLY_PAID", 200, 100), 0)


def test_credit_of_one_order_pays_for_another_and_both_show_it(counters: CounterTown) -> None:
    cancelled, order = counters.places(), counters.places(number="1002")
    counters.does(counters.van_a, counters.driver_a, TakePayment(order=cancelled, amount="9.00", currency="KES"))
    counters.office(CancelOrder(order=cancelled))
    credit = credit_id(party_id(cancelled), "KES")

    answered = counters.office(ApplyCredit(credit=credit, invoice=invoice_id(order), amount="7.00"))

    assert told(counters, answered) == ACCEPTED
    assert (money(counters, cancelled), money(counters, order)) == ((900, 0, 200), (900, 700, 0))


def test_a_counter_takes_money_for_an_orders_invoice_and_the_order_shows_it(counters: CounterTown) -> None:
    order = counters.places()
    dispatch = counters.assigns(order)

    _, answered = counters.pays(invoice_id(order), "4.00")

    assert told(counters, answered) == ACCEPTED
    assert money(counters, order) == (900, 400, 0)
    assert counters.row("dispatch", dispatch)["cod_due_minor"] == 500
    assert counters.invoice(invoice_id(order)) == ("PARTIALLY_PAID", 400, 500)
