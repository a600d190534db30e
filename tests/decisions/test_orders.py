"""Who wins over orders, dispatch and delivery: the driver's word is a fact, everything else is adjusted around it."""

from __future__ import annotations

import pytest

from sync.kernel.changeset import Operation
from sync.kernel.clock import format_time
from sync.modules.billing import TakePayment
from sync.modules.commerce import (
    AmendOrder,
    AssignDispatch,
    CancelOrder,
    CompleteDelivery,
    CompletePack,
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
    told,
    way,
)
from tests.support.town_in_memory import START_MS, MarketTown

AT = format_time(START_MS)
LADDER = ["picking", "picked", "packed", "ready", "van", "customer"]


def reassign(town: MarketTown, order: str) -> str:
    operation = ReassignDispatch(id=town.new_id(), order=order, driver=town.driver_b)
    town.office(operation)
    return operation.id


def states(town: MarketTown) -> list[tuple[str, str, int]]:
    """Driver, state and attempt of every dispatch, oldest first."""
    names = {town.driver_a: "A", town.driver_b: "B"}
    rows = sorted(town.rows_of("dispatch").items())
    return [(names[row["driver_id"]], row["state"], row["attempt"]) for _, row in rows]


def paid_delivery(dispatch: str, order: str) -> tuple[Operation, ...]:
    return CompleteDelivery(dispatch=dispatch, received_by="Zoë"), TakePayment(
        order=order, amount="9.00", currency="KES"
    )


def test_orders_delivered_after_cancel_stands_and_asks_the_customer(town: MarketTown) -> None:
    order = town.places()
    dispatch = town.assigns(order)
    pack(town, order)
    town.office(CancelOrder(order=order))
    town.does(town.van_a, town.driver_a, StartDelivery(dispatch=dispatch))

    answered = town.does(town.van_a, town.driver_a, *paid_delivery(dispatch, order))

    assert told(town, answered) == adjusted(
        "orders.delivered_after_cancel",
        Left(
            kind="delivered_after_cancel",
            sentence="Order 1001 had been cancelled before the delivery was known here. The delivery stands.",
            about=("order", order),
            by="delivery.complete",
            said={"operation": "delivery.complete", "at": AT},
            had={"commercial": "recall", "status": "OUT_FOR_DELIVERY"},
            outcome="delivered; the cancellation is overtaken",
            task="Order 1001: ask the customer, then refund or let them keep it",
        ),
    )
    assert axes(town, order) == ("recall", "customer", "paid", "DELIVERED")
    assert (money(town, order), shelf(town, town.tea)) == ((900, 900, 0), (7, 0))


def test_orders_delivered_after_cancel_takes_the_credit_back_for_what_was_handed_over(town: MarketTown) -> None:
    order = town.places()
    dispatch = town.assigns(order)
    town.office(CancelOrder(order=order))

    answered = town.does(town.van_a, town.driver_a, *reversed(paid_delivery(dispatch, order)))

    assert [left.kind for left in told(town, answered).left] == ["paid_after_cancel", "delivered_after_cancel"]
    assert axes(town, order) == ("cancelled", "customer", "paid", "DELIVERED")
    assert money(town, order) == (900, 900, 0)


def test_orders_delivered_after_return_stands_and_the_goods_are_looked_for(town: MarketTown) -> None:
    order = town.places(payment_method="account")
    dispatch = depart(town, order)
    town.does(town.tablet, town.picker, ReturnDelivery(order=order))

    answered = town.does(town.van_a, town.driver_a, CompleteDelivery(dispatch=dispatch, received_by="Zoë"))

    assert told(town, answered) == adjusted(
        "orders.delivered_after_return",
        Left(
            kind="delivered_after_return",
            sentence="Order 1001 had been booked back into the warehouse before the delivery was known here. "
            "The delivery stands.",
            about=("order", order),
            by="delivery.complete",
            said={"operation": "delivery.complete", "at": AT},
            had={"custody": "returned", "status": "RETURNED"},
            outcome="delivered; the return is overtaken",
            task="Order 1001: find out where the goods are",
        ),
        also=("Order 1001 is DELIVERED; steps that were not reported are filled in: van.",),
    )
    assert axes(town, order) == ("active", "customer", "unpaid", "DELIVERED")
    assert way(town, order) == [*LADDER[:5], "(undelivered)", "returned", "(van)", "customer"]
    assert (shelf(town, town.tea), states(town)) == ((7, 0), [("A", "DELIVERED", 2)])


