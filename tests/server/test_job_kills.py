"""The scheduler is killed at every step of its jobs, with work due in all of them; what is due is done once in the end.

The town was left alone for half a year, so that a real process with a real clock finds everything due at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from server.adapters.keys import open_signer
from server.adapters.memory import MemorySystem
from server.adapters.postgres.accounts import PostgresSessions
from server.adapters.postgres.enrolments import PostgresEnrolments
from server.adapters.system import RealSystem
from server.application.callback_ports import Callback
from server.application.commands.work_off_outbox import LEASE_SECONDS
from server.bootstrap import open_parts
from server.domain.devices import server_device_id
from server.domain.requests import KeyedRequest, RequestKey
from server.scheduler import PERIODICS
from server.settings import load_settings
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id
from sync.modules.billing import TakePayment
from sync.modules.billing.entities import party_id
from sync.modules.commerce import (
    AssignDispatch,
    CompleteDelivery,
    CompletePack,
    FailDelivery,
    PickLine,
    ReassignDispatch,
    StartDelivery,
)
from sync.modules.identity import AddUser
from tests.support.failpoints import KILLED, failpoints
from tests.support.real_town import PRODUCT, RealTown, real_town
from tests.support.worker_process import worker_process
from tests.support.write_path import findings, stored

NOBODY = "redis://127.0.0.1:1/0"
HALF_A_YEAR_MS = 183 * 24 * 3600 * 1000
LATE = derived_id("late")
BY_THE_JOBS = ("order.archive", "order.report_missing", "stub.expire")
FORGOTTEN = ("used_token_requests", "sign_in_tries", "idempotency", "inbox")


@dataclass(frozen=True, kw_only=True)
class Left:
    """A town with something to do for every job."""

    town: RealTown
    environment: dict[str, str]
    cancelled: str
    tombstones: int
    unpaid: str

    async def run_every_job(self) -> None:
        """What the next scheduler does once the leases of the one before have lapsed; what jobs ask for comes last."""
        self.town.system.unix_ms = RealSystem().now_ms() + LEASE_SECONDS * 1000
        async with open_parts(load_settings(self.environment)) as core:
            later = replace(core, system=cast("Any", self.town.system))
            for periodic in (*PERIODICS, PERIODICS[0]):
                await periodic.run(later)


async def send(town: RealTown, driver: str = "") -> str:
    """The dispatch of a new order that is on its way, at first with the town's driver and then with `driver`."""
    order, dispatch = await town.place_order(town.new_id()[-8:]), town.new_id()
    await town.author(PickLine(order=order, product=PRODUCT, quantity=1), CompletePack(order=order))
    await town.author(AssignDispatch(id=dispatch, order=order, driver=town.driver_id))
    if driver:
        dispatch = town.new_id()
        await town.author(ReassignDispatch(id=dispatch, order=order, driver=driver))
    await town.appliers.author(town.id, server_device_id(town.id), [StartDelivery(dispatch=dispatch)])
    return dispatch


async def leave_something_to_forget(town: RealTown) -> None:
    """One thing in every table that is forgotten."""
    now = format_time(town.system.now_ms())
    assert await PostgresEnrolments(town.pool).use_jti("once", now)
    await PostgresSessions(town.pool).count_try(b"somebody", [1], now, now)
    key = KeyedRequest(key=RequestKey(principal_id=town.admin_id, key="once"), digest=b"")
    called = derived_id("callback")
    data = {"payment": called}
    callback = Callback(
        id=called,
        town_id=town.id,
        kind="momo.callback",
        data=data,
        received_at=now,
        method="PUT",
        content_type="",
        body=b"",
    )
    await town.inbox.keep(callback)
    await town.inbox.finish(town.id, called, now)
    anybody = AddUser(id=town.new_id(), name="Zoe", login="zoe", user_roles=["driver"])
    await town.appliers.author(town.id, town.admin_id, [anybody], key)


