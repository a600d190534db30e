"""Who wins over orders, dispatch and delivery: the driver's word is a fact, everything else is adjusted around it."""

from __future__ import annotations

import pytest

from sync.kernel.changeset import Operation
from sync.kernel.clock import format_time
from sync.modules.billing import TakePayment
from sync.modules.billing.entities import till_id
from sync.modules.commerce import (
    CancelOrder,
    CompleteDelivery,
    CompletePack,
    FailDelivery,
    PickLine,
    ReassignDispatch,
    ReturnDelivery,
    StartDelivery,
)
from tests.support.decisions import (
    ACCEPTED,
    Left,
    adjusted,
    axes,
    depart,
    money,
    noted,
    pack,
    shelf,
    states,
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
        "invoice_id": None,
        "reference": None,
        "payer": None,
        "drawer_id": town.row("till", till_id(town.van_a.id))["session_id"],
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


def test_a_return_after_a_reported_failure_skips_nothing(town: MarketTown) -> None:
    order = town.places()
    dispatch = depart(town, order)
    town.does(town.van_a, town.driver_a, FailDelivery(dispatch=dispatch))

    assert told(town, town.does(town.tablet, town.picker, ReturnDelivery(order=order))) == ACCEPTED
    assert (way(town, order)[-2:], town.row("order", order)["attempts"]) == (["undelivered", "returned"], 1)


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