def test_orders_delivered_by_previous_driver_stands_and_the_other_is_called_off(town: MarketTown) -> None:
    order = town.places()
    dispatch = depart(town, order)
    other = reassign(town, order)

    answered = town.does(town.van_a, town.driver_a, *paid_delivery(dispatch, order))

    assert told(town, answered) == noted(
        "orders.delivered_by_previous_driver",
        "Order 1001 had been given to another driver meanwhile; the delivery stands and the other is told.",
    )
    assert states(town) == [("A", "DELIVERED", 1), ("B", "WITHDRAWN", 1)]
    assert town.row("dispatch", other)["note"] == "delivered by another driver"
    assert axes(town, order) == ("active", "customer", "paid", "DELIVERED")
    assert town.row("order", order)["driver_id"] == town.driver_a
    [payment] = town.rows_of("payment").values()
    assert payment == {
        "order_id": order,
        "method": "cash",
        "amount_minor": 900,
        "currency": "KES",
        "taken_by": town.driver_a,
        "device_id": town.van_a.id,
        "taken_at": AT,
        "status": "CONFIRMED",
    }
    assert ("order", order) not in town.bucket(f"driver:{town.driver_b}")


def test_orders_duplicate_delivery_keeps_the_second_as_an_attempt_and_both_cashes(town: MarketTown) -> None:
    order = town.places()
    first = depart(town, order)
    second = reassign(town, order)
    town.does(town.van_a, town.driver_a, *paid_delivery(first, order))
    after_first = (axes(town, order), shelf(town, town.tea), way(town, order), states(town))
    town.now_ms += 60_000

    answered = town.does(town.van_b, town.driver_b, *paid_delivery(second, order))

    [payment_id] = [row_id for row_id, row in town.rows_of("payment").items() if row["taken_by"] == town.driver_b]
    assert told(town, answered) == adjusted(
        "orders.duplicate_delivery",
        Left(
            kind="duplicate_delivery",
            sentence="Order 1001 was already reported delivered; this report is kept as an attempt.",
            about=("order", order),
            by="delivery.complete",
            said={"operation": "delivery.complete", "at": format_time(START_MS + 60_000)},
            had={"delivered_at": AT, "driver_id": town.driver_a},
            outcome="kept as an attempt",
            task="Order 1001: find out who handed over what",
        ),
        Left(
            kind="overpayment",
            sentence="9.00 KES more than order 1001 owes were taken; they are kept as credit.",
            about=("payment", payment_id),
            by="payment.take",
            said={"amount": "9.00", "currency": "KES"},
            had={"total_minor": 900, "paid_minor": 900},
            outcome="credit 9.00 KES",
            task="Order 1001: refund 9.00 KES or keep them as credit",
        ),
    )
    assert (axes(town, order)[:2], *after_first[1:]) == (
        ("active", "customer"),
        shelf(town, town.tea),
        way(town, order),
        states(town),
    )
    assert town.row("dispatch", second)["note"] == "reported delivered after another had delivered"
    assert money(town, order) == (900, 900, 900)


@pytest.mark.parametrize(
    ("paid", "due"), [((), "9.00"), (("4.00",), "5.00"), (("4.00", "1.00"), "4.00")], ids=["none", "some", "twice"]
)
def test_orders_delivered_unpaid_asks_the_driver_for_what_is_missing(
    town: MarketTown, paid: tuple[str, ...], due: str
) -> None:
    order = town.places()
    dispatch = depart(town, order)
    payments = [TakePayment(order=order, amount=amount, currency="KES") for amount in paid]

    answered = town.does(town.van_a, town.driver_a, *payments[1:], CompleteDelivery(dispatch=dispatch), *payments[:1])

    already = sum(int(amount[0]) * 100 for amount in paid[1:])
    assert told(town, answered) == adjusted(
        "orders.delivered_unpaid",
        Left(
            kind="delivered_unpaid",
            sentence=f"Order 1001 was handed over, and {due} KES were not collected.",
            about=("order", order),
            by="delivery.complete",
            said={"operation": "delivery.complete", "at": AT},
            had={"total_minor": 900, "paid_minor": already},
            outcome="delivered, unpaid",
            task=f"Order 1001: collect {due} KES",
            audience=f"driver:{town.driver_a}",
        ),
    )
    assert axes(town, order) == ("active", "customer", "partly" if paid else "unpaid", "DELIVERED")


