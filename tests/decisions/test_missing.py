"""What becomes of goods that were not delivered and do not come back, and of a clock that is wrong."""

from __future__ import annotations

import pytest

from sync.modules.commerce import FailDelivery, ReceiveStock, ReportMissing, ReturnDelivery
from sync.modules.identity import ChangeSettings
from sync.modules.town_settings import TownSettings
from tests.support.decisions import ACCEPTED, Left, adjusted, axes, depart, refused, shelf, told
from tests.support.shelves import MINUTE_MS, offline
from tests.support.town_in_memory import MarketTown

DAY_MS = 24 * 60 * MINUTE_MS
SINCE = "2026-11-21T08:00:00.000Z"


def fails(town: MarketTown) -> str:
    """An order that could not be handed over; returns its id."""
    order = town.places()
    town.does(town.van_a, town.driver_a, FailDelivery(dispatch=depart(town, order)))
    return order


def report(order: str, attempt: int = 1) -> ReportMissing:
    return ReportMissing(order=order, attempt=attempt, undelivered_at=SINCE)


def not_missing(days: int = 7) -> str:
    return f"The goods of order 1001 are not missing, or not for {days} days yet, or were reported already."


def test_stock_goods_missing_has_somebody_look_for_them(town: MarketTown) -> None:
    order = fails(town)
    town.now_ms += 7 * DAY_MS

    answered = town.office(report(order), actor=town.server.id)

    left = Left(
        kind="goods_missing",
        sentence="The goods of order 1001 were not delivered on 2026-11-21, and have not come back for 7 days.",
        about=("order", order),
        by="order.report_missing",
        said={"undelivered_at": SINCE},
        had={"custody": "undelivered", "driver_id": town.driver_a},
        outcome="still reserved",
        task="Order 1001: find out where the goods are",
        audience=f"warehouse:{town.warehouse}",
    )
    assert told(town, answered) == adjusted("stock.goods_missing", left)
    assert (shelf(town, town.tea), axes(town, order)) == ((10, 3), ("active", "undelivered", "unpaid", "FAILED"))


def test_stock_goods_not_missing_before_the_day_that_the_town_has_set(town: MarketTown) -> None:
    town.office(ChangeSettings(settings=TownSettings(return_days_max=2)), actor=town.admin)
    order = fails(town)

    town.now_ms += 2 * DAY_MS - 1
    early = town.office(report(order), actor=town.server.id)
    town.now_ms += 1
    late = town.office(report(order), actor=town.server.id)

    assert told(town, early) == refused("stock.goods_not_missing", not_missing(2))
    assert late.verdict.rule == "stock.goods_missing"


def test_stock_goods_not_missing_when_it_was_said_before(town: MarketTown) -> None:
    order = fails(town)
    town.now_ms += 7 * DAY_MS
    town.office(report(order), actor=town.server.id)

    answered = town.office(report(order), actor=town.server.id)

    assert told(town, answered) == refused("stock.goods_not_missing", not_missing())
    assert len([row for row in town.rows_of("conflict").values() if row["kind"] == "goods_missing"]) == 1


@pytest.mark.parametrize("attempt", [1, 2])
def test_stock_goods_not_missing_when_they_came_back_or_left_again(town: MarketTown, attempt: int) -> None:
    order = fails(town)
    if attempt == 1:
        town.does(town.tablet, town.picker, ReturnDelivery(order=order))
    town.now_ms += 7 * DAY_MS

    answered = town.office(report(order, attempt), actor=town.server.id)

    assert told(town, answered) == refused("stock.goods_not_missing", not_missing())


def test_nobody_but_the_town_itself_reports_goods_as_missing(town: MarketTown) -> None:
    order = fails(town)
    town.now_ms += 7 * DAY_MS

    assert town.office(report(order)).verdict.rule == "people.actor_refused"


def received(town: MarketTown) -> ReceiveStock:
    return ReceiveStock(warehouse=town.warehouse, product=town.tea, quantity=1)


@pytest.mark.parametrize("skew_minutes", [-90, 90], ids=["behind", "ahead"])
def test_engine_clock_suspect_is_told_and_changes_nothing_else(town: MarketTown, skew_minutes: int) -> None:
    town.tablet.clock_skew_ms = skew_minutes * MINUTE_MS
    town.tablet.last_at = town.tablet.last_at.__class__(unix_ms=0, counter=0)

    answered = town.does(town.tablet, town.picker, received(town))

    clocks = {-90: "2026-11-21T06:30:00.000Z", 90: "2026-11-21T09:30:00.000Z"}
    said = f"{clocks[skew_minutes]}"
    left = Left(
        kind="clock_suspect",
        sentence=f"The clock of this device said {said}; it was between {SINCE} and {SINCE}.",
        about=("device", town.tablet.id),
        by="stock.receive",
        task=f"Set the clock of this device, which said {said} between {SINCE} and {SINCE}",
    )
    assert (answered.verdict.status.value, answered.verdict.rule) == ("accepted", None)
    assert told(town, answered).left == (left,)
    assert shelf(town, town.tea) == (11, 0)


def test_engine_clock_suspect_leaves_one_task_a_day(town: MarketTown) -> None:
    town.tablet.clock_skew_ms = 90 * MINUTE_MS
    answered = [town.does(town.tablet, town.picker, received(town)) for _ in range(3)]
    town.now_ms += DAY_MS
    answered.append(town.does(town.tablet, town.picker, received(town)))

    assert [len(each.verdict.notes) for each in answered] == [1, 1, 1, 1]
    assert [len(each.verdict.conflicts) for each in answered] == [1, 0, 0, 1]


def test_a_clock_that_is_a_few_minutes_off_is_nobodys_concern(town: MarketTown) -> None:
    town.tablet.clock_skew_ms = 5 * MINUTE_MS

    assert told(town, town.does(town.tablet, town.picker, received(town))) == ACCEPTED


def test_a_day_without_a_network_makes_no_clock_suspect(town: MarketTown) -> None:
    line = offline(town, town.tablet, received(town), base=town.version)
    town.now_ms += DAY_MS

    assert told(town, town.take([line]).answered[0]) == ACCEPTED
