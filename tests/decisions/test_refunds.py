"""Who wins when money goes back: voids, refunds that two people agree to, and cash that was given back unasked."""

from __future__ import annotations

from typing import Any

import pytest

from sync.engine.town import Answered
from sync.modules.billing import (
    ApproveRefund,
    CloseDrawer,
    PayRefund,
    RejectRefund,
    RequestRefund,
    TakePayment,
    VoidPayment,
)
from sync.modules.identity import ChangeSettings
from sync.modules.town_settings import TownSettings
from tests.support.counters import CounterTown
from tests.support.decisions import ACCEPTED, Left, Told, adjusted, money, refused, told


@pytest.fixture
def paid(counters: CounterTown) -> tuple[str, str]:
    """An invoice over 300.00 that is paid, and its payment."""
    invoice = counters.bills("300.00")
    return invoice, counters.pays(invoice, "300.00")[0]


def wants(town: CounterTown, payment: str, amount: str, **said: Any) -> tuple[str, Answered]:
    """The clerk asks for a refund; its id and what was decided."""
    refund = RequestRefund(id=town.new_id(), payment=payment, amount=amount, currency="KES", reason="broken", **said)
    return refund.id, town.does(town.desk_a, town.clerk, refund)


def gives(town: CounterTown, payment: str, amount: str, refund: str | None = None, **said: Any) -> Told:
    """Cash is given back at desk A; what was decided."""
    paid = PayRefund(payment=payment, refund=refund, amount=amount, currency="KES", **said)
    return told(town, town.does(town.desk_a, town.clerk, paid))