def test_orders_delivered_unpaid_is_not_said_of_an_order_on_account(town: MarketTown) -> None:
    order = town.places(payment_method="account")
    dispatch = depart(town, order)

    assert told(town, town.does(town.van_a, town.driver_a, CompleteDelivery(dispatch=dispatch))) == ACCEPTED
    assert axes(town, order) == ("active", "customer", "unpaid", "DELIVERED")


def test_orders_failed_after_delivery_stays_delivered(town: MarketTown) -> None:
    order = town.places()
    dispatch = depart(town, order)
    town.does(town.van_a, town.driver_a, *paid_delivery(dispatch, order))

    answered = town.does(town.van_a, town.driver_a, FailDelivery(dispatch=dispatch, reason="nobody in"))

    assert told(town, answered) == adjusted(
        "orders.failed_after_delivery",
        Left(
            kind="failed_after_delivery",
            sentence="Order 1001 is delivered; the failed attempt is kept beside it.",
            about=("order", order),
            by="delivery.fail",
            said={"operation": "delivery.fail", "at": AT},
            had={"status": "DELIVERED", "delivered_at": AT},
            outcome="stays delivered",
            task="Order 1001: find out whether the customer has the goods",
        ),
    )
    assert axes(town, order) == ("active", "customer", "paid", "DELIVERED")
    assert states(town) == [("A", "DELIVERED", 1)]


@pytest.mark.parametrize(("later_ms", "rule"), [(0, "orders.failed_elsewhere"), (1, "orders.failed_after_delivery")])
def test_orders_failed_elsewhere_needs_a_person_only_when_claimed_after_the_delivery(
    town: MarketTown, later_ms: int, rule: str
) -> None:
    order = town.places()
    first = depart(town, order)
    second = reassign(town, order)
    town.does(town.van_a, town.driver_a, *paid_delivery(first, order))
    town.now_ms += later_ms

    answered = town.does(town.van_b, town.driver_b, FailDelivery(dispatch=second, reason="nobody in"))

    assert (told(town, answered).rule, len(told(town, answered).left)) == (rule, later_ms)
    assert axes(town, order) == ("active", "customer", "paid", "DELIVERED")
    assert town.row("dispatch", second)["note"] == "nobody in"


def test_orders_failed_elsewhere_leaves_the_goods_on_the_van_of_the_other_driver(town: MarketTown) -> None:
    order = town.places()
    first = depart(town, order)
    second = reassign(town, order)
    town.does(town.van_b, town.driver_b, StartDelivery(dispatch=second))

    answered = town.does(town.van_a, town.driver_a, FailDelivery(dispatch=first, reason="nobody in"))

    assert told(town, answered) == noted(
        "orders.failed_elsewhere",
        "Order 1001 is with another driver or delivered by another; this failed attempt is kept beside it.",
    )
    assert axes(town, order) == ("active", "van", "unpaid", "OUT_FOR_DELIVERY")
    assert states(town) == [("A", "WITHDRAWN", 1), ("B", "OUT_FOR_DELIVERY", 1)]
    assert town.row("dispatch", first)["note"] == "nobody in"


