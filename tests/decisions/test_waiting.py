"""Facts about an order that has not been heard of: kept on a stub, cash on the books, counted when the order comes."""

from __future__ import annotations

import pytest

from sync.engine import stubs
from sync.engine.stubs import STUB_FACTS_MAX, stub_id
from sync.engine.town import Answered
from sync.kernel.cases import ID_TAKEN, QUARANTINED
from sync.kernel.changeset import Operation
from sync.kernel.clock import format_time
from sync.kernel.draft import Draft, Refused, UnknownRow
from sync.kernel.errors import InvalidMoney
from sync.kernel.ids import derived_id
from sync.modules.billing import TakePayment
from sync.modules.billing.marks import DOUBLE_TAP_MS
from sync.modules.casework import ResolveConflict
from sync.modules.commerce import (
    AssignDispatch,
    AssignStub,
    CompleteDelivery,
    CompletePack,
    ExpireStub,
    PickLine,
    PlaceOrder,
    ReceiveStock,
    StartDelivery,
    StartPick,
)
from sync.modules.commerce.operations import OrderLine
from sync.modules.commerce.waiting import WAIT_HOURS
from tests.support.decisions import (
    ACCEPTED,
    Left,
    Told,
    adjusted,
    axes,
    money,
    noted,
    refused,
    shelf,
    told,
    way,
)
from tests.support.town_in_memory import START_MS, MarketTown

LATE = derived_id("late")
STUB = stub_id("order", LATE)
WAITS = "This order is not known here yet; what was recorded is kept and counts as soon as it is."
HOUR_MS = 3_600_000


def arrives(town: MarketTown, order: str = LATE, quantity: int = 3) -> Answered:
    """The tablet that has taken the order reports at last."""
    lines = [OrderLine(product=town.tea, quantity=quantity, price="3.00")]
    place = PlaceOrder(id=order, number="1001", warehouse=town.warehouse, customer_name="Zoë", lines=lines)
    return town.does(town.tablet, town.picker, place)


def cash(order: str = LATE, amount: str = "9.00") -> TakePayment:
    return TakePayment(order=order, amount=amount, currency="KES")


def merged(count: int) -> Told:
    return noted(
        "engine.arrived", f"What had been reported of this order before it was known here counts now ({count})."
    )


def test_engine_awaited_keeps_a_pick_of_an_order_that_nobody_has_reported(town: MarketTown) -> None:
    answered = town.does(town.tablet, town.picker, StartPick(order=LATE))

    assert told(town, answered) == noted("engine.awaited", WAITS)
    stub = town.row("stub", STUB)
    assert (stub["awaited_entity"], stub["awaited_id"], stub["state"]) == ("order", LATE, "waiting")
    assert [(fact["device_id"], fact["seq"]) for fact in stub["facts"]] == [(town.tablet.id, town.tablet.seq)]
    assert town.rows_of("order") == {}


def test_payments_suspense_has_cash_for_an_unknown_order_on_the_books_at_once(town: MarketTown) -> None:
    answered = town.does(town.van_a, town.driver_a, cash())

    assert told(town, answered) == noted(
        "payments.suspense",
        "9.00 KES were taken for an order that is not known here yet; they are on the books, and count towards it as "
        "soon as it is.",
        WAITS,
    )
    [(payment_id, payment)] = town.rows_of("payment").items()
    assert (payment["order_id"], payment["amount_minor"], payment["status"]) == (LATE, 900, "CONFIRMED")
    assert ("payment", payment_id) in town.bucket(f"device:{town.van_a.id}")


def test_engine_arrived_has_everything_that_waited_count_in_the_order_it_came(town: MarketTown) -> None:
    town.does(town.tablet, town.picker, StartPick(order=LATE))
    town.does(town.tablet, town.picker, PickLine(order=LATE, product=town.tea, quantity=3))
    town.does(town.van_a, town.driver_a, cash())
    town.does(town.tablet, town.picker, CompletePack(order=LATE, parcels=2))

    answered = arrives(town)

    assert told(town, answered) == merged(4)
    assert axes(town, LATE) == ("active", "packed", "paid", "PACKED")
    assert (money(town, LATE), shelf(town, town.tea)) == ((900, 900, 0), (10, 3))
    assert way(town, LATE) == ["picking", "picked", "packed"]
    assert town.row("stub", STUB)["state"] == "merged"
    assert len(town.rows_of("payment")) == 1


def test_engine_arrived_leaves_each_conflict_in_the_name_of_the_device_that_had_reported(town: MarketTown) -> None:
    town.does(town.van_a, town.driver_a, cash(amount="10.00"))
    seq, at = town.van_a.seq, format_time(town.now_ms)
    town.now_ms += HOUR_MS

    answered = arrives(town)

    [(conflict_id, conflict)] = town.rows_of("conflict").items()
    assert answered.verdict.conflicts == (conflict_id,)
    assert (conflict["kind"], conflict["device_id"], conflict["seq"]) == ("overpayment", town.van_a.id, seq)
    assert (conflict["actor_id"], conflict["raised_at"]) == (town.driver_a, at)
    assert ("conflict", conflict_id) in town.bucket(f"device:{town.van_a.id}")


