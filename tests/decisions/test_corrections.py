"""What drivers say that does not fit their tour or their earlier word, and what customers may still call off."""

from __future__ import annotations

import pytest

from sync.kernel.changeset import Operation
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id
from sync.modules.billing import TakePayment
from sync.modules.casework import ResolveConflict
from sync.modules.commerce import (
    CancelOrder,
    CompleteDelivery,
    CorrectDelivery,
    FailDelivery,
    ReassignDispatch,
    ReturnDelivery,
    StartDelivery,
    StartPick,
)
from sync.modules.commerce.corrections import ATTEMPTS_MAX
from tests.support.decisions import (
    ACCEPTED,
    Left,
    adjusted,
    axes,
    depart,
    money,
    noted,
    refused,
    shelf,
    states,
    told,
    way,
)
from tests.support.town_in_memory import START_MS, MarketTown

AT = format_time(START_MS)


def delivered(town: MarketTown) -> tuple[str, str]:
    """An order that was handed over and paid; also its dispatch."""
    order = town.places()
    dispatch = depart(town, order)
    town.does(
        town.van_a,
        town.driver_a,
        CompleteDelivery(dispatch=dispatch, received_by="Zoë"),
        TakePayment(order=order, amount="9.00", currency="KES"),
    )
    return order, dispatch


def test_orders_delivery_corrected_puts_the_goods_back_on_the_van_and_tells_the_supervisor(town: MarketTown) -> None:
    order, dispatch = delivered(town)
    assert shelf(town, town.tea) == (7, 0)

    answered = town.does(town.van_a, town.driver_a, CorrectDelivery(dispatch=dispatch, reason="wrong house"))

    assert told(town, answered) == adjusted(
        "orders.delivery_corrected",
        Left(
            kind="delivery_corrected",
            sentence="Order 1001 was not delivered after all (wrong house).",
            about=("order", order),
            by="delivery.correct",
            said={"operation": "delivery.correct", "reason": "wrong house", "at": AT},
            had={"status": "DELIVERED", "delivered_at": AT},
            outcome="not delivered; the goods are on the van",
            task="Order 1001: speak with the driver and the customer, and find out where goods and money are",
        ),
    )
    assert axes(town, order) == ("active", "undelivered", "paid", "FAILED")
    assert (money(town, order), shelf(town, town.tea)) == ((900, 900, 0), (10, 3))
    assert (town.row("order", order)["attempts"], town.row("order", order)["delivered_at"]) == (1, None)
    assert (states(town), way(town, order)[-2:]) == ([("A", "FAILED", 1)], ["customer", "undelivered"])


def test_orders_corrected_too_often_leaves_it_to_the_office(town: MarketTown) -> None:
    order, dispatch = delivered(town)
    again = [CorrectDelivery(dispatch=dispatch, reason="wrong house"), CompleteDelivery(dispatch=dispatch)]
    town.does(town.van_a, town.driver_a, *(again * ATTEMPTS_MAX))
    moved = len(town.rows_of("stock_movement"))

    answered = town.does(town.van_a, town.driver_a, again[0])

    assert told(town, answered) == adjusted(
        "orders.corrected_too_often",
        Left(
            kind="corrected_too_often",
            sentence="There were 10 attempts to deliver order 1001; it stays delivered until the office corrects it.",
            about=("order", order),
            by="delivery.correct",
            said={"operation": "delivery.correct", "reason": "wrong house", "at": AT},
            had={"status": "DELIVERED", "delivered_at": AT},
            outcome="stays delivered",
            task="Order 1001: speak with the driver and the customer, and correct the delivery if there was none",
        ),
    )
    assert (len(town.rows_of("stock_movement")), shelf(town, town.tea)) == (moved, (7, 0))
    assert town.office(again[0]).verdict.rule == "orders.delivery_corrected"
    assert shelf(town, town.tea) == (10, 3)


