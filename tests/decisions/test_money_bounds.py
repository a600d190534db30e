"""Who wins where money could be made of nothing: parties of orders, ids taken in advance, refunds given back twice."""

from __future__ import annotations

from sync.kernel.ids import derived_id
from sync.modules.billing import (
    ApplyCredit,
    ApproveRefund,
    InvoiceLine,
    IssueInvoice,
    Money,
    OpenDrawer,
    PayRefund,
    RejectRefund,
    RequestPayment,
    RequestRefund,
    ReversePayment,
    VoidPayment,
)
from sync.modules.billing.entities import credit_id, invoice_id, party_id
from sync.modules.schools import UpsertStudent
from tests.support.counters import CounterTown
from tests.support.decisions import ACCEPTED, Told, refused, told


def issues(town: CounterTown, party: str, invoice: str | None = None) -> Told:
    """A clerk makes an invoice out at a counter; what was decided."""
    lines = [InvoiceLine(text="x", amount="5.00")]
    said = IssueInvoice(id=invoice or town.new_id(), party=party, title="x", lines=lines, currency="KES")
    return told(town, town.does(town.desk_a, town.clerk, said))


def wants(town: CounterTown, payment: str, amount: str, method: str = "cash") -> str:
    """A refund that was asked for at desk A."""
    said = {"id": town.new_id(), "payment": payment, "amount": amount, "currency": "KES", "reason": "r"}
    refund = RequestRefund.model_validate({**said, "method": method})
    town.does(town.desk_a, town.clerk, refund)
    return refund.id


def gives(town: CounterTown, payment: str, amount: str, refund: str | None = None) -> Told:
    """Cash is given back at desk A; what was decided."""
    paid = PayRefund(payment=payment, refund=refund, amount=amount, currency="KES")
    return told(town, town.does(town.desk_a, town.clerk, paid))


def approves(town: CounterTown, refund: str) -> Told:
    """The office agrees."""
    return told(town, town.office(ApproveRefund(refund=refund), actor=town.dispatcher))


def test_payments_party_bound_to_an_order_gets_no_other_invoice(counters: CounterTown) -> None:
    order = counters.places()
    name = counters.row("party", party_id(order))["name"]

    assert issues(counters, party_id(order)) == refused(
        "payments.party_bound",
        f"{name} is here only because of its order, which makes its own invoices; register a party for others.",
    )


def test_payments_party_bound_to_a_student_gets_no_other_invoice(counters: CounterTown) -> None:
    student = counters.new_id()
    counters.office(UpsertStudent(id=student, school=counters.school, number="1", name="Ada", class_name="1"))

    assert issues(counters, party_id(student)).rule == "payments.party_bound"


def test_engine_id_taken_by_what_the_town_will_derive_itself(counters: CounterTown) -> None:
    order = counters.new_id()
    session = derived_id("drawer_session", counters.desk_a.id, counters.desk_a.seq + 2)
    opening = OpenDrawer(id=session, opening=[Money(amount="20.00", currency="KES")])

    of_invoice = issues(counters, counters.party, invoice_id(order))
    of_drawer = told(counters, counters.does(counters.desk_a, counters.clerk, opening))

    assert of_invoice == refused("engine.id_taken", "The id of this invoice is already used.")
    assert of_drawer == refused("engine.id_taken", "The id of this drawer_session is already used.")


def test_what_was_given_back_before_it_was_agreed_is_not_given_back_again(counters: CounterTown) -> None:
    invoice = counters.bills("500.00")
    payment, _ = counters.pays(invoice, "500.00")
    refund = wants(counters, payment, "300.00", "momo")

    given = gives(counters, payment, "300.00", refund)
    approved = approves(counters, refund)

    assert (given.rule, approved) == ("payments.over_refund", ACCEPTED)
    row = counters.row("refund", refund)
    assert (row["state"], row["paid_minor"]) == ("PAID", 30_000)
    assert counters.settlement(payment)["refunded_minor"] == 30_000
    assert counters.balances() == {"drawer": 20_000, "receivable": 30_000, "sales": -50_000}
    assert not [effect for effect in counters.effects if effect.kind == "momo.refund"]


