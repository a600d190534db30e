"""A worker is killed at every step of a reminder: nobody is told twice under another id, and nobody is forgotten.

The scheduler is a real process with a real clock, the gateway a real server that outlives it and remembers what it was
handed. What was left is taken up by the next one, after the lease of the dead one has lapsed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from server.adapters.keys import open_signer
from server.adapters.memory import MemorySystem
from server.adapters.system import RealSystem
from server.application.commands.work_off_outbox import LEASE_SECONDS
from server.settings import load_settings
from tests.support.debts import DAY_SECONDS, SECRET, debt_in, gateway_at, owe, zone_where_it_is_noon
from tests.support.failpoints import KILLED, failpoints
from tests.support.worker_process import worker_process

NOBODY = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize("failpoint", failpoints("server", "reminders", "outbox"))
async def test_a_worker_killed_at_any_step_of_a_reminder_tells_everybody_and_nobody_under_another_id(
    migrated_database: str, tmp_path: Path, failpoint: str
) -> None:
    environment = {"DATABASE_URL": migrated_database, "REDIS_URL": NOBODY, "TALLYSTICK_DATA_DIR": str(tmp_path)}
    signer = open_signer(load_settings(environment).server_key_path, may_create=True)
    now_ms = RealSystem().now_ms()
    system = MemorySystem(unix_ms=now_ms - 3 * DAY_SECONDS * 1000)
    async with (
        gateway_at(system) as (gateway, sandbox, url),
        debt_in(
            migrated_database, gateway=gateway, system=system, signer=signer, time_zone=zone_where_it_is_noon(now_ms)
        ) as debt,
    ):
        await debt.remind(2 * DAY_SECONDS)  # one is on the agenda, the other is for the scheduler to write
        await owe(debt.town, "Ada")
        system.unix_ms = now_ms
        settings = {"TALLYSTICK_REMINDERS_URL": url, "TALLYSTICK_REMINDERS_SECRETS": SECRET.decode()}
        with worker_process(
            tmp_path, migrated_database, NOBODY, failpoint, program="scheduler", more=settings
        ) as process:
            assert process.wait() == KILLED

        system.unix_ms = RealSystem().now_ms() + LEASE_SECONDS * 1000
        for _ in range(2):
            await debt.remind()
            await debt.work()

            told = await debt.told()
            assert [one.fate for one in told] == ["sent", "sent"]
            assert set(sandbox.posts) == set(sandbox.taken) == {one.reminder.id for one in told}
        # Only what was handed over and not written down is handed over once more.
        assert len(sandbox.posts) == 2 + (failpoint == "reminders.after_send")