def test_a_void_puts_everything_back_as_it_was(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    payment, _ = counters.pays(invoice, "10.50")

    answered = counters.does(counters.desk_a, counters.clerk, VoidPayment(payment=payment, reason="wrong customer"))

    assert told(counters, answered) == ACCEPTED
    assert (counters.invoice(invoice), counters.credit()) == (("PENDING", 0, 900), 0)
    assert counters.balances() == {"receivable": 900, "sales": -900}
    assert counters.settlement(payment)["status"] == "VOIDED"


def test_a_void_of_cash_for_an_order_shows_on_the_order(counters: CounterTown) -> None:
    order = counters.places()
    payment = TakePayment(id=counters.new_id(), order=order, amount="9.00", currency="KES", method="cod")
    counters.does(counters.van_a, counters.driver_a, payment)

    counters.does(counters.van_a, counters.driver_a, VoidPayment(payment=payment.id, reason="r"))

    assert money(counters, order) == (900, 0, 0)


def test_payments_not_voidable_elsewhere_or_again_or_once_it_was_counted(counters: CounterTown) -> None:
    payment, _ = counters.pays(counters.bills("9.00"), "9.00")
    void = VoidPayment(payment=payment, reason="r")
    no = refused(
        "payments.not_voidable",
        "The 9.00 KES are no longer in the open drawer of this device that they were put into; use a refund.",
    )

    elsewhere = counters.does(counters.desk_b, counters.clerk, void)
    counters.counts(counters.drawer(), "9.00")
    counted = counters.does(counters.desk_a, counters.clerk, void.model_copy(update={"id": counters.new_id()}))

    assert (told(counters, elsewhere), told(counters, counted)) == (no, no)
    other, _ = counters.pays(counters.bills("9.00"), "9.00")
    counters.does(counters.desk_a, counters.clerk, VoidPayment(payment=other, reason="r"))
    assert told(counters, counters.does(counters.desk_a, counters.clerk, VoidPayment(payment=other, reason="r"))) == no
    card, _ = counters.pays(counters.bills("9.00"), "9.00", method="card", reference="T1")
    assert told(counters, counters.does(counters.desk_a, counters.clerk, VoidPayment(payment=card, reason="r"))) == no


def test_a_small_refund_is_agreed_at_once_and_paid_out_of_the_drawer(
    counters: CounterTown, paid: tuple[str, str]
) -> None:
    invoice, payment = paid
    refund, answered = wants(counters, payment, "100.00")
    owed = counters.balances()

    assert told(counters, answered) == ACCEPTED
    assert owed == {"drawer": 30_000, "receivable": 10_000, "refunds_payable": -10_000, "sales": -30_000}
    assert gives(counters, payment, "100.00", refund) == ACCEPTED
    assert counters.row("refund", refund)["state"] == "PAID"
    assert counters.invoice(invoice) == ("PARTIALLY_PAID", 20_000, 10_000)
    assert counters.balances() == {"drawer": 20_000, "receivable": 10_000, "sales": -30_000}


def test_what_was_paid_too_much_is_refunded_out_of_the_credit(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    payment, _ = counters.pays(invoice, "10.50")

    refund, _ = wants(counters, payment, "1.50")
    gives(counters, payment, "1.50", refund)

    assert (counters.invoice(invoice), counters.credit()) == (("PAID", 900, 0), 0)


def test_payments_second_person_has_to_agree_above_the_limit(counters: CounterTown, paid: tuple[str, str]) -> None:
    refund, answered = wants(counters, paid[1], "100.01")
    asked = counters.row("refund", refund)["state"]
    counters.office(ChangeSettings(settings=TownSettings()), actor=counters.admin)

    approve = ApproveRefund(refund=refund)
    by_dispatcher = told(counters, counters.office(approve, actor=counters.dispatcher))

    assert (told(counters, answered), asked, by_dispatcher) == (ACCEPTED, "REQUESTED", ACCEPTED)
    assert counters.row("refund", refund)["state"] == "APPROVED"
    own = RequestRefund(id=counters.new_id(), payment=paid[1], amount="150.00", currency="KES", reason="r")
    counters.office(own)
    assert told(counters, counters.office(ApproveRefund(refund=own.id))) == refused(
        "payments.second_person", "Who has asked for a refund cannot approve it; ask somebody else."
    )


def test_the_town_says_how_much_one_person_may_refund(counters: CounterTown, paid: tuple[str, str]) -> None:
    counters.office(ChangeSettings(settings=TownSettings(refund_units_max=5)), actor=counters.admin)

    states = [counters.row("refund", wants(counters, paid[1], amount)[0])["state"] for amount in ("5.00", "5.01")]

    assert states == ["APPROVED", "REQUESTED"]


def test_payments_refund_decided_is_decided_once(counters: CounterTown, paid: tuple[str, str]) -> None:
    refund, _ = wants(counters, paid[1], "200.00")
    counters.office(RejectRefund(refund=refund, reason="no"))

    for again in (ApproveRefund(refund=refund), RejectRefund(refund=refund, reason="no")):
        assert told(counters, counters.office(again)) == refused(
            "payments.refund_decided", "This refund is rejected already."
        )
    assert wants(counters, paid[1], "300.00")[1].verdict.rule is None


def test_payments_refund_too_much_is_refused_also_in_parts(counters: CounterTown, paid: tuple[str, str]) -> None:
    wants(counters, paid[1], "250.00")

    _, answered = wants(counters, paid[1], "50.01")

    assert told(counters, answered) == refused(
        "payments.refund_too_much", "50.00 KES of this payment can be refunded, 50.01 were asked for."
    )
    pending = counters.asks(invoice=counters.bills("9.00"))
    assert wants(counters, pending, "1.00")[1].verdict.rule == "payments.refund_too_much"


def test_payments_over_refund_is_a_fact_and_the_party_owes_it(counters: CounterTown, paid: tuple[str, str]) -> None:
    invoice, payment = paid
    refund, _ = wants(counters, payment, "40.00")

    given = gives(counters, payment, "50.00", refund)

    assert given == adjusted(
        "payments.over_refund",
        Left(
            kind="over_refund",
            sentence="10.00 KES more than was agreed were given back; they are owed again.",
            about=("payment", payment),
            by="refund.pay",
            said={"amount": "50.00", "currency": "KES"},
            had={"agreed_minor": 4000},
            outcome="owed again",
            task="Approve the 10.00 KES that were given back, or collect them",
        ),
    )
    assert counters.invoice(invoice) == ("PARTIALLY_PAID", 25_000, 5_000)
    assert counters.balances() == {"drawer": 25_000, "receivable": 5_000, "sales": -30_000}


def test_payments_over_refund_of_more_than_was_ever_paid_is_a_debt(counters: CounterTown) -> None:
    invoice = counters.bills("9.00")
    payment, _ = counters.pays(invoice, "9.00")

    given = gives(counters, payment, "12.00")

    assert given.rule == "payments.over_refund"
    assert (counters.invoice(invoice), counters.credit()) == (("PENDING", 0, 900), -300)
    assert counters.balances() == {"credit": 300, "drawer": -300, "receivable": 900, "sales": -900}


def test_payments_over_refund_of_an_orders_money_shows_on_the_order(counters: CounterTown) -> None:
    order = counters.places()
    payment = TakePayment(id=counters.new_id(), order=order, amount="9.00", currency="KES")
    counters.does(counters.van_a, counters.driver_a, payment)

    gives(counters, payment.id, "10.00")

    assert money(counters, order) == (900, 0, -100)
    counters.now_ms += 60_000
    again = TakePayment(order=order, amount="10.00", currency="KES")
    counters.does(counters.van_a, counters.driver_a, again)
    assert money(counters, order) == (900, 900, 0)


def test_a_refund_by_mobile_money_is_asked_for_once_it_is_agreed(counters: CounterTown) -> None:
    payment = counters.asks(invoice=counters.bills("9.00"))
    counters.hears(payment)
    refund, _ = wants(counters, payment, "9.00", method="momo")

    assert [(effect.kind, dict(effect.data)) for effect in counters.effects][1:] == [
        ("momo.refund", {"refund": refund})
    ]
    paid = PayRefund(payment=payment, refund=refund, amount="9.00", currency="KES", method="momo", reference="D1")
    counters.does(counters.server, counters.server.id, paid)
    assert counters.balances() == {"receivable": 900, "sales": -900}
    assert counters.row("refund", refund)["reference"] == "D1"


def test_a_refund_out_of_a_drawer_that_the_office_has_closed_amends_its_report(
    counters: CounterTown, paid: tuple[str, str]
) -> None:
    drawer, base = counters.drawer(), counters.version
    refund, _ = wants(counters, paid[1], "10.00")
    counters.counts(drawer, "290.00")
    base = counters.version
    counters.office(CloseDrawer(drawer=drawer))
    given = PayRefund(payment=paid[1], refund=refund, amount="10.00", currency="KES")

    answered = counters.does(counters.desk_a, counters.clerk, given, base=base)

    assert answered.verdict.rule == "payments.late_item"
    assert counters.row("drawer_session", drawer)["differences"] == {}
