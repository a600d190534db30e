"""The write path when PostgreSQL fails under it: nothing decided without a commit, nothing done twice after one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import psycopg
import pytest

from server.adapters.postgres import connection as postgres_connection
from server.adapters.postgres.connection import make_pool, town_transaction
from server.adapters.postgres.statements import LOCK_TOWN
from server.adapters.postgres.towns import PostgresTowns, PostgresTownWriter
from server.application.commands.found_town import found_town
from server.application.ports import Founding, OutcomeUnknown, Unavailable
from sync.engine.feed import Stored
from sync.kernel.changeset import RowKey
from tests.support.proxy import CuttingProxy, cutting_proxy
from tests.support.real_town import RealTown, real_town
from tests.support.write_path import ArmedSystem, findings, other_appliers, receive, received, upload, version

TRIES_MAX = 1_000
OTHER_LOCK_TIMEOUT = "50ms"
SHORT_WAIT_SECONDS = 0.5


@pytest.fixture
async def proxied(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[RealTown, CuttingProxy]]:
    """A town whose only way to PostgreSQL is a proxy that can cut it."""
    monkeypatch.setattr(postgres_connection, "POOL_WAIT_SECONDS", SHORT_WAIT_SECONDS)
    async with cutting_proxy(migrated_database) as (proxy, url), real_town(url, system=ArmedSystem()) as town:
        yield town, proxy


class LossyTowns(PostgresTowns):
    """A store whose first COMMIT is not answered, and that is away when it is asked what became of it."""

    writes = 0

    @asynccontextmanager
    async def writing(self, town_id: str, *, founding: Founding | None = None) -> AsyncIterator[PostgresTownWriter]:
        self.writes += 1
        if self.writes > 1:
            raise Unavailable
        async with super().writing(town_id, founding=founding) as writer:
            yield writer
        raise Unavailable


class CountingTowns(PostgresTowns):
    """A store that counts how often rows are loaded for a writer."""

    loads = 0

    @asynccontextmanager
    async def writing(self, town_id: str, *, founding: Founding | None = None) -> AsyncIterator[PostgresTownWriter]:
        async with super().writing(town_id, founding=founding) as writer:
            load = writer.load

            async def counted(keys: Iterable[RowKey]) -> Mapping[RowKey, Stored | None]:
                self.loads += 1
                return await load(keys)

            writer.load = counted  # type: ignore[method-assign]
            yield writer


def arm_commit(town: RealTown, fault: Callable[[], None]) -> None:
    """Have `fault` happen when the write path is next about to commit."""
    cast("ArmedSystem", town.system).armed["apply.before_commit"] = fault


def kill_the_writer(database_url: str) -> None:
    """End the session that is in a transaction, as an administrator or a crash of the server would."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        killed = connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND state = 'idle in transaction'"
        ).fetchall()
    assert killed == [(True,)]