def test_orders_not_delivered_resolves_no_conflict(town: MarketTown) -> None:
    order, dispatch = delivered(town)
    correct = CorrectDelivery(dispatch=dispatch, reason="wrong house")
    answered = town.does(town.van_a, town.driver_a, correct)
    resolve = ResolveConflict(conflict=answered.verdict.conflicts[0], how="compensate", note="n")

    sentence = "Order 1001 does not stand as delivered by this dispatch; there is nothing to correct."
    assert told(town, town.office(resolve, correct)) == refused("orders.not_delivered", sentence)
    assert town.row("conflict", resolve.conflict)["state"] == "open"
    assert axes(town, order)[1] == "undelivered"


def test_after_a_correction_the_order_can_be_delivered_again_or_come_back(town: MarketTown) -> None:
    order, dispatch = delivered(town)
    town.does(town.van_a, town.driver_a, CorrectDelivery(dispatch=dispatch, reason="wrong house"))

    answered = town.does(town.van_a, town.driver_a, CompleteDelivery(dispatch=dispatch))
    assert answered.verdict.rule == "orders.states_skipped"
    assert (axes(town, order)[1:], shelf(town, town.tea)) == (("customer", "paid", "DELIVERED"), (7, 0))
    town.does(town.van_a, town.driver_a, CorrectDelivery(dispatch=dispatch, reason="wrong again"))
    town.does(town.tablet, town.picker, ReturnDelivery(order=order))

    assert (axes(town, order)[1], shelf(town, town.tea)) == ("returned", (10, 0))


def test_a_correction_of_a_delivery_after_a_recall_gives_the_money_back_as_credit(town: MarketTown) -> None:
    order = town.places()
    dispatch = depart(town, order)
    town.office(CancelOrder(order=order))
    town.does(
        town.van_a,
        town.driver_a,
        CompleteDelivery(dispatch=dispatch),
        TakePayment(order=order, amount="9.00", currency="KES"),
    )
    town.does(town.van_a, town.driver_a, CorrectDelivery(dispatch=dispatch, reason="wrong house"))

    town.does(town.tablet, town.picker, ReturnDelivery(order=order))

    assert (axes(town, order)[:2], money(town, order)) == (("cancelled", "returned"), (900, 0, 900))


def test_a_correction_of_what_had_been_cancelled_makes_credit_of_the_money_at_once(town: MarketTown) -> None:
    order = town.places()
    dispatch = town.assigns(order)
    town.office(CancelOrder(order=order))
    payment = TakePayment(order=order, amount="9.00", currency="KES")
    town.does(town.van_a, town.driver_a, CompleteDelivery(dispatch=dispatch), payment)
    assert money(town, order) == (900, 900, 0)

    answered = town.does(town.van_a, town.driver_a, CorrectDelivery(dispatch=dispatch, reason="wrong house"))

    assert [left.kind for left in told(town, answered).left] == ["paid_before_cancel", "delivery_corrected"]
    assert (axes(town, order)[:2], money(town, order)) == (("cancelled", "undelivered"), (900, 0, 900))


def test_orders_nothing_to_correct_when_the_order_does_not_stand_as_delivered(town: MarketTown) -> None:
    order = town.places()
    dispatch = depart(town, order)
    before = town.row("order", order)

    answered = town.does(town.van_a, town.driver_a, CorrectDelivery(dispatch=dispatch, reason="wrong house"))

    assert told(town, answered) == noted(
        "orders.nothing_to_correct",
        "Order 1001 does not stand as delivered by this dispatch; there is nothing to correct.",
    )
    assert town.row("order", order) == before


def test_orders_nothing_to_correct_of_what_another_driver_has_delivered(town: MarketTown) -> None:
    order = town.places()
    first = depart(town, order)
    other = ReassignDispatch(id=town.new_id(), order=order, driver=town.driver_b)
    town.office(other)
    town.does(town.van_b, town.driver_b, CompleteDelivery(dispatch=other.id))

    answered = town.does(town.van_a, town.driver_a, CorrectDelivery(dispatch=first, reason="wrong house"))

    assert answered.verdict.rule == "orders.nothing_to_correct"
    assert axes(town, order)[1] == "customer"


