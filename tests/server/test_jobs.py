"""Work that is not done is seen, also what was given up, and is tried again when somebody says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from server.adapters.keys import open_signer
from server.adapters.postgres.outbox import PostgresJobs
from server.adapters.postgres.sights import PostgresSights
from server.adapters.system import RealSystem
from server.application.callback_ports import Callback
from server.application.commands.work_off_outbox import NEVER
from server.cli.app import whole_app
from server.embedded import EmbeddedRedis
from server.jobs.relay import answer
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id
from tests.support.real_town import RealTown, real_town

CALLBACK_ID = derived_id("callback")


@dataclass(kw_only=True)
class Office:
    """A town with one message to be written, one callback to be looked at, and somebody at a command line."""

    town: RealTown
    jobs: PostgresJobs
    environment: dict[str, str]

    async def ids(self) -> dict[str, str]:
        """The undone jobs by kind."""
        return {job.kind: job.id for job in await self.jobs.undone(self.town.id, 100)}

    async def give_up(self, kind: str) -> str:
        """The work of this kind has failed for good; its id."""
        job_id = (await self.ids())[kind]
        for work in (self.town.outbox, self.town.inbox):
            await work.fail(self.town.id, job_id, "refund_failed: nobody pays", NEVER)
        return job_id

    async def run(self, *words: str) -> Any:
        """A command has an event loop of its own, so it gets a thread."""
        return await asyncio.to_thread(
            CliRunner().invoke, whole_app(), ["jobs", *words, "--town", self.town.id], env=self.environment
        )


@pytest.fixture
async def office(migrated_database: str, redis_server: EmbeddedRedis, tmp_path: Path) -> AsyncIterator[Office]:
    environment = {
        "DATABASE_URL": migrated_database,
        "REDIS_URL": redis_server.url,
        "TALLYSTICK_DATA_DIR": str(tmp_path),
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    signer = open_signer(tmp_path / "server.key", may_create=True)
    async with real_town(migrated_database, signer=signer) as town:
        await town.cancelled_order()
        await town.inbox.keep(
            Callback(
                id=CALLBACK_ID,
                town_id=town.id,
                kind="momo.callback",
                data={"payment": derived_id("payment")},
                received_at=format_time(town.system.now_ms()),
                method="PUT",
                content_type="",
                body=b"",
            )
        )
        yield Office(town=town, jobs=PostgresJobs(town.pool), environment=environment)


async def test_what_is_not_done_is_listed_from_both_sides(office: Office) -> None:
    found = await office.jobs.undone(office.town.id, 100)

    assert {(job.kind, job.source, job.is_dead, job.problem) for job in found} == {
        ("customer.notify", "outbox", False, None),
        ("momo.callback", "inbox", False, None),
    }


@pytest.mark.parametrize("kind", ["customer.notify", "momo.callback"])
async def test_what_was_given_up_is_done_by_nobody_until_it_is_tried_again(office: Office, kind: str) -> None:
    job_id = await office.give_up(kind)
    office.town.system.advance(365 * 24 * 3600)
    await answer(office.town, office.town.id)
    (dead,) = [job for job in await office.jobs.undone(office.town.id, 100) if job.is_dead]
    assert (dead.id, dead.problem) == (job_id, "refund_failed: nobody pays")

    assert await office.jobs.retry(office.town.id, job_id, format_time(office.town.system.now_ms()))

    (again,) = [job for job in await office.jobs.undone(office.town.id, 100) if job.id == job_id]
    assert (again.is_dead, again.attempts, again.problem) == (False, 0, None)


async def test_what_is_done_is_not_tried_again(office: Office) -> None:
    job_id = (await office.ids())["customer.notify"]
    await answer(office.town, office.town.id)

    assert not await office.jobs.retry(office.town.id, job_id, format_time(office.town.system.now_ms()))
    assert (len(await office.town.told()), job_id in (await office.ids()).values()) == (1, False)


async def test_the_command_lists_and_tries_again(office: Office) -> None:
    job_id = await office.give_up("customer.notify")

    listed = await office.run("list", "--dead", "--json")
    assert [(one["id"], one["state"], one["problem"]) for one in json.loads(listed.stdout)] == [
        (job_id, "given up", "refund_failed: nobody pays")
    ]
    assert (await office.run("retry", job_id)).exit_code == 0
    assert json.loads((await office.run("list", "--dead", "--json")).stdout) == []

    office.town.system.unix_ms = RealSystem().now_ms()
    await answer(office.town, office.town.id)
    assert len(await office.town.told()) == 1


async def test_work_that_is_not_there_cannot_be_tried_again(office: Office) -> None:
    done = await office.run("retry", derived_id("nothing"))

    assert (done.exit_code, "no work" in done.output) == (2, True)


@pytest.mark.parametrize("kind", ["customer.notify", "momo.callback"])
async def test_what_was_given_up_is_seen_at_a_glance(office: Office, kind: str) -> None:
    await office.give_up(kind)

    sights = await PostgresSights(office.town.pool).towns(format_time(office.town.system.now_ms()), NEVER)

    assert [(sight.waiting, sight.given_up) for sight in sights] == [(1, 1)]