@asynccontextmanager
async def left_alone(database_url: str, data_dir: Path) -> AsyncIterator[Left]:
    """The town."""
    environment = {"DATABASE_URL": database_url, "REDIS_URL": NOBODY, "TALLYSTICK_DATA_DIR": str(data_dir)}
    signer = open_signer(load_settings(environment).server_key_path, may_create=True)
    then = MemorySystem(unix_ms=RealSystem().now_ms() - HALF_A_YEAR_MS)
    async with real_town(database_url, system=then, signer=signer) as town:
        van, eve, office = await town.enrol("driver"), town.new_id(), server_device_id(town.id)
        await town.author(AddUser(id=eve, name="Eve", login="eve", user_roles=["driver"]))
        cancelled, unpaid = await town.cancelled_order("A1"), await town.place_order("M1", payment_method="momo")
        await van.send(van.line(TakePayment(order=LATE, amount="2.50", currency="GBP")))
        done = CompleteDelivery(dispatch=await send(town, eve), received_by="Grace")
        failed = FailDelivery(dispatch=await send(town))
        for operation in (done, failed):
            await town.appliers.author(town.id, office, [operation])
        await leave_something_to_forget(town)
        statement = {"paper": "statement", "of": "party", "owner": party_id(cancelled), "since": None, "until": None}
        await town.paper_desk.ask(town.id, statement, None)
        tombstones = await stored(town, "SELECT count(*) FROM feed WHERE body IS NULL")
        yield Left(town=town, environment=environment, cancelled=cancelled, tombstones=tombstones[0][0], unpaid=unpaid)


async def check_done_once(left: Left) -> None:
    """Every job has had its one effect, nothing is left to do, and the books verify."""
    town = left.town
    cancelled = [(left.cancelled, "Order A1 is cancelled."), (left.unpaid, "Order M1 is cancelled.")]
    assert (sorted(await town.told()), await town.undone()) == (sorted(cancelled), 0)
    conflicts = await stored(town, "SELECT kind FROM conflicts WHERE kind <> 'delivered_unpaid' ORDER BY kind")
    assert conflicts == [("goods_missing",), ("unknown_invoice",)]
    assert await stored(town, "SELECT state FROM stubs") == [("overdue",)]
    assert await stored(town, "SELECT count(*) FROM orders WHERE archived_at IS NOT NULL") == [(2,)]
    lines = "SELECT convert_from(line, 'UTF8')::jsonb -> 'ops' -> 0 ->> 'op' AS op, status FROM change_sets"
    effects = f"SELECT op, count(*) FROM ({lines}) AS made WHERE op = ANY('{{{','.join(BY_THE_JOBS)}}}') "
    effects += "AND status IN ('accepted', 'adjusted') GROUP BY op ORDER BY op"
    assert await stored(town, effects) == [(name, 1) for name in BY_THE_JOBS]
    given_up = "SELECT count(*) FROM order_status_events WHERE to_status = 'CANCELLED' AND note = 'unpaid'"
    assert await stored(town, given_up) == [(1,)]
    first = "SELECT min(version) FROM change_sets WHERE convert_from(line, 'UTF8') LIKE '%\"reason\":\"unpaid\"%'"
    old = f"SELECT count(*) FROM feed WHERE body IS NULL AND version < ({first})"
    assert (left.tombstones > 0, await stored(town, old)) == (True, [(0,)])
    booked = await stored(town, "SELECT count(DISTINCT party_id) FROM journal_entries WHERE party_id IS NOT NULL")
    assert await stored(town, "SELECT count(*) FROM statements") == booked
    assert await stored(town, "SELECT count(*) FROM papers") == [(1,)]
    for table in FORGOTTEN:
        assert await stored(town, f"SELECT count(*) FROM {table}") == [(0,)]
    assert await findings(town) == ()


@pytest.mark.parametrize(
    "failpoint",
    failpoints(
        "server", "outbox", "overdue", "unpaid", "missing", "archive", "tombstones", "forget", "statements", "papers"
    ),
)
async def test_a_scheduler_killed_at_any_step_of_its_jobs_leaves_work_that_is_done_once(
    migrated_database: str, tmp_path: Path, failpoint: str
) -> None:
    async with left_alone(migrated_database, tmp_path) as left:
        with worker_process(tmp_path, migrated_database, NOBODY, failpoint, program="scheduler") as process:
            assert process.wait() == KILLED

        for _ in range(2):
            await left.run_every_job()

            await check_done_once(left)