def test_the_other_drivers_device_is_told_in_the_version_of_the_delivery(town: MarketTown) -> None:
    order = town.places()
    first = depart(town, order)
    other = ReassignDispatch(id=town.new_id(), order=order, driver=town.driver_b)
    town.office(other)
    line = town.line(town.van_a, town.driver_a, CompleteDelivery(dispatch=first, received_by="Zoë"))

    step = town.take([line])

    bucket = f"driver:{town.driver_b}"
    changed = {(row.entity, row.row_id): row.body is None for row in step.feed if row.bucket == bucket}
    assert changed == {("dispatch", other.id): False, ("order", order): True}
    assert town.row("dispatch", other.id)["state"] == "WITHDRAWN"


REPORTS: list[tuple[type[Operation], dict[str, str], str]] = [
    (StartDelivery, {}, "van"),
    (CompleteDelivery, {}, "customer"),
    (FailDelivery, {"reason": "nobody in"}, "undelivered"),
]


@pytest.mark.parametrize(("kind", "more", "custody"), REPORTS, ids=lambda value: getattr(value, "op", ""))
def test_orders_not_on_tour_is_recorded_and_looked_into(
    town: MarketTown, kind: type[Operation], more: dict[str, str], custody: str
) -> None:
    order = town.places(payment_method="account")
    dispatch = town.assigns(order)

    answered = town.does(town.van_b, town.driver_b, kind.model_validate({"dispatch": dispatch, **more}))

    [left] = told(town, answered).left
    assert left == Left(
        kind="not_on_tour",
        sentence="Berta reported about order 1001, which is another driver's; what had already happened is kept.",
        about=("order", order),
        by=kind.op,
        said={"operation": kind.op, "at": AT},
        had={"driver_id": town.driver_a},
        outcome="recorded",
        task="Order 1001: find out how Berta came to have it, and whether the device is in the right hands",
    )
    assert (answered.verdict.rule, axes(town, order)[1]) == ("orders.not_on_tour", custody)


def test_orders_not_on_tour_is_not_said_of_a_drivers_own_tour_nor_of_the_office(town: MarketTown) -> None:
    dispatches = [depart(town, town.places(payment_method="account")) for _ in range(2)]

    by_driver = town.does(town.van_a, town.driver_a, CompleteDelivery(dispatch=dispatches[0]))
    by_office = town.office(CompleteDelivery(dispatch=dispatches[1]))

    assert (told(town, by_driver), told(town, by_office)) == (ACCEPTED, ACCEPTED)


def test_orders_not_on_tour_also_of_a_correction(town: MarketTown) -> None:
    _, dispatch = delivered(town)

    answered = town.does(town.van_b, town.driver_b, CorrectDelivery(dispatch=dispatch, reason="revenge"))

    assert [left.kind for left in told(town, answered).left] == ["not_on_tour", "delivery_corrected"]


@pytest.mark.parametrize("is_customer", [False, True])
def test_orders_already_picked_refuses_a_cancellation_to_customers_only(town: MarketTown, *, is_customer: bool) -> None:
    order = town.places()
    town.does(town.tablet, town.picker, StartPick(order=order))

    answered = town.office(CancelOrder(order=order, by_customer=is_customer))

    if is_customer:
        sentence = "Picking of order 1001 has begun; it cannot be changed."
        assert told(town, answered) == refused("orders.already_picked", sentence)
    else:
        assert answered.verdict.rule == "orders.cancelled_while_picking"
    assert axes(town, order)[0] == ("active" if is_customer else "cancelled")


def test_a_customer_may_cancel_before_picking_begins(town: MarketTown) -> None:
    order = town.places()

    assert told(town, town.office(CancelOrder(order=order, by_customer=True))) == ACCEPTED
    assert axes(town, order)[0] == "cancelled"


def test_a_dispatch_that_was_never_heard_of_is_waited_for_and_not_lost(town: MarketTown) -> None:
    answered = town.does(town.van_a, town.driver_a, CompleteDelivery(dispatch=derived_id("never")))

    assert answered.verdict.rule == "engine.awaited"
