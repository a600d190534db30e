"""Who wins over stock: deltas add up, promises stand, and what is in the tote is in the tote."""

from __future__ import annotations

from typing import Any

from sync.modules.commerce import (
    AdjustStock,
    AmendOrder,
    CancelOrder,
    CompleteDelivery,
    CompletePack,
    OpenWarehouse,
    PickLine,
    PlaceOrder,
    ReceiveStock,
    ShortPick,
    StartPick,
    TransferStock,
)
from sync.modules.commerce.entities import fulfilment_id, stock_level_id
from sync.modules.commerce.operations import OrderLine
from tests.support.decisions import ACCEPTED, Left, adjusted, axes, depart, money, noted, refused, shelf, told, way
from tests.support.town_in_memory import MarketTown, found_market_town


def lines(town: MarketTown, order: str) -> list[tuple[int, int, int, int]]:
    """Quantity, reserved, picked and short of each line."""
    found: list[dict[str, Any]] = town.row("order", order)["lines"]
    return [(line["quantity"], line["reserved"], line["picked"], line["short"]) for line in found]


def test_stock_below_zero_is_kept_and_asks_for_a_count(town: MarketTown) -> None:
    answered = town.does(
        town.tablet, town.picker, AdjustStock(warehouse=town.warehouse, product=town.tea, delta=-12, reason="broken")
    )

    assert told(town, answered) == adjusted(
        "stock.below_zero",
        Left(
            kind="stock_negative",
            sentence="The shelf of Tea now says -2: more has left than was ever booked in.",
            about=("stock_level", stock_level_id(town.warehouse, town.tea)),
            by="stock.adjust",
            said={"delta": -12},
            had={"on_hand": 10},
            outcome="on hand -2",
            task="Count Tea",
            audience=f"warehouse:{town.warehouse}",
        ),
    )
    assert shelf(town, town.tea) == (-2, 0)


def test_deltas_that_stay_above_zero_need_no_explanation(town: MarketTown) -> None:
    answered = town.does(
        town.tablet,
        town.picker,
        AdjustStock(warehouse=town.warehouse, product=town.tea, delta=-10),
        ReceiveStock(warehouse=town.warehouse, product=town.tea, quantity=4),
    )

    assert told(town, answered) == ACCEPTED
    assert shelf(town, town.tea) == (4, 0)


def test_stock_transfer_moves_goods_from_one_shelf_to_the_other(town: MarketTown) -> None:
    other = OpenWarehouse(id=town.new_id(), name="Shop")
    town.office(other, actor=town.admin)

    move = TransferStock(source=town.warehouse, target=other.id, product=town.tea, quantity=4)

    assert told(town, town.does(town.tablet, town.picker, move)) == ACCEPTED
    assert shelf(town, town.tea) == (6, 0)
    assert town.row("stock_level", stock_level_id(other.id, town.tea))["on_hand"] == 4


def test_stock_same_warehouse_changes_nothing_and_says_so(town: MarketTown) -> None:
    move = TransferStock(source=town.warehouse, target=town.warehouse, product=town.tea, quantity=4)
    movements = town.rows_of("stock_movement")

    assert told(town, town.does(town.tablet, town.picker, move)) == noted(
        "stock.same_warehouse", "The goods were moved to the warehouse they are in; nothing changes."
    )
    assert (shelf(town, town.tea), town.rows_of("stock_movement")) == ((10, 0), movements)


def place(town: MarketTown, quantity: int) -> PlaceOrder:
    return PlaceOrder(
        id=town.new_id(),
        number="77",
        warehouse=town.warehouse,
        customer_name="Zoë",
        lines=[OrderLine(product=town.tea, quantity=quantity, price="3.00")],
    )


def test_stock_insufficient_refuses_an_order_placed_online(town: MarketTown) -> None:
    order = place(town, 11)

    answered = town.office(order)

    assert told(town, answered) == refused("stock.insufficient", "Only 10 of Tea are available, 11 were asked for.")
    assert (("order", order.id) in town.rows, shelf(town, town.tea)) == (False, (10, 0))