def test_engine_arrived_counts_what_waits_for_a_dispatch_when_it_comes(town: MarketTown) -> None:
    order, dispatch = town.places(), town.new_id()
    waits = town.does(town.van_a, town.driver_a, CompleteDelivery(dispatch=dispatch), cash(order))
    assert axes(town, order) == ("active", "warehouse", "paid", "PLACED")

    answered = town.office(AssignDispatch(id=dispatch, order=order, driver=town.driver_a))

    assert waits.verdict.rule == "engine.awaited"
    assert answered.verdict.rule == "engine.arrived"
    assert axes(town, order) == ("active", "customer", "paid", "DELIVERED")
    assert town.row("dispatch", dispatch)["state"] == "DELIVERED"


def test_what_misses_two_orders_waits_for_both(town: MarketTown) -> None:
    other = derived_id("other")
    answered = town.does(town.van_a, town.driver_a, cash(), cash(other, "4.00"))
    assert len(answered.verdict.notes) == 4

    arrives(town, other)
    assert (money(town, other), town.row("stub", STUB)["state"]) == ((900, 400, 0), "waiting")
    arrives(town)

    assert (money(town, LATE), money(town, other)) == ((900, 900, 0), (900, 400, 0))


def test_what_has_all_it_needs_takes_effect_beside_what_waits(town: MarketTown) -> None:
    receive = ReceiveStock(warehouse=town.warehouse, product=town.tea, quantity=2)

    town.does(town.tablet, town.picker, StartPick(order=LATE), receive)

    assert shelf(town, town.tea) == (12, 0)
    arrives(town)
    assert shelf(town, town.tea) == (12, 3)


FAULTS = [
    (UnknownRow("warehouse", LATE), "It points to a warehouse that does not exist here."),
    (InvalidMoney("nothing was taken"), "nothing was taken"),
    (Refused(ID_TAKEN, {"entity": "payment"}), "The id of this payment is already used."),
    (ZeroDivisionError(), "The rules failed over it (ZeroDivisionError)."),
]


@pytest.mark.parametrize(("fault", "problem"), FAULTS, ids=lambda value: type(value).__name__)
def test_engine_arrived_unfit_keeps_back_neither_the_order_nor_what_else_waited(
    town: MarketTown, monkeypatch: pytest.MonkeyPatch, fault: Exception, problem: str
) -> None:
    def pick(_operation: Operation, draft: Draft) -> None:
        if draft.get("order", LATE):
            draft.update("order", LATE, number="half done")
            raise fault
        draft.need("order", LATE)

    monkeypatch.setitem(town.registry.rules, "pick.line", (pick,))
    town.does(town.tablet, town.picker, PickLine(order=LATE, product=town.tea, quantity=1))
    seq = town.tablet.seq
    town.does(town.tablet, town.picker, StartPick(order=LATE))

    answered = arrives(town)

    assert (answered.verdict.rule, town.row("order", LATE)["number"]) == ("engine.arrived", "1001")
    assert axes(town, LATE)[:2] == ("active", "picking")
    [conflict] = town.rows_of("conflict").values()
    assert (conflict["rule"], conflict["device_id"], conflict["seq"], conflict["sentence"]) == (
        "engine.arrived_unfit",
        town.tablet.id,
        seq,
        f"{problem} What was recorded before this order was known here is kept, without effect.",
    )
    assert [task["text"] for task in town.rows_of("task").values()] == [
        f"Change set {seq} of this device has no effect on the order: find out what happened, and book it in the office"
    ]