def test_what_was_given_back_in_part_before_it_was_agreed_leaves_the_rest(counters: CounterTown) -> None:
    payment, _ = counters.pays(counters.bills("500.00"), "500.00")
    refund = wants(counters, payment, "300.00")
    gives(counters, payment, "120.00", refund)

    approves(counters, refund)
    rest = counters.balances()["refunds_payable"]

    assert (rest, gives(counters, payment, "180.00", refund)) == (-18_000, ACCEPTED)
    assert counters.row("refund", refund)["state"] == "PAID"
    assert counters.balances() == {"drawer": 20_000, "receivable": 30_000, "sales": -50_000}


def test_what_was_given_back_stays_so_when_the_rest_is_not_agreed_to(counters: CounterTown) -> None:
    payment, _ = counters.pays(counters.bills("500.00"), "500.00")
    refund = wants(counters, payment, "300.00")
    gives(counters, payment, "350.00", refund)

    counters.office(RejectRefund(refund=refund, reason="no"), actor=counters.dispatcher)

    assert counters.settlement(payment)["refunded_minor"] == 35_000
    assert counters.balances() == {"drawer": 15_000, "receivable": 35_000, "sales": -50_000}


def test_what_was_given_back_of_a_claim_is_still_owed_when_the_claim_is_confirmed(counters: CounterTown) -> None:
    claim = RequestPayment(
        id=counters.new_id(), invoice=counters.new_id(), amount="9.00", currency="KES", payer="254700000001"
    )
    counters.does(counters.desk_a, counters.clerk, claim)
    gives(counters, claim.id, "5.00")

    counters.hears(claim.id)

    assert counters.settlement(claim.id)["suspense_minor"] == 400
    assert counters.balances() == {"drawer": -500, "momo_clearing": 900, "suspense": -400}


def test_a_refund_in_small_parts_needs_a_second_person_all_the_same(counters: CounterTown) -> None:
    payment, _ = counters.pays(counters.bills("500.00"), "500.00")

    states = [counters.row("refund", wants(counters, payment, "60.00"))["state"] for _ in range(2)]

    assert states == ["APPROVED", "REQUESTED"]


def test_payments_refund_unfounded_once_the_provider_has_taken_the_money_back(counters: CounterTown) -> None:
    payment = counters.asks("500.00", invoice=counters.bills("500.00"))
    counters.hears(payment, "500.00")
    refund = wants(counters, payment, "300.00", "momo")
    counters.does(counters.server, counters.server.id, ReversePayment(payment=payment, reference="R"))

    assert approves(counters, refund) == refused(
        "payments.refund_unfounded", "The payment is reversed by now; nothing of it can be given back."
    )


def test_credit_that_was_used_is_neither_refunded_nor_voided(counters: CounterTown) -> None:
    payment, _ = counters.pays(counters.bills("10.00"), "100.00")
    refund = counters.row("refund", early := wants(counters, payment, "1.00"))
    counters.office(RejectRefund(refund=early, reason="no"), actor=counters.dispatcher)
    use = ApplyCredit(credit=credit_id(counters.party, "KES"), invoice=counters.bills("80.00"), amount="80.00")
    counters.does(counters.desk_a, counters.clerk, use)

    asked = RequestRefund(payment=payment, amount="20.00", currency="KES", reason="r")
    too_much = counters.does(counters.desk_a, counters.clerk, asked)
    void = counters.does(counters.desk_a, counters.clerk, VoidPayment(payment=payment, reason="r"))

    assert refund["state"] == "APPROVED"
    assert told(counters, too_much) == refused(
        "payments.refund_too_much", "19.00 KES of this payment can be refunded, 20.00 were asked for."
    )
    assert void.verdict.rule == "payments.not_voidable"


def test_credit_that_was_used_before_a_refund_is_agreed_is_not_given_back(counters: CounterTown) -> None:
    payment, _ = counters.pays(counters.bills("10.00"), "500.00")
    refund = wants(counters, payment, "400.00")
    use = ApplyCredit(credit=credit_id(counters.party, "KES"), invoice=counters.bills("490.00"), amount="490.00")
    counters.does(counters.desk_a, counters.clerk, use)

    assert approves(counters, refund) == refused(
        "payments.refund_too_much", "10.00 KES of this payment can be refunded, 400.00 were asked for."
    )