def test_stock_insufficient_refuses_an_amendment_from_a_device_too(town: MarketTown) -> None:
    order = town.places((town.tea, 3))
    more = AmendOrder(order=order, lines=[OrderLine(product=town.tea, quantity=11)])

    answered = town.does(town.tablet, town.picker, more)

    assert told(town, answered) == refused("stock.insufficient", "Only 10 of Tea are available, 11 were asked for.")
    assert (lines(town, order), shelf(town, town.tea)) == ([(3, 3, 0, 0)], (10, 3))


def test_stock_oversold_keeps_the_promise_that_was_made_offline(town: MarketTown) -> None:
    order = place(town, 12)

    answered = town.does(town.tablet, town.picker, order)

    assert told(town, answered) == adjusted(
        "stock.oversold",
        Left(
            kind="oversold",
            sentence="2 of Tea for order 77 were sold that were no longer there; the order stands.",
            about=("order", order.id),
            by="order.place",
            said={"product": "Tea", "promised": True},
            had={"missing": 2},
            outcome="2 backordered",
            task="Order 77: buy 2 of Tea, offer something else, or refund",
            audience=f"warehouse:{town.warehouse}",
        ),
    )
    assert axes(town, order.id) == ("active", "warehouse", "unpaid", "PLACED")
    assert (lines(town, order.id), money(town, order.id)) == ([(12, 10, 0, 0)], (3600, 0, 0))
    assert shelf(town, town.tea) == (10, 10)


def test_stock_picked_after_cancel_has_the_goods_put_back(town: MarketTown) -> None:
    order = town.places()
    town.office(CancelOrder(order=order))

    answered = town.does(
        town.tablet,
        town.picker,
        StartPick(order=order),
        PickLine(order=order, product=town.tea, quantity=3),
        CompletePack(order=order, parcels=2),
    )

    assert told(town, answered) == adjusted(
        "stock.picked_after_cancel",
        Left(
            kind="picked_after_cancel",
            sentence="Order 1001 was cancelled before the goods were picked.",
            about=("order", order),
            by="pick.start",
            said={"operation": "pick.start"},
            had={"commercial": "cancelled"},
            outcome="goods off the shelf",
            task="Order 1001: put the goods back on the shelf",
            audience=f"warehouse:{town.warehouse}",
        ),
    )
    assert axes(town, order) == ("cancelled", "warehouse", "unpaid", "CANCELLED")
    assert lines(town, order) == [(3, 0, 3, 0)]
    assert town.row("fulfilment", fulfilment_id(order)) == {
        "order_id": order,
        "warehouse_id": town.warehouse,
        "picker_id": town.picker,
        "parcels": 2,
        "state": "PACKED",
        "archived_at": None,
    }
    assert shelf(town, town.tea) == (10, 0)


def test_stock_picked_after_cancel_is_told_for_each_order_of_a_change_set(town: MarketTown) -> None:
    orders = [town.places((town.tea, 1), number=number) for number in ("1", "2")]
    for order in orders:
        town.office(CancelOrder(order=order))

    answered = town.does(town.tablet, town.picker, *(StartPick(order=order) for order in orders))

    assert [left.task for left in told(town, answered).left] == [
        "Order 1: put the goods back on the shelf",
        "Order 2: put the goods back on the shelf",
    ]


def test_stock_picked_after_cancel_is_not_said_of_goods_that_the_customer_has(town: MarketTown) -> None:
    order = town.places(payment_method="account")
    dispatch = town.assigns(order)
    town.office(CancelOrder(order=order))
    town.does(town.van_a, town.driver_a, CompleteDelivery(dispatch=dispatch))

    answered = town.does(town.tablet, town.picker, PickLine(order=order, product=town.tea, quantity=3))

    assert told(town, answered) == ACCEPTED
    assert axes(town, order) == ("cancelled", "customer", "unpaid", "DELIVERED")


