"""Counts, quotas, late goods and proven times in real tables: what is decided there is decided again by `verify`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
import pytest

from server.adapters.postgres.connection import town_transaction
from server.adapters.postgres.evidence import PostgresEvidence
from server.adapters.postgres.missing import PostgresMissingGoods
from server.application.queries.verify_town import verify_town
from server.jobs.missing import report_missing
from sync.engine.chain import encode_bytes
from sync.kernel.clock import format_time
from sync.kernel.draft import RULES
from sync.modules import registry
from sync.modules.commerce import (
    AdjustStock,
    AssignDispatch,
    CancelOrder,
    CountStock,
    FailDelivery,
    GrantQuota,
    PlaceOrder,
    ReturnQuota,
)
from sync.modules.commerce.counts import CountLine
from sync.modules.commerce.entities import stock_quota_id
from sync.modules.commerce.operations import OrderLine
from tests.support.real_town import PRODUCT, RealTown, real_town

DAY_SECONDS = 24 * 3600


class Missing:
    """What the job needs."""

    def __init__(self, town: RealTown) -> None:
        self.towns, self.appliers, self.system = town.towns, town.appliers, town.system
        self.missing_goods = PostgresMissingGoods(town.pool)


@pytest.fixture
async def town(migrated_database: str) -> AsyncIterator[RealTown]:
    async with real_town(migrated_database) as found:
        yield found


async def findings(town: RealTown) -> list[str]:
    """What `verify` finds."""
    report = await verify_town(
        PostgresEvidence(town.pool), town.id, registry=registry(), server_key=town.signer.public_key
    )
    return [f"{finding.where}: {finding.what}" for finding in report.findings]


async def seen_now(town: RealTown) -> Mapping[str, Any]:
    """What a device that syncs now can prove."""
    async with town.towns.reading(town.id) as reader:
        return {"version": reader.head.version, "journal": encode_bytes(reader.head.journal)}


async def rows(town: RealTown, sql: str) -> list[tuple[Any, ...]]:
    async with town_transaction(town.pool, town.id) as connection:
        cursor = await connection.execute(sql.encode())
        return await cursor.fetchall()


def counted(town: RealTown, figure: int) -> CountStock:
    return CountStock(warehouse=town.warehouse_id, lines=[CountLine(product=PRODUCT, counted=figure)])


def moved(town: RealTown, delta: int) -> AdjustStock:
    return AdjustStock(warehouse=town.warehouse_id, product=PRODUCT, delta=delta)


async def test_counts_and_movements_are_decided_again_alike(town: RealTown) -> None:
    counter, mover = [await town.enrol("warehouse_staff") for _ in range(2)]
    seen = await seen_now(town)
    town.system.advance(600)
    await counter.send(counter.line(counted(town, 40), seen=seen))
    uncertain = await mover.send(mover.line(moved(town, -1), seen=seen))
    sure = await mover.send(mover.line(moved(town, 5), seen=await seen_now(town)))

    assert [verdict["rule"] for verdict in uncertain] == ["stock.count_uncertain"]
    assert [verdict["status"] for verdict in sure] == ["accepted"]
    assert await rows(town, "SELECT on_hand, moves FROM stock_levels") == [(44, 4)]
    assert await rows(town, "SELECT counted, state FROM stock_counts") == [(40, "doubted")]
    assert await findings(town) == []


async def test_a_line_may_name_a_version_before_it_is_there(town: RealTown) -> None:
    """It proves nothing then, and the version proves what it should once it is there."""
    early, later = [await town.enrol("warehouse_staff") for _ in range(2)]
    version = (await seen_now(town))["version"]
    to_come = {"version": version + 2, "journal": "A" * 43}
    await early.send(early.line(moved(town, -1), seen=to_come))
    await town.author(moved(town, -1))
    seen = await seen_now(town)
    assert seen["version"] == version + 2

    await later.send(later.line(moved(town, -1), seen=seen))

    found = await rows(
        town, "SELECT after_version FROM stock_movements WHERE on_hand_delta < 0 ORDER BY booked_version"
    )
    assert found == [(0,), (version + 1,), (version + 2,)]
    assert await findings(town) == []


async def test_a_wrong_clock_is_told_once_and_replayed(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")
    seen = await seen_now(town)
    lines = [device.line(moved(town, -1), seen=seen) for _ in range(2)]
    town.system.advance(-DAY_SECONDS)
    lines += [device.line(moved(town, -1), seen=seen) for _ in range(2)]
    town.system.advance(DAY_SECONDS)

    verdicts = await device.send(*lines)

    assert [verdict["status"] for verdict in verdicts] == ["accepted"] * 4
    assert [len(verdict.get("conflicts", ())) for verdict in verdicts] == [0, 0, 1, 0]
    assert await findings(town) == []


async def test_entries_of_the_first_rules_are_decided_again_by_them(
    town: RealTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.engine.town.folding.__kwdefaults__", {"rules": 1})
    device = await town.enrol("warehouse_staff")
    await device.send(device.line(moved(town, -1)))
    monkeypatch.undo()
    await device.send(device.line(moved(town, -1)))

    bodies = [
        orjson.loads(body) for (body,) in await rows(town, "SELECT body FROM journal ORDER BY version DESC LIMIT 2")
    ]
    assert [body.get("rules") for body in bodies] == [RULES, None]
    moves = await rows(town, "SELECT booked_version IS NULL FROM stock_movements WHERE on_hand_delta < 0 ORDER BY seq")
    assert moves == [(True,), (False,)]
    assert await findings(town) == []


async def test_what_quotas_hold_is_part_of_what_is_reserved(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")
    until = format_time(town.system.now_ms() + DAY_SECONDS * 1000)
    place = {"warehouse": town.warehouse_id, "product": PRODUCT}
    await town.author(GrantQuota.model_validate({"device": device.id, "quantity": 9, "expires_at": until, **place}))
    sale = PlaceOrder(
        number="1",
        warehouse=town.warehouse_id,
        customer_name="c",
        lines=[OrderLine(product=PRODUCT, quantity=4, price="1.00")],
    )
    await device.send(device.line(sale))
    assert await rows(town, "SELECT reserved FROM stock_levels") == [(9,)]
    assert await findings(town) == []

    device.actor_id = device.id
    quota = stock_quota_id(device.id, town.warehouse_id, PRODUCT)
    await device.send(device.line(ReturnQuota(quota=quota)))

    assert await rows(town, "SELECT reserved FROM stock_levels") == [(4,)]
    assert await rows(town, "SELECT granted, used, returned, state FROM stock_quotas") == [(9, 4, 5, "closed")]
    assert await findings(town) == []


async def test_goods_that_do_not_come_back_are_reported_once(town: RealTown) -> None:
    driver = await town.enrol("driver")
    orders = [await town.place_order(number) for number in ("1", "2")]
    for order in orders:
        dispatch = town.new_id()
        await town.author(AssignDispatch(id=dispatch, order=order, driver=town.driver_id))
        await driver.send(driver.line(FailDelivery(dispatch=dispatch)))
        town.system.advance(DAY_SECONDS)
    parts = Missing(town)
    reported = []
    for _ in range(3):
        town.system.advance(2.5 * DAY_SECONDS)
        await report_missing(parts)
        found = await rows(town, "SELECT subject_id FROM conflicts WHERE kind = 'goods_missing' ORDER BY raised_at")
        reported.append([str(order) for (order,) in found])

    assert reported == [[], orders[:1], orders]
    version = (await seen_now(town))["version"]
    await report_missing(parts)
    assert (await seen_now(town))["version"] == version
    assert await findings(town) == []


async def test_a_recall_of_goods_that_are_missing_does_not_have_them_reported_again(town: RealTown) -> None:
    driver = await town.enrol("driver")
    order, dispatch = await town.place_order("1"), town.new_id()
    await town.author(AssignDispatch(id=dispatch, order=order, driver=town.driver_id))
    await driver.send(driver.line(FailDelivery(dispatch=dispatch)))
    parts = Missing(town)
    town.system.advance(8 * DAY_SECONDS)
    await report_missing(parts)
    assert await rows(town, "SELECT count(*) FROM conflicts WHERE kind = 'goods_missing'") == [(1,)]

    town.system.advance(DAY_SECONDS)
    await town.appliers.author(town.id, town.admin_id, [CancelOrder(order=order)])
    town.system.advance(8 * DAY_SECONDS)
    version = (await seen_now(town))["version"]
    await report_missing(parts)

    assert (await seen_now(town))["version"] == version