def test_orders_states_skipped_are_filled_in_and_marked(town: MarketTown) -> None:
    order = town.places()
    dispatch = town.assigns(order)

    answered = town.does(town.van_a, town.driver_a, *paid_delivery(dispatch, order))

    assert told(town, answered) == noted(
        "orders.states_skipped",
        "Order 1001 is DELIVERED; steps that were not reported are filled in: picking, picked, packed, ready, van.",
    )
    assert way(town, order) == [*(f"({step})" for step in LADDER[:5]), "customer"]
    assert axes(town, order) == ("active", "customer", "paid", "DELIVERED")
    for late in (PickLine(order=order, product=town.tea, quantity=3), CompletePack(order=order)):
        assert told(town, town.does(town.tablet, town.picker, late)) == ACCEPTED
    assert way(town, order) == [*(f"({step})" for step in LADDER[:5]), "customer"]


def test_orders_states_skipped_by_a_failure_imply_the_departure(town: MarketTown) -> None:
    order = town.places()
    dispatch = town.assigns(order)
    pack(town, order)

    answered = town.does(town.van_a, town.driver_a, FailDelivery(dispatch=dispatch, reason="nobody in"))

    assert told(town, answered) == noted(
        "orders.states_skipped", "Order 1001 is FAILED; steps that were not reported are filled in: van."
    )
    assert way(town, order) == [*LADDER[:4], "(van)", "undelivered"]
    assert (town.row("order", order)["attempts"], states(town)) == (1, [("A", "FAILED", 1)])


def test_a_failed_delivery_may_be_given_again_and_is_then_a_new_attempt(town: MarketTown) -> None:
    order = town.places()
    dispatch = depart(town, order)
    town.does(town.van_a, town.driver_a, FailDelivery(dispatch=dispatch, reason="nobody in"))
    assert axes(town, order) == ("active", "undelivered", "unpaid", "FAILED")

    again = town.assigns(order, town.driver_b)
    assert axes(town, order) == ("active", "ready", "unpaid", "READY_FOR_DISPATCH")
    town.does(town.van_b, town.driver_b, StartDelivery(dispatch=again))
    answered = town.does(town.van_b, town.driver_b, *paid_delivery(again, order))

    assert told(town, answered) == ACCEPTED
    assert states(town) == [("A", "FAILED", 1), ("B", "DELIVERED", 2)]


def test_failed_then_delivered_by_the_same_driver_is_a_new_attempt(town: MarketTown) -> None:
    order = town.places()
    dispatch = depart(town, order)
    town.does(town.van_a, town.driver_a, FailDelivery(dispatch=dispatch, reason="nobody in"))
    town.does(town.van_a, town.driver_a, StartDelivery(dispatch=dispatch))

    assert told(town, town.does(town.van_a, town.driver_a, *paid_delivery(dispatch, order))) == ACCEPTED
    assert (states(town), shelf(town, town.tea)) == ([("A", "DELIVERED", 2)], (7, 0))


def test_a_return_frees_the_goods_and_implies_what_was_not_reported(town: MarketTown) -> None:
    order = town.places()
    depart(town, order)
    assert shelf(town, town.tea) == (10, 3)

    answered = town.does(town.tablet, town.picker, ReturnDelivery(order=order))

    assert told(town, answered) == noted(
        "orders.states_skipped", "Order 1001 is RETURNED; steps that were not reported are filled in: undelivered."
    )
    assert way(town, order)[-2:] == ["(undelivered)", "returned"]
    assert (shelf(town, town.tea), states(town)) == ((10, 0), [("A", "FAILED", 1)])


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


def test_orders_returned_after_delivery_is_recorded_and_not_booked(town: MarketTown) -> None:
    order = town.places(payment_method="account")
    dispatch = depart(town, order)
    town.does(town.van_a, town.driver_a, CompleteDelivery(dispatch=dispatch))

    answered = town.does(town.tablet, town.picker, ReturnDelivery(order=order))

    assert told(town, answered) == adjusted(
        "orders.returned_after_delivery",
        Left(
            kind="returned_after_delivery",
            sentence="The goods of order 1001 came back, though it is delivered.",
            about=("order", order),
            by="delivery.return",
            said={"operation": "delivery.return", "at": AT},
            had={"status": "DELIVERED"},
            outcome="goods in the warehouse, not booked",
            task="Order 1001: book the return with the customer",
        ),
    )
    assert (axes(town, order), shelf(town, town.tea)) == (("active", "customer", "unpaid", "DELIVERED"), (7, 0))