def test_stock_picked_too_many_has_the_rest_put_back(town: MarketTown) -> None:
    order = town.places()

    answered = town.does(town.tablet, town.picker, PickLine(order=order, product=town.tea, quantity=5))

    assert told(town, answered) == adjusted(
        "stock.picked_too_many",
        Left(
            kind="picked_too_many",
            sentence="5 of Tea were picked for order 1001, which asks for 3.",
            about=("order", order),
            by="pick.line",
            said={"quantity": 5},
            had={"wanted": 3},
            outcome="2 beyond the order",
            task="Order 1001: put the extra Tea back on the shelf",
            audience=f"warehouse:{town.warehouse}",
        ),
    )
    assert (lines(town, order), way(town, order)) == ([(3, 3, 3, 0)], ["picking", "picked"])


def test_stock_short_pick_shortens_the_order_releases_and_tells_the_customer(town: MarketTown) -> None:
    order = town.places()
    town.assigns(order)
    town.does(town.tablet, town.picker, PickLine(order=order, product=town.tea, quantity=1))

    answered = town.does(town.tablet, town.picker, ShortPick(order=order, product=town.tea, quantity=2))

    assert told(town, answered) == adjusted(
        "stock.short_pick",
        Left(
            kind="short_pick",
            sentence="2 of Tea were not on the shelf; order 1001 is shortened.",
            about=("order", order),
            by="pick.short",
            said={"missing": 2},
            had={"total_minor": 900},
            outcome="shortened by 2",
            task="Count Tea",
            audience=f"warehouse:{town.warehouse}",
        ),
    )
    assert (lines(town, order), money(town, order)) == ([(3, 1, 1, 2)], (300, 0, 0))
    assert (shelf(town, town.tea), way(town, order)) == ((10, 1), ["picking", "picked"])
    assert [row["cod_due_minor"] for row in town.rows_of("dispatch").values()] == [300]
    assert [(effect.kind, effect.data) for effect in town.effects] == [
        ("customer.notify", {"order": order, "text": "Order 1001: 2 of Tea are missing."})
    ]


def test_a_short_pick_known_after_the_delivery_gives_the_same_stock_as_before_it() -> None:
    shelves = []
    for is_late in (False, True):
        town = found_market_town()
        order = town.places(payment_method="account")
        dispatch = town.assigns(order)
        short = ShortPick(order=order, product=town.tea, quantity=2)
        steps = [(town.tablet, town.picker, short), (town.van_a, town.driver_a, CompleteDelivery(dispatch=dispatch))]
        for device, actor, operation in reversed(steps) if is_late else steps:
            town.does(device, actor, operation)
        shelves.append((shelf(town, town.tea), lines(town, order), money(town, order)))

    assert shelves == [((9, 0), [(3, 0, 0, 2)], (300, 0, 0))] * 2


def test_stock_nothing_short_when_the_order_waits_for_none_of_it(town: MarketTown) -> None:
    order = town.places()

    answered = town.does(town.tablet, town.picker, ShortPick(order=order, product=town.rice, quantity=2))

    assert told(town, answered) == noted(
        "stock.nothing_short", "Order 1001 waits for no more of Rice; there is nothing to shorten."
    )
    assert (lines(town, order), shelf(town, town.rice)) == ([(3, 3, 0, 0)], (10, 0))


def test_a_delivery_takes_goods_and_reservation(town: MarketTown) -> None:
    order = town.places(payment_method="account")
    dispatch = depart(town, order)

    answered = town.does(town.van_a, town.driver_a, CompleteDelivery(dispatch=dispatch))

    assert told(town, answered) == ACCEPTED
    assert (shelf(town, town.tea), lines(town, order)) == ((7, 0), [(3, 0, 3, 0)])
    assert way(town, order) == ["picking", "picked", "packed", "ready", "van", "customer"]
