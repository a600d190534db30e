"""What the office may still ask of an order, and what becomes of a wish that comes too late."""

from __future__ import annotations

import pytest

from sync.kernel.changeset import Operation
from sync.kernel.clock import format_time
from sync.modules.billing import TakePayment
from sync.modules.commerce import (
    AmendOrder,
    ArchiveOrder,
    AssignDispatch,
    CancelOrder,
    CompleteDelivery,
    FailDelivery,
    PickLine,
    ReassignDispatch,
    ReturnDelivery,
    StartDelivery,
    WithdrawDispatch,
)
from sync.modules.commerce.operations import OrderLine
from tests.support.decisions import (
    ACCEPTED,
    Left,
    adjusted,
    axes,
    depart,
    money,
    noted,
    pack,
    refused,
    shelf,
    states,
    told,
    way,
)
from tests.support.town_in_memory import START_MS, MarketTown

AT = format_time(START_MS)
LADDER = ["picking", "picked", "packed", "ready", "van", "customer"]


def test_orders_cancelled_while_picking_has_the_goods_put_back(town: MarketTown) -> None:
    order = town.places()
    town.assigns(order)
    pack(town, order)

    answered = town.office(CancelOrder(order=order, reason="changed their mind"))

    assert told(town, answered) == adjusted(
        "orders.cancelled_while_picking",
        Left(
            kind="cancelled_while_picking",
            sentence="Order 1001 is cancelled; its goods are already off the shelf.",
            about=("order", order),
            by="order.cancel",
            said={"wish": "cancel", "reason": "changed their mind"},
            had={"status": "READY_FOR_DISPATCH"},
            outcome="cancelled; goods off the shelf",
            task="Order 1001: put the goods back on the shelf",
            audience=f"warehouse:{town.warehouse}",
        ),
    )
    assert axes(town, order) == ("cancelled", "ready", "unpaid", "CANCELLED")
    assert (shelf(town, town.tea), states(town)) == ((10, 0), [("A", "WITHDRAWN", 1)])
    town.does(town.tablet, town.picker, ReturnDelivery(order=order))
    assert way(town, order)[-2:] == ["ready", "returned"]


def test_a_cancellation_before_picking_only_frees_the_goods(town: MarketTown) -> None:
    order = town.places()

    assert told(town, town.office(CancelOrder(order=order))) == ACCEPTED
    assert axes(town, order) == ("cancelled", "warehouse", "unpaid", "CANCELLED")
    assert shelf(town, town.tea) == (10, 0)
    assert [effect.data["text"] for effect in town.effects] == ["Order 1001 is cancelled."]


def test_orders_recall_requested_asks_the_driver_to_bring_it_back(town: MarketTown) -> None:
    order = town.places()
    depart(town, order)

    answered = town.office(CancelOrder(order=order))

    assert told(town, answered) == noted(
        "orders.recall_requested", "Order 1001 is on the van; the driver is asked to bring it back."
    )
    assert axes(town, order) == ("recall", "van", "unpaid", "OUT_FOR_DELIVERY")
    assert ("order", order) in town.bucket(f"driver:{town.driver_a}")
    town.does(town.tablet, town.picker, ReturnDelivery(order=order))
    assert axes(town, order) == ("cancelled", "returned", "unpaid", "RETURNED")


def wishes(town: MarketTown, order: str, dispatch: str) -> list[Operation]:
    return [
        AmendOrder(order=order, lines=[OrderLine(product=town.tea, quantity=1)]),
        CancelOrder(order=order),
        AssignDispatch(order=order, driver=town.driver_b),
        ReassignDispatch(order=order, driver=town.driver_b),
        WithdrawDispatch(dispatch=dispatch),
    ]


def expect_all_refused(town: MarketTown, order: str, dispatch: str, rule: str, sentence: str) -> None:
    before = {key: row for key, row in town.rows.items() if key[0] != "voided"}
    for wish in wishes(town, order, dispatch):
        assert told(town, town.office(wish)) == refused(rule, sentence)
    assert {key: row for key, row in town.rows.items() if key[0] != "voided"} == before


def test_orders_already_cancelled_refuses_every_further_wish(town: MarketTown) -> None:
    order = town.places()
    dispatch = town.assigns(order)
    town.office(CancelOrder(order=order))

    expect_all_refused(town, order, dispatch, "orders.already_cancelled", "Order 1001 is cancelled.")


def test_orders_already_delivered_refuses_every_further_wish(town: MarketTown) -> None:
    order = town.places(payment_method="account")
    dispatch = depart(town, order)
    town.does(town.van_a, town.driver_a, CompleteDelivery(dispatch=dispatch))

    expect_all_refused(town, order, dispatch, "orders.already_delivered", "Order 1001 is delivered.")


def test_orders_already_returned_refuses_every_further_wish(town: MarketTown) -> None:
    order = town.places()
    dispatch = depart(town, order)
    town.does(town.van_a, town.driver_a, FailDelivery(dispatch=dispatch))
    town.does(town.tablet, town.picker, ReturnDelivery(order=order))

    sentence = "Order 1001 came back to the warehouse and is closed."
    expect_all_refused(town, order, dispatch, "orders.already_returned", sentence)


def test_orders_already_picked_refuses_to_amend(town: MarketTown) -> None:
    order = town.places()
    town.does(town.tablet, town.picker, PickLine(order=order, product=town.tea, quantity=1))

    answered = town.office(AmendOrder(order=order, lines=[OrderLine(product=town.tea, quantity=1)]))

    assert told(town, answered) == refused(
        "orders.already_picked", "Picking of order 1001 has begun; it cannot be changed."
    )
    assert (money(town, order), shelf(town, town.tea)) == ((900, 0, 0), (10, 3))


