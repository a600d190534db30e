"""Who wins over drawers: cash belongs to the session it was put into, and what is late amends the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson
import pytest

from sync.engine.decide import decide
from sync.kernel.changeset import ChangeSet, Fields, Operation, RowKey
from sync.kernel.draft import Context
from sync.kernel.view import UNSEEN, Unseen
from sync.modules import registry
from sync.modules.billing import CloseDrawer, CountDrawer, Money, OpenDrawer, PayRefund, TakePayment, VoidPayment
from sync.modules.billing.entities import report_id, till_id
from sync.modules.commerce import CompleteDelivery
from tests.support.counters import CounterTown
from tests.support.decisions import ACCEPTED, Left, adjusted, depart, noted, refused, told


@dataclass(frozen=True)
class Held:
    """What a device holds."""

    rows: Mapping[RowKey, Fields]

    def get(self, entity: str, row_id: str) -> Fields | Unseen:
        """A row, unless the device does not hold it."""
        return self.rows.get((entity, row_id), UNSEEN)


def test_a_day_at_a_counter_from_float_to_report(counters: CounterTown) -> None:
    invoice = counters.bills("30.00")
    drawer = counters.opens("20.00")
    counters.pays(invoice, "30.00")

    assert told(counters, counters.counts(drawer, "50.00")) == ACCEPTED
    assert told(counters, counters.closes(drawer)) == ACCEPTED

    report = counters.row("drawer_report", report_id(drawer, 1))
    sums = {name: report[name] for name in ("opening", "expected", "counted", "differences")}
    assert sums == {
        "opening": {"KES": 2000},
        "expected": {"KES": 5000},
        "counted": {"KES": 5000},
        "differences": {},
    }
    assert counters.balances() == {"bank": 3000, "sales": -3000}
    assert counters.row("drawer_session", drawer)["state"] == "CLOSED"


def test_payments_drawer_difference_is_booked_and_somebody_finds_out_why(counters: CounterTown) -> None:
    drawer = counters.opens("20.00")
    opened_at = counters.row("drawer_session", drawer)["opened_at"]
    counters.pays(counters.bills("30.00"), "30.00")
    counters.counts(drawer, "48.50")

    answered = counters.closes(drawer)

    assert told(counters, answered) == adjusted(
        "payments.drawer_difference",
        Left(
            kind="drawer_difference",
            sentence="The drawer was counted with a difference of -1.50 KES.",
            about=("drawer_session", drawer),
            by="drawer.close",
            said={"counted": {"KES": 4850}},
            had={"expected": {"KES": 5000}},
            outcome="over/short",
            task=f"Find out why the drawer of {opened_at} is off by -1.50 KES",
        ),
    )
    assert counters.balances() == {"bank": 2850, "over_short": 150, "sales": -3000}


def test_who_counts_is_not_told_what_should_be_there(counters: CounterTown) -> None:
    drawer = counters.opens("20.00")

    def held() -> object:
        return orjson.loads(counters.bucket(f"device:{counters.desk_a.id}")["drawer_session", drawer])["expected"]

    before = held()
    counters.counts(drawer, "20.00")
    counted = held()
    counters.closes(drawer)

    assert (before, counted, held()) == (None, None, {"KES": 2000})


def test_cash_without_a_drawer_opens_one_by_itself(counters: CounterTown) -> None:
    counters.pays(counters.bills("9.00"), "9.00")

    session = counters.row("drawer_session", counters.drawer())

    assert (session["is_implied"], session["opening"], session["expected"]) == (True, {}, {"KES": 900})
    assert told(counters, counters.counts(counters.drawer(), "9.00")) == ACCEPTED
    assert told(counters, counters.closes(counters.drawer())) == ACCEPTED


def test_cash_at_the_door_closes_through_the_drivers_drawer(counters: CounterTown) -> None:
    order = counters.places()
    dispatch = depart(counters, order)
    cash = TakePayment(id=counters.new_id(), order=order, amount="9.00", currency="KES", method="cod")
    counters.does(counters.van_a, counters.driver_a, CompleteDelivery(dispatch=dispatch), cash)
    drawer = counters.row("till", till_id(counters.van_a.id))["session_id"]

    counted = CountDrawer(drawer=drawer, counted=[Money(amount="9.00", currency="KES")])
    counters.does(counters.van_a, counters.driver_a, counted)
    closed = counters.does(counters.van_a, counters.driver_a, CloseDrawer(drawer=drawer))

    assert told(counters, closed) == ACCEPTED
    assert counters.row("payment", cash.id)["drawer_id"] == drawer
    assert counters.balances() == {"bank": 900, "sales": -900}


def test_payments_drawer_in_use_is_closed_before_another_is_opened(counters: CounterTown) -> None:
    drawer = counters.opens()
    since = counters.row("drawer_session", drawer)["opened_at"]

    answered = counters.does(counters.desk_a, counters.clerk, OpenDrawer())

    assert told(counters, answered) == refused(
        "payments.drawer_in_use", f"There is a drawer in use here since {since}; count and close it first."
    )
    assert counters.opens(device=counters.desk_b, clerk=counters.other_clerk) in counters.rows_of("drawer_session")
    counters.counts(drawer, "20.00")
    counters.closes(drawer)
    assert counters.opens() == counters.drawer()


def test_payments_drawer_not_counted_is_not_closed_nor_closed_twice(counters: CounterTown) -> None:
    drawer = counters.opens()

    uncounted = counters.closes(drawer)
    counters.counts(drawer, "20.00")
    counters.closes(drawer)

    assert told(counters, uncounted) == refused(
        "payments.drawer_not_counted", "This drawer is open; it is closed once, after it was counted."
    )
    assert told(counters, counters.closes(drawer)) == refused(
        "payments.drawer_not_counted", "This drawer is closed; it is closed once, after it was counted."
    )


def test_what_comes_after_the_count_is_counted_again(counters: CounterTown) -> None:
    drawer = counters.opens("20.00")
    counters.counts(drawer, "20.00")
    counters.pays(counters.bills("9.00"), "9.00")

    assert counters.closes(drawer).verdict.rule == "payments.drawer_not_counted"
    counters.counts(drawer, "29.00")
    assert told(counters, counters.closes(drawer)) == ACCEPTED


def test_payments_drawer_closed_keeps_a_late_count_beside_it(counters: CounterTown) -> None:
    drawer = counters.opens("20.00")
    counters.counts(drawer, "20.00")
    counters.closes(drawer)

    assert told(counters, counters.counts(drawer, "19.00")) == noted(
        "payments.drawer_closed",
        "This drawer had been closed before it was counted again; the count is kept, and changes nothing.",
    )
    assert counters.row("drawer_session", drawer)["counted"] == {"KES": 2000}


def test_payments_late_item_amends_the_report_and_both_are_kept(counters: CounterTown) -> None:
    drawer = counters.opens("20.00")
    counters.counts(drawer, "29.00")
    base = counters.version
    counters.office(CloseDrawer(drawer=drawer))
    late = counters.payment(counters.bills("9.00"), "9.00")

    answered = counters.does(counters.desk_a, counters.clerk, late, base=base)

    closed_at = counters.row("drawer_session", drawer)["closed_at"]
    at = counters.row("payment", late.id)["taken_at"]
    assert told(counters, answered) == adjusted(
        "payments.late_item",
        Left(
            kind="late_item",
            sentence="9.00 KES belong to a drawer that had been closed; its report is amended, and both are kept.",
            about=("drawer_session", drawer),
            by="payment.take",
            said={"amount": "9.00", "currency": "KES", "at": at},
            had={"closed_at": closed_at},
            outcome="difference none",
            task="Look at the amended report of the drawer: 9.00 KES came late",
        ),
    )
    reports = [counters.row("drawer_report", report_id(drawer, number)) for number in (1, 2)]
    assert [report["differences"] for report in reports] == [{"KES": 900}, {}]
    assert reports[1]["late_payment_id"] == late.id
    assert counters.row("payment", late.id)["drawer_id"] == drawer
    assert counters.balances() == {"bank": 900, "sales": -900}


def test_who_has_closed_the_drawer_begins_another_with_the_next_cash(counters: CounterTown) -> None:
    drawer = counters.opens("20.00")
    base = counters.version
    counters.counts(drawer, "20.00")
    counters.closes(drawer)

    payment = counters.payment(counters.bills("9.00"), "9.00")
    answered = counters.does(counters.desk_a, counters.clerk, payment, base=base)

    assert told(counters, answered) == ACCEPTED
    assert counters.drawer() != drawer


def test_in_the_office_each_person_has_a_drawer(counters: CounterTown) -> None:
    for actor in (counters.admin, counters.dispatcher):
        counters.office(OpenDrawer(opening=[Money(amount="5.00", currency="KES")]), actor=actor)
    counters.office(counters.payment(counters.bills("9.00"), "9.00"), actor=counters.dispatcher)

    expected = [row["expected"] for row in counters.rows_of("drawer_session").values()]

    assert sorted(sums["KES"] for sums in expected) == [500, 1400]


def test_payments_drawer_not_here_is_closed_by_its_device_or_the_office(counters: CounterTown) -> None:
    drawer = counters.opens("20.00")
    counters.counts(drawer, "20.00")

    elsewhere = counters.does(counters.desk_b, counters.other_clerk, CloseDrawer(drawer=drawer))

    assert told(counters, elsewhere) == refused(
        "payments.drawer_not_here", "This is the drawer of another device; it is closed there, or in the office."
    )
    assert told(counters, counters.office(CloseDrawer(drawer=drawer))) == ACCEPTED


def test_payments_counted_elsewhere_changes_nothing_and_somebody_finds_out_why(counters: CounterTown) -> None:
    drawer = counters.opens("20.00")
    counted = CountDrawer(drawer=drawer, counted=[Money(amount="1.00", currency="KES")])

    answered = counters.does(counters.desk_b, counters.other_clerk, counted)

    assert told(counters, answered) == adjusted(
        "payments.counted_elsewhere",
        Left(
            kind="counted_elsewhere",
            sentence="A drawer of another device was counted here; the count is kept, and changes nothing.",
            about=("drawer_session", drawer),
            by="drawer.count",
            said={"counted": {"KES": 100}},
            had={"device_id": counters.desk_a.id, "state": "OPEN"},
            outcome="kept, without effect",
            task="Find out how the drawer of another device came to be counted here",
        ),
    )
    assert counters.row("drawer_session", drawer)["state"] == "OPEN"


def test_payments_drawer_not_here_for_a_driver_who_is_in_the_office(counters: CounterTown) -> None:
    drawer = counters.opens("20.00")
    counters.counts(drawer, "20.00")

    counted = counters.office(
        CountDrawer(drawer=drawer, counted=[Money(amount="1.00", currency="KES")]), actor=counters.driver_a
    )
    closed = counters.office(CloseDrawer(drawer=drawer), actor=counters.driver_a)

    assert (counted.verdict.rule, closed.verdict.rule) == ("payments.counted_elsewhere", "payments.drawer_not_here")
    assert told(counters, counters.office(CloseDrawer(drawer=drawer), actor=counters.dispatcher)) == ACCEPTED


def test_payments_not_voidable_out_of_the_drawer_of_another_in_the_office(counters: CounterTown) -> None:
    payment = counters.payment(counters.bills("9.00"), "9.00")
    counters.office(payment, actor=counters.dispatcher)

    by_other = counters.office(VoidPayment(payment=payment.id, reason="r"), actor=counters.admin)
    by_holder = counters.office(VoidPayment(payment=payment.id, reason="r"), actor=counters.dispatcher)

    assert (by_other.verdict.rule, told(counters, by_holder)) == ("payments.not_voidable", ACCEPTED)


def test_payments_not_voidable_once_it_was_counted_also_when_more_has_come_since(counters: CounterTown) -> None:
    invoice = counters.bills("50.00")
    counted, _ = counters.pays(invoice, "10.00")
    counters.counts(counters.drawer(), "10.00")
    since, _ = counters.pays(invoice, "1.00")

    rules = [
        counters.does(counters.desk_a, counters.clerk, VoidPayment(payment=payment, reason="r")).verdict.rule
        for payment in (counted, since)
    ]

    assert rules == ["payments.not_voidable", None]


def test_a_device_does_not_guess_the_difference_of_a_drawer(counters: CounterTown) -> None:
    drawer = counters.opens("20.00")
    row = orjson.loads(counters.bucket(f"device:{counters.desk_a.id}")["drawer_session", drawer])
    counted = {**row, "state": "COUNTED", "counted": {"KES": 2000}}

    said = counters.line(counters.desk_a, counters.clerk, CloseDrawer(drawer=drawer)).change_set
    assert isinstance(said, ChangeSet)
    context = Context(decided_at=counters.row("drawer_session", drawer)["opened_at"], is_truth=False, is_server=False)

    decision = decide(said, Held({("drawer_session", drawer): counted}), context, registry())

    assert decision.rows["drawer_session", drawer]["differences"] is None


@pytest.mark.parametrize("kind", ["open", "count", "give_back"])
def test_engine_signed_amount_beyond_what_the_town_thinks_possible(counters: CounterTown, kind: str) -> None:
    payment, _ = counters.pays(counters.bills("9.00"), "9.00")
    money = Money(amount="999999999999.99", currency="KES")
    said: dict[str, Operation] = {
        "open": OpenDrawer(opening=[money]),
        "count": CountDrawer(drawer=counters.drawer(), counted=[money]),
        "give_back": PayRefund(payment=payment, amount=money.amount, currency="KES"),
    }
    device = counters.desk_b if kind == "open" else counters.desk_a

    answered = counters.does(device, counters.clerk, said[kind])

    assert (answered.verdict.status.value, answered.verdict.rule) == ("refused", "engine.invalid_amount")
    assert counters.balances() == {"drawer": 900, "sales": -900}
