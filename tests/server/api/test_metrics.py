"""`/metrics`: who may read it, what it counts of exchanges and towns, and that no label is what strangers write."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg_pool import AsyncConnectionPool

from server import metrics
from server.adapters.memory import MemorySystem
from server.adapters.postgres.connection import Connection, make_pool, town_transaction
from server.adapters.postgres.sights import PostgresSights
from server.api.parts import MetricsDoor
from server.application.commands.work_off_outbox import NEVER
from sync.kernel.clock import format_time
from sync.modules.commerce import OpenWarehouse
from tests.support.api_world import ApiWorld, api_world
from tests.support.real_town import real_town

TOKEN = "a token for scrapers"
OPENED = {"Authorization": f"Bearer {TOKEN}"}
Figures = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
async def pool(migrated_database: str) -> AsyncIterator[AsyncConnectionPool[Connection]]:
    async with make_pool(migrated_database) as opened:
        yield opened


@pytest.fixture
async def world(migrated_database: str, pool: AsyncConnectionPool[Connection]) -> AsyncIterator[ApiWorld]:
    door = MetricsDoor(token=TOKEN, sights=PostgresSights(pool))
    async with api_world(migrated_database, metrics=door) as served:
        yield served


def figures_in(page: str) -> Figures:
    """Every figure by its name and labels."""
    families = text_string_to_metric_families(page)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for f in families for sample in f.samples}


async def read(world: ApiWorld) -> Figures:
    answer = await world.client.get("/metrics", headers=OPENED)
    assert (answer.status_code, answer.headers["content-type"]) == (200, metrics.CONTENT_TYPE)
    return figures_in(answer.text)


def value_of(figures: Figures, name: str, /, **labels: str) -> float:
    return figures.get((name, frozenset(labels.items())), 0.0)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer another"}, {"Authorization": f"Basic {TOKEN}"}])
async def test_the_page_is_for_whoever_holds_the_token(world: ApiWorld, headers: dict[str, str]) -> None:
    answer = await world.client.get("/metrics", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_without_a_token_in_the_settings_there_is_no_page(migrated_database: str) -> None:
    async with api_world(migrated_database) as world:
        answer = await world.client.get("/metrics", headers=OPENED)

    assert answer.status_code == 404


async def test_an_exchange_is_counted_by_how_it_ended(world: ApiWorld) -> None:
    device = await world.device()
    before = await read(world)
    good = await device.exchange()
    refused = await device.exchange(hello=device.hello(head={"seq": 1, "hash": "A" * 43, "sig": "A" * 86}))
    after = await read(world)

    def grown(name: str, /, **labels: str) -> float:
        return value_of(after, name, **labels) - value_of(before, name, **labels)

    assert (good.status_code, refused.json()["code"]) == (200, "chain_broken")
    assert grown("tallystick_exchanges_total", outcome="answered") == 1
    assert grown("tallystick_exchanges_total", outcome="chain_broken") == 1
    assert grown("tallystick_problems_total", code="chain_broken") == 1
    assert 0 < grown("tallystick_exchange_bytes_total", direction="out") < len(good.content)
    assert grown("tallystick_device_pending_change_sets_count") == 1
    assert grown("tallystick_feed_rows_total") > 0
    assert grown("tallystick_feed_bytes_total") > grown("tallystick_feed_rows_total")


async def test_verdicts_and_group_commits_are_counted_once_they_are_committed(world: ApiWorld) -> None:
    before = await read(world)
    await world.author(OpenWarehouse(id=world.new_id(), name="North"))
    after = await read(world)

    for name, labels in (
        ("tallystick_verdicts_total", {"status": "accepted"}),
        ("tallystick_group_commit_change_sets_count", {}),
        ("tallystick_group_commit_change_sets_sum", {}),
        ("tallystick_group_commit_seconds_count", {}),
    ):
        assert value_of(after, name, **labels) - value_of(before, name, **labels) == 1, name


async def test_a_device_that_comes_back_is_behind_by_what_was_written_meanwhile(world: ApiWorld) -> None:
    device = await world.device()
    epoch, version = "", 0
    async with world.parts.towns.reading(world.town_id) as reader:
        epoch, version = reader.head.epoch, reader.head.version
    await world.author(OpenWarehouse(id=world.new_id(), name="South"))
    before = await read(world)
    cursors = {"town": version}
    assert (await device.exchange(hello=device.hello(cursors=cursors, epoch=epoch))).status_code == 200
    after = await read(world)

    assert value_of(after, "tallystick_device_lag_versions_sum") - value_of(
        before, "tallystick_device_lag_versions_sum"
    ) == pytest.approx(1)


async def test_what_strangers_write_is_no_label(world: ApiWorld) -> None:
    await world.client.get("/v1/made/up/by/a/stranger")
    await world.client.request("BREW", "/healthz")
    page = (await world.client.get("/metrics", headers=OPENED)).text

    assert "stranger" not in page
    assert "BREW" not in page
    assert value_of(figures_in(page), "tallystick_requests_total", method="GET", route="none", status="404") >= 1
    assert value_of(figures_in(page), "tallystick_requests_total", method="other", route="/healthz", status="405") >= 1


async def test_towns_are_told_with_their_devices_and_their_outbox(
    migrated_database: str, pool: AsyncConnectionPool[Connection]
) -> None:
    system = MemorySystem(seed=77)
    async with real_town(migrated_database, system=system) as town:
        await town.enrol("driver")
        for number in ("A1", "A2", "A3"):
            await town.cancelled_order(number)
        async with town_transaction(pool, town.id) as connection:
            due = "UPDATE outbox SET due_at = %s, problem = 'why' WHERE id = (SELECT min(id::text)::uuid FROM outbox)"
            await connection.execute(due, [NEVER])
        system.advance(90)
        sights = await PostgresSights(pool).towns(format_time(system.now_ms()), NEVER)
    (sight,) = (one for one in sights if one.town_id == town.id)
    page = figures_in(metrics.exposition([sight]).decode())

    assert value_of(page, "tallystick_town_devices", town=town.id, status="active") == 1
    assert value_of(page, "tallystick_town_info", town=town.id, name="Ashford") == 1
    assert value_of(page, "tallystick_town_version", town=town.id) == sight.version > 0
    assert value_of(page, "tallystick_outbox_waiting", town=town.id) == 2
    assert value_of(page, "tallystick_outbox_given_up", town=town.id) == 1
    assert value_of(page, "tallystick_outbox_failing", town=town.id) == 0
    assert value_of(page, "tallystick_outbox_overdue_seconds", town=town.id) == 90


async def test_while_the_database_is_away_the_page_says_so(migrated_database: str) -> None:
    door = MetricsDoor(token=TOKEN, sights=PostgresSights(make_pool("postgresql://127.0.0.1:1/nothing")))
    async with api_world(migrated_database, metrics=door) as world:
        page = await read(world)

    assert value_of(page, "tallystick_database_up") == 0
    assert "tallystick_town_version" not in {name for name, _ in page}


async def test_every_figure_of_the_page_is_described(world: ApiWorld) -> None:
    families = text_string_to_metric_families((await world.client.get("/metrics", headers=OPENED)).text)
    described = {one.name.removesuffix("_total") for one in metrics.DESCRIBED}

    assert {family.name.removesuffix("_total") for family in families} == described