def test_what_a_rule_had_done_before_it_missed_the_order_is_undone(
    town: MarketTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pick(operation: Operation, draft: Draft) -> None:
        draft.update("warehouse", town.warehouse, name="half done")
        draft.adjust(QUARANTINED, operation, subject=("order", LATE), problem="half done", seq=1)
        draft.need("order", LATE)

    monkeypatch.setitem(town.registry.rules, "pick.line", (pick,))

    answered = town.does(town.tablet, town.picker, PickLine(order=LATE, product=town.tea, quantity=1))

    assert told(town, answered) == noted("engine.awaited", WAITS)
    assert (town.row("warehouse", town.warehouse)["name"], town.rows_of("conflict")) == ("Main", {})


def test_people_keep_their_objections_to_what_waits(town: MarketTown) -> None:
    answered = town.does(town.van_a, town.driver_b, cash())

    assert answered.verdict.rule == "people.wrong_device"
    arrives(town)
    assert money(town, LATE) == (900, 900, 0)


def test_a_stub_that_is_full_leaves_the_rest_to_quarantine(town: MarketTown) -> None:
    verdicts = []
    for _ in range(STUB_FACTS_MAX + 1):
        town.now_ms += DOUBLE_TAP_MS
        verdicts.append(town.does(town.van_a, town.driver_a, cash(amount="0.10")).verdict)

    assert {verdict.rule for verdict in verdicts[:-1]} == {"payments.suspense"}
    assert (verdicts[-1].status.value, verdicts[-1].rule) == ("quarantined", "engine.unknown_reference")
    arrives(town)
    assert money(town, LATE) == (900, STUB_FACTS_MAX * 10, 0)


def test_a_stub_is_no_larger_than_its_bytes(town: MarketTown, monkeypatch: pytest.MonkeyPatch) -> None:
    town.does(town.tablet, town.picker, StartPick(order=LATE))
    monkeypatch.setattr(stubs, "STUB_BYTES_MAX", 400)

    answered = town.does(town.tablet, town.picker, StartPick(order=LATE))

    assert answered.verdict.status.value == "quarantined"


@pytest.mark.parametrize(
    "operation",
    [
        AssignDispatch(order=LATE, driver=derived_id("d")),
        ResolveConflict(conflict=derived_id("c"), how="accept", note="n"),
    ],
)
def test_a_wish_waits_for_nothing(town: MarketTown, operation: Operation) -> None:
    assert town.office(operation).verdict.status.value == "refused"
    assert town.rows_of("stub") == {}


def test_what_the_office_says_waits_for_nothing(town: MarketTown) -> None:
    assert town.office(cash()).verdict.status.value == "quarantined"
    assert (town.rows_of("stub"), town.rows_of("payment")) == ({}, {})


def test_nothing_waits_for_what_was_refused_already(town: MarketTown) -> None:
    lost = AssignDispatch(id=town.new_id(), order=town.places(), driver=town.picker)
    town.office(lost)

    answered = town.does(town.van_a, town.driver_a, StartDelivery(dispatch=lost.id))

    assert answered.verdict.rule == "engine.depends_on"
    assert town.rows_of("stub") == {}


def test_orders_never_arrived_asks_somebody_to_look_once(town: MarketTown) -> None:
    town.does(town.tablet, town.picker, StartPick(order=LATE))
    seq = town.tablet.seq
    town.now_ms += WAIT_HOURS * HOUR_MS

    first, second = expired(town), expired(town)

    assert told(town, first) == adjusted(
        "orders.never_arrived",
        Left(
            kind="unknown_order",
            sentence="1 reports wait for 72 hours for an order that has not come.",
            about=("stub", STUB),
            by="stub.expire",
            said={
                "facts": [
                    {
                        "device_id": town.tablet.id,
                        "seq": seq,
                        "actor_id": town.picker,
                        "at": f"{format_time(START_MS)}-0002",
                        "operations": ["pick.start"],
                    }
                ]
            },
            had={"order": None},
            outcome="it waits on",
            task="Find the device that has not reported, or what these reports are about",
        ),
    )
    assert told(town, second) == ACCEPTED
    assert told(town, arrives(town)) == merged(1)
    assert axes(town, LATE)[1] == "picking"


def test_payments_unknown_invoice_says_how_much_is_in_suspense(town: MarketTown) -> None:
    town.does(town.van_a, town.driver_a, cash())
    town.does(town.van_b, town.driver_b, cash(amount="1.00"))
    town.now_ms += WAIT_HOURS * HOUR_MS

    (left,) = told(town, expired(town)).left

    assert (left.kind, left.sentence, left.task) == (
        "unknown_invoice",
        "10.00 KES were taken for an order that has not come for 72 hours; they are in suspense.",
        "Find out what 10.00 KES were paid for, and assign them",
    )


def test_facts_wait_for_their_time_before_anybody_is_asked(town: MarketTown) -> None:
    town.does(town.tablet, town.picker, StartPick(order=LATE))
    town.now_ms += WAIT_HOURS * HOUR_MS - 1

    assert told(town, expired(town)) == ACCEPTED
    assert town.row("stub", STUB)["state"] == "waiting"


def test_a_person_says_which_order_was_meant_and_the_cash_counts_towards_it(town: MarketTown) -> None:
    town.does(town.van_a, town.driver_a, cash())
    town.now_ms += WAIT_HOURS * HOUR_MS
    (conflict,) = expired(town).verdict.conflicts
    order = town.places()

    answered = town.office(
        ResolveConflict(conflict=conflict, how="reassign", note="a slip of the scanner"),
        AssignStub(stub=STUB, order=order),
    )

    assert answered.verdict.rule == "engine.arrived"
    assert (money(town, order), axes(town, order)[2]) == ((900, 900, 0), "paid")
    assert (town.row("stub", STUB)["state"], town.row("stub", STUB)["given_id"]) == ("merged", order)
    assert town.row("conflict", conflict)["state"] == "resolved"


def test_orders_nothing_waits_refuses_to_assign_what_counts_already(town: MarketTown) -> None:
    town.does(town.tablet, town.picker, StartPick(order=LATE))
    arrives(town)

    answered = town.office(AssignStub(stub=STUB, order=town.places()))

    assert told(town, answered) == refused("orders.nothing_waits", "Nothing waits here that could be said of an order.")


def expired(town: MarketTown) -> Answered:
    return town.does(town.server, town.server.id, ExpireStub(stub=STUB))