def unpaid(order: str) -> CancelOrder:
    """The wish of the town itself to give up an order for which nothing came."""
    return CancelOrder(order=order, reason="unpaid", unpaid_only=True)


def test_an_order_for_which_nothing_came_is_given_up_and_its_goods_are_free(town: MarketTown) -> None:
    order = town.places()

    answered = town.office(unpaid(order), actor=town.server.id)

    assert told(town, answered) == ACCEPTED
    assert (axes(town, order), shelf(town, town.tea)) == (("cancelled", "warehouse", "unpaid", "CANCELLED"), (10, 0))


@pytest.mark.parametrize("amount", ["0.01", "9.00", "10.00"])
def test_orders_not_unpaid_once_something_was_paid(town: MarketTown, amount: str) -> None:
    order = town.places()
    town.does(town.van_a, town.driver_a, TakePayment(order=order, amount=amount, currency="KES"))
    before = axes(town, order)

    answered = town.office(unpaid(order), actor=town.server.id)

    sentence = "Something was paid for order 1001; it is not given up."
    assert told(town, answered) == refused("orders.not_unpaid", sentence)
    assert (axes(town, order), shelf(town, town.tea)) == (before, (10, 3))


def test_orders_already_picked_are_not_given_up(town: MarketTown) -> None:
    order = town.places()
    town.does(town.tablet, town.picker, PickLine(order=order, product=town.tea, quantity=1))

    answered = town.office(unpaid(order), actor=town.server.id)

    assert told(town, answered) == refused(
        "orders.already_picked", "Picking of order 1001 has begun; it cannot be changed."
    )


def test_an_amendment_before_picking_reserves_anew_and_tells_the_driver_what_is_due(town: MarketTown) -> None:
    order = town.places()
    dispatch = town.assigns(order)
    lines = [OrderLine(product=town.tea, quantity=1), OrderLine(product=town.rice, quantity=2)]

    assert told(town, town.office(AmendOrder(order=order, lines=lines))) == ACCEPTED
    assert (money(town, order), shelf(town, town.tea), shelf(town, town.rice)) == ((550, 0, 0), (10, 1), (10, 2))
    assert town.row("dispatch", dispatch)["cod_due_minor"] == 550


def test_orders_already_assigned_refuses_a_second_assignment(town: MarketTown) -> None:
    order = town.places()
    town.assigns(order)

    answered = town.office(AssignDispatch(order=order, driver=town.driver_b))

    assert told(town, answered) == refused(
        "orders.already_assigned", "Order 1001 already has a driver; reassign it instead."
    )
    assert states(town) == [("A", "ASSIGNED", 1)]


def test_orders_not_assigned_refuses_to_reassign_or_withdraw(town: MarketTown) -> None:
    order = town.places()
    dispatch = town.assigns(order)
    town.office(WithdrawDispatch(dispatch=dispatch))

    for wish in (ReassignDispatch(order=order, driver=town.driver_b), WithdrawDispatch(dispatch=dispatch)):
        assert told(town, town.office(wish)) == refused("orders.not_assigned", "Order 1001 has no driver.")
    assert (states(town), town.row("order", order)["driver_id"]) == ([("A", "WITHDRAWN", 1)], None)


def test_orders_not_a_driver_refuses_to_assign(town: MarketTown) -> None:
    order = town.places()

    answered = town.office(AssignDispatch(order=order, driver=town.picker))

    assert told(town, answered) == refused("orders.not_a_driver", "Pit is no driver of this town.")
    assert (states(town), town.row("order", order)["driver_id"]) == ([], None)


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["withdrawn", "cancelled"])
def test_orders_started_after_withdrawal_is_recorded_and_the_dispatcher_decides(
    town: MarketTown, *, is_cancelled: bool
) -> None:
    order = town.places()
    dispatch = town.assigns(order)
    pack(town, order)
    town.office(CancelOrder(order=order) if is_cancelled else WithdrawDispatch(dispatch=dispatch))

    answered = town.does(town.van_a, town.driver_a, StartDelivery(dispatch=dispatch))

    commercial = "cancelled" if is_cancelled else "active"
    assert told(town, answered) == adjusted(
        "orders.started_after_withdrawal",
        Left(
            kind="started_after_withdrawal",
            sentence="Order 1001 left with the van after it had been taken off the tour.",
            about=("order", order),
            by="delivery.start",
            said={"operation": "delivery.start", "at": AT},
            had={"dispatch": "WITHDRAWN", "commercial": commercial},
            outcome="goods on the van",
            task="Order 1001: tell the driver to deliver or to bring it back",
        ),
    )
    after = "recall" if is_cancelled else "active"
    assert axes(town, order) == (after, "van", "unpaid", "OUT_FOR_DELIVERY")
    assert ("order", order) in town.bucket(f"driver:{town.driver_a}")


def test_orders_not_closed_leaves_what_is_open_on_the_devices(town: MarketTown) -> None:
    order = town.places()
    dispatch = depart(town, order)

    answered = town.office(ArchiveOrder(order=order, dispatches=[dispatch]), actor=town.server.id)

    assert told(town, answered) == refused("orders.not_closed", "Order 1001 is not closed; it stays on the devices.")
    assert ("order", order) in town.bucket(f"driver:{town.driver_a}")
