"""Who wins when a device sells by itself what was set aside for it: inside its quota it always does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.engine.overlay import guess
from sync.engine.town import Answered
from sync.kernel.changeset import ChangeSet, Decision
from sync.kernel.clock import format_time
from sync.modules.commerce import CancelOrder, GrantQuota, PlaceOrder, ReturnQuota, WithdrawQuota
from sync.modules.commerce.entities import stock_quota_id
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import RevokeDevice
from tests.support.decisions import ACCEPTED, Left, adjusted, refused, shelf, told
from tests.support.shelves import add_tablet
from tests.support.town_in_memory import MarketTown, MemoryDevice, found_market_town

DAY_MS = 24 * 3600 * 1000


def grant(town: MarketTown, quantity: int, *, days: int = 1, device: MemoryDevice | None = None) -> GrantQuota:
    return GrantQuota(
        device=(device or town.tablet).id,
        warehouse=town.warehouse,
        product=town.tea,
        quantity=quantity,
        expires_at=format_time(town.now_ms + days * DAY_MS),
    )


def order(town: MarketTown, quantity: int, supervisor: str | None = None) -> PlaceOrder:
    return PlaceOrder(
        id=town.new_id(),
        number="77",
        warehouse=town.warehouse,
        customer_name="Zoë",
        lines=[OrderLine(product=town.tea, quantity=quantity, price="3.00")],
        supervisor=supervisor,
    )


def sells(town: MarketTown, quantity: int, supervisor: str | None = None) -> Answered:
    return town.does(town.tablet, town.picker, order(town, quantity, supervisor))


def quota_of(town: MarketTown) -> str:
    return stock_quota_id(town.tablet.id, town.warehouse, town.tea)


def quota(town: MarketTown) -> tuple[int, int, int, str]:
    row = town.row("stock_quota", quota_of(town))
    return row["granted"], row["used"], row["returned"], row["state"]


def on_tablet(town: MarketTown, operation: PlaceOrder) -> Decision:
    """What the tablet guesses, holding all that it may hold."""
    change_set = town.line(town.tablet, town.picker, operation).change_set
    assert isinstance(change_set, ChangeSet)

    def base(entity: str, row_id: str) -> Any:
        if entity == "device":
            return {"role": "warehouse_staff", "user_id": None}
        stored = town.rows.get((entity, row_id))
        return stored and stored.fields

    return guess(change_set, base, {}, town.registry)


def test_a_grant_sets_the_goods_aside(town: MarketTown) -> None:
    assert told(town, town.office(grant(town, 6))) == ACCEPTED
    assert (shelf(town, town.tea), quota(town)) == ((10, 6), (6, 0, 0, "active"))
    assert ("stock_quota", quota_of(town)) in town.bucket(f"device:{town.tablet.id}")


def test_stock_insufficient_refuses_a_grant_of_what_is_not_there(town: MarketTown) -> None:
    answered = town.office(grant(town, 11))

    assert told(town, answered) == refused("stock.insufficient", "Only 10 of Tea are available, 11 were asked for.")


def test_inside_the_quota_a_sale_is_never_oversold(town: MarketTown) -> None:
    town.office(grant(town, 6))
    town.places((town.tea, 4))

    assert told(town, sells(town, 6)) == ACCEPTED
    assert (shelf(town, town.tea), quota(town)) == ((10, 10), (6, 6, 0, "active"))


def test_a_sale_inside_the_quota_that_arrives_after_its_time_is_honoured(town: MarketTown) -> None:
    town.office(grant(town, 6))
    line = town.line(town.tablet, town.picker, order(town, 5))
    town.now_ms += 3 * DAY_MS
    town.office(WithdrawQuota(quota=quota_of(town)))
    town.places((town.tea, 4))

    answered = town.take([line]).answered[0]

    assert (answered.verdict.status.value, answered.verdict.rule) == ("accepted", None)
    assert (shelf(town, town.tea), quota(town)) == ((10, 10), (6, 5, 0, "withdrawn"))


def test_a_cancelled_sale_is_free_for_everybody(town: MarketTown) -> None:
    town.office(grant(town, 6))
    sale = order(town, 6)
    town.does(town.tablet, town.picker, sale)

    town.office(CancelOrder(order=sale.id))

    assert (shelf(town, town.tea), quota(town)) == ((10, 0), (6, 6, 0, "active"))


def test_a_device_without_a_quota_sells_as_ever(town: MarketTown) -> None:
    town.office(grant(town, 6, device=add_tablet(town, "other")))

    assert sells(town, 5).verdict.rule == "stock.oversold"


@pytest.mark.parametrize(("wanted", "days_later", "left"), [(7, 0, 6), (1, 1, 0)], ids=["over it", "lapsed"])
def test_stock_quota_exceeded_is_refused_on_the_device(
    town: MarketTown, wanted: int, days_later: int, left: int
) -> None:
    town.office(grant(town, 6))
    town.now_ms += days_later * DAY_MS

    verdict = on_tablet(town, order(town, wanted)).verdict

    sentence = f"This device may sell {left} more of Tea by itself, {wanted} were asked for; ask a supervisor."
    assert (verdict.rule, [note.text for note in verdict.notes]) == ("stock.quota_exceeded", [sentence])


def test_stock_quota_exceeded_stands_without_somebody_who_may_allow_it(town: MarketTown) -> None:
    town.office(grant(town, 6))

    assert on_tablet(town, order(town, 6)).verdict.rule is None
    assert on_tablet(town, order(town, 7, supervisor=town.picker)).verdict.rule == "stock.quota_exceeded"
    assert on_tablet(town, order(town, 7, supervisor=town.dispatcher)).verdict.rule == "stock.quota_overridden"


@pytest.mark.parametrize("is_allowed", [True, False])
def test_stock_quota_overridden_is_a_fact_with_a_flag(town: MarketTown, *, is_allowed: bool) -> None:
    town.office(grant(town, 6))
    supervisor = town.dispatcher if is_allowed else None

    answered = sells(town, 8, supervisor)

    who = "Dina" if is_allowed else "nobody who may"
    left = Left(
        kind="quota_overridden",
        sentence=f"2 of Tea for order 77 were sold beyond the quota of the device; {who} had allowed it.",
        about=("stock_quota", quota_of(town)),
        by="order.place",
        said={"wanted": 8, "supervisor_id": supervisor},
        had={"left": 6},
        outcome="2 beyond the quota",
        task="Order 77: make sure that 2 of Tea can be had",
        audience=f"warehouse:{town.warehouse}",
    )
    assert told(town, answered) == adjusted("stock.quota_overridden", left)
    assert (shelf(town, town.tea), quota(town)) == ((10, 8), (6, 6, 0, "active"))


def test_stock_quota_overridden_beyond_the_shelf_is_oversold_too(town: MarketTown) -> None:
    town.office(grant(town, 6))

    answered = sells(town, 12, town.dispatcher)

    assert [left.kind for left in told(town, answered).left] == ["quota_overridden", "oversold"]
    assert shelf(town, town.tea) == (10, 10)


def test_a_device_gives_back_what_it_has_not_sold_in_its_own_name(town: MarketTown) -> None:
    town.office(grant(town, 6))
    sells(town, 2)

    answered = town.does(town.tablet, town.tablet.id, ReturnQuota(quota=quota_of(town)))

    assert told(town, answered) == ACCEPTED
    assert (shelf(town, town.tea), quota(town)) == ((10, 2), (6, 2, 4, "closed"))
    again = town.does(town.tablet, town.tablet.id, ReturnQuota(quota=quota_of(town)))
    assert (told(town, again), shelf(town, town.tea)) == (ACCEPTED, (10, 2))


def test_nothing_else_is_done_in_the_name_of_a_device(town: MarketTown) -> None:
    answered = town.does(town.tablet, town.tablet.id, order(town, 1))

    assert answered.verdict.rule == "people.actor_inactive"


def test_stock_quota_of_other_is_not_given_back_by_this_device(town: MarketTown) -> None:
    town.office(grant(town, 6))
    other = add_tablet(town, "other")

    answered = town.does(other, other.id, ReturnQuota(quota=quota_of(town)))

    assert told(town, answered) == refused("stock.quota_of_other", "This quota is another device's.")
    assert shelf(town, town.tea) == (10, 6)


def test_a_withdrawn_quota_stays_set_aside_until_the_device_has_reported(town: MarketTown) -> None:
    town.office(grant(town, 6))

    assert told(town, town.office(WithdrawQuota(quota=quota_of(town)))) == ACCEPTED
    assert (shelf(town, town.tea), quota(town)) == ((10, 6), (6, 0, 0, "withdrawn"))
    assert on_tablet(town, order(town, 1)).verdict.rule == "stock.quota_exceeded"


@pytest.mark.parametrize("is_withdrawn", [True, False], ids=["withdrawn", "lapsed"])
def test_stock_quota_not_returned_is_not_granted_again(town: MarketTown, *, is_withdrawn: bool) -> None:
    town.office(grant(town, 6))
    if is_withdrawn:
        town.office(WithdrawQuota(quota=quota_of(town)))
    else:
        town.now_ms += DAY_MS

    sentence = "tablet may still have sold the 6 of Tea that it holds; it must report first, or be revoked."
    answered = town.office(grant(town, 1))
    assert told(town, answered) == refused("stock.quota_not_returned", sentence.replace("tablet", "warehouse_staff"))

    town.does(town.tablet, town.tablet.id, ReturnQuota(quota=quota_of(town)))
    assert told(town, town.office(grant(town, 1))) == ACCEPTED
    assert (shelf(town, town.tea), quota(town)) == ((10, 1), (1, 0, 0, "active"))


def test_a_quota_that_is_open_can_be_topped_up(town: MarketTown) -> None:
    town.office(grant(town, 6))
    sells(town, 2)

    town.office(grant(town, 3))

    assert (shelf(town, town.tea), quota(town)) == ((10, 9), (9, 2, 0, "active"))


def test_what_a_lost_device_held_is_taken_back_once_it_is_revoked(town: MarketTown) -> None:
    town.office(grant(town, 6))
    town.office(RevokeDevice(device=town.tablet.id, reason="lost"))

    assert told(town, town.office(WithdrawQuota(quota=quota_of(town)))) == ACCEPTED
    assert (shelf(town, town.tea), quota(town)) == ((10, 0), (6, 0, 6, "closed"))


def test_stock_quota_closed_has_nothing_to_withdraw(town: MarketTown) -> None:
    town.office(grant(town, 6))
    town.does(town.tablet, town.tablet.id, ReturnQuota(quota=quota_of(town)))

    answered = town.office(WithdrawQuota(quota=quota_of(town)))

    assert told(town, answered) == refused("stock.quota_closed", "This quota has been given back already.")


def test_stock_quota_needs_device_that_takes_orders(town: MarketTown) -> None:
    town.office(RevokeDevice(device=town.tablet.id, reason="lost"))

    sentences = [
        told(town, town.office(grant(town, 1, device=device))).sentences for device in (town.van_a, town.tablet)
    ]

    sentence = "{} is no active device that takes orders."
    assert sentences == [(sentence.format("driver"),), (sentence.format("warehouse_staff"),)]


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["grant", "sell", "oversell", "office", "return", "withdraw", "wait"]), st.integers(1, 5)
    ),
    max_size=20,
)


@settings(max_examples=80, deadline=None)
@given(acts=ACTS)
def test_whatever_is_granted_sold_and_returned_is_reserved_once(acts: list[tuple[str, int]]) -> None:
    town = found_market_town()
    for kind, size in acts:
        left = quota(town)[0] - sum(quota(town)[1:3]) if ("stock_quota", quota_of(town)) in town.rows else None
        if kind == "grant":
            town.office(grant(town, size))
        elif kind == "sell" and left:
            assert sells(town, min(size, left)).verdict.rule is None
        elif kind == "oversell":
            sells(town, 2 * size)
        elif kind == "office":
            town.places((town.tea, size), number=str(size))
        elif kind == "return" and left is not None:
            town.does(town.tablet, town.tablet.id, ReturnQuota(quota=quota_of(town)))
        elif kind == "withdraw" and left is not None:
            town.office(WithdrawQuota(quota=quota_of(town)))
        elif kind == "wait":
            town.now_ms += size * DAY_MS // 3
        held = [row["granted"] - row["used"] - row["returned"] for row in town.rows_of("stock_quota").values()]
        promised = sum(line["reserved"] for row in town.rows_of("order").values() for line in row["lines"])
        assert all(pieces >= 0 for pieces in held)
        assert shelf(town, town.tea) == (10, sum(held) + promised)
        assert shelf(town, town.tea)[1] <= 10