async def test_a_town_locked_by_another_session_is_unavailable_and_nothing_is_decided(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = postgres_connection._SESSION.replace("lock_timeout = '3s'", f"lock_timeout = '{OTHER_LOCK_TIMEOUT}'")
    assert OTHER_LOCK_TIMEOUT in session
    monkeypatch.setattr(postgres_connection, "_SESSION", session)
    async with real_town(migrated_database) as town:
        device = await town.enrol("warehouse_staff")
        line, before = device.line(receive(town)), await version(town)
        async with town_transaction(town.pool, town.id) as holder:
            await holder.execute(LOCK_TOWN, [town.id])
            with pytest.raises(Unavailable):
                await device.send(line)
        assert (await version(town), await received(town)) == (before, 0)
        assert [verdict["status"] for verdict in await device.send(line)] == ["accepted"]
        assert await received(town) == 1


async def test_an_upload_whose_connection_is_killed_takes_effect_once(town: RealTown, migrated_database: str) -> None:
    device = await town.enrol("warehouse_staff")
    line, before = device.line(receive(town)), await version(town)
    arm_commit(town, lambda: kill_the_writer(migrated_database))
    with pytest.raises(Unavailable):
        await device.send(line)
    assert (await version(town), await received(town)) == (before, 0)
    assert [verdict["version"] for verdict in await device.send(line)] == [before + 1]
    assert (await version(town), await received(town)) == (before + 1, 1)
    assert await findings(town) == ()


async def test_everybody_in_a_batch_whose_connection_is_killed_may_ask_again(
    town: RealTown, migrated_database: str
) -> None:
    devices = [await town.enrol("warehouse_staff") for _ in range(3)]
    lines = [device.line(receive(town)) for device in devices]
    arm_commit(town, lambda: kill_the_writer(migrated_database))
    sending = (device.send(line) for device, line in zip(devices, lines, strict=True))
    outcomes = await asyncio.gather(*sending, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
    for device, line in zip(devices, lines, strict=True):
        await device.send(line)
    assert await received(town) == 3
    assert await findings(town) == ()


async def test_a_commit_whose_answer_is_lost_is_looked_up_before_anything_is_said(
    proxied: tuple[RealTown, CuttingProxy],
) -> None:
    town, proxy = proxied
    device = await town.enrol("warehouse_staff")
    before = await version(town)
    proxy.arm()
    said = await device.send(device.line(receive(town)))
    assert proxy.cuts == 1
    assert [(verdict["status"], verdict["version"]) for verdict in said] == [("accepted", before + 1)]
    assert (await version(town), await received(town)) == (before + 1, 1)
    assert await findings(town) == ()


async def test_what_the_town_itself_writes_is_not_written_twice_when_the_answer_is_lost(
    proxied: tuple[RealTown, CuttingProxy],
) -> None:
    town, proxy = proxied
    proxy.arm()
    await town.author(receive(town, 5))
    await town.author(receive(town))
    assert (proxy.cuts, await received(town)) == (1, 6)
    assert await findings(town) == ()


async def test_a_commit_that_cannot_be_looked_up_gives_its_verdict_when_asked_again(
    proxied: tuple[RealTown, CuttingProxy],
) -> None:
    town, proxy = proxied
    device = await town.enrol("warehouse_staff")
    line, before = device.line(receive(town)), await version(town)
    proxy.arm(goes_down=True)
    with pytest.raises(Unavailable):
        await device.send(line)
    assert proxy.cuts == 1
    proxy.is_down = False
    said = await _until_available(lambda: device.send(line))
    assert said[0]["version"] == before + 1
    assert (await version(town), await received(town)) == (before + 1, 1)


async def test_two_processes_on_one_database_take_turns_without_a_stale_row(
    town: RealTown, migrated_database: str
) -> None:
    async with make_pool(migrated_database) as pool:
        both = (town.appliers, other_appliers(town, towns=PostgresTowns(pool)))
        devices = [await town.enrol("warehouse_staff") for _ in range(4)]
        before = await version(town)
        for turn in range(10):
            device = devices[turn % 4]
            await both[turn % 2].submit(upload(device, device.line(receive(town))))
        assert (await version(town), await received(town)) == (before + 10, 10)
        at_once = [
            both[turn % 2].submit(upload(device, device.line(receive(town))))
            for turn in range(40)
            for device in [devices[turn % 4]]
        ]
        await asyncio.gather(*at_once)
    assert await received(town) == 50
    assert await findings(town) == ()


async def test_the_same_upload_through_two_processes_at_once_has_one_effect(
    town: RealTown, migrated_database: str
) -> None:
    device = await town.enrol("warehouse_staff")
    async with make_pool(migrated_database) as pool:
        both = (town.appliers, other_appliers(town, towns=PostgresTowns(pool)))
        for turn in range(10):
            one = upload(device, device.line(receive(town)), device.line(receive(town)))
            first, second = await asyncio.gather(*(appliers.submit(one) for appliers in both))
            assert first == second
            assert await received(town) == 2 * (turn + 1)
    assert await findings(town) == ()


async def _until_available(ask: Callable[[], Coroutine[None, None, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """What the answer is once the database can be reached again; the pool needs a moment to notice."""
    for _ in range(TRIES_MAX):
        try:
            return await ask()
        except Unavailable:
            continue
    raise AssertionError("the database stays away")


async def test_a_transaction_that_decides_may_be_idle_for_longer_than_one_that_reads(town: RealTown) -> None:
    found = []
    for transaction in (town.towns.writing, town.towns.reading, town.towns.writing):
        async with transaction(town.id) as under_way:
            cursor = await under_way._connection.execute("SHOW idle_in_transaction_session_timeout")
            found.append(await cursor.fetchone())
    assert found == [("30s",), ("5s",), ("30s",)]


async def test_a_town_whose_founding_breaks_off_is_not_there(town: RealTown) -> None:
    def crash() -> None:
        raise Unavailable

    before = await town.towns.list_towns()
    arm_commit(town, crash)
    found = {"name": "Burford", "currency": "GBP", "time_zone": "UTC"}
    tools = {"appliers": town.appliers, "signer": town.signer, "system": town.system}
    with pytest.raises(Unavailable):
        await found_town(**found, **tools)  # type: ignore[arg-type]
    assert await town.towns.list_towns() == before
    town_id = await found_town(**found, **tools)  # type: ignore[arg-type]
    assert dict(await town.towns.list_towns()) == {**dict(before), town_id: "Burford"}


async def test_whoever_asks_the_office_is_told_when_it_is_not_known_whether_it_was_done(town: RealTown) -> None:
    lossy = other_appliers(town, towns=LossyTowns(town.pool))
    with pytest.raises(OutcomeUnknown):
        await lossy.author(town.id, town.admin_id, [receive(town, 5)])
    assert await received(town) == 5


async def test_a_device_whose_answer_was_lost_may_always_send_again(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")
    line = device.line(receive(town, 5))
    lossy = other_appliers(town, towns=LossyTowns(town.pool))
    with pytest.raises(Unavailable) as told:
        await lossy.submit(upload(device, line))
    assert not isinstance(told.value, OutcomeUnknown)
    assert (await device.send(line))[0]["status"] == "accepted"
    assert await received(town) == 5


async def test_rows_read_for_a_batch_that_writes_nothing_are_kept_for_the_next(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")
    line = device.line(receive(town))
    await device.send(line)
    counting = CountingTowns(town.pool)
    other = other_appliers(town, towns=counting)
    await other.submit(upload(device, line))
    loads = counting.loads
    await other.submit(upload(device, line))
    assert (loads > 0, counting.loads) == (True, loads)
