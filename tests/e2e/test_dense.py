"""Sixteen devices of one town at once: no row is ever missed, versions are 1, 2, 3 ..., and without the lock it shows.

Real appliers in two processes over real PostgreSQL. The same checks are run on mutants of the server that do not lock
the head of the town, so that they are seen to fire in every run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from server.adapters.postgres.connection import town_transaction
from tests.support.dense import Mutant, Outcome, push_and_pull, senders_of
from tests.support.puller import faults_of_versions, feed_rows
from tests.support.real_town import RealTown, real_town
from tests.support.write_path import findings

DEVICES = 16
CHANGE_SETS = 10_000
CHANGE_SETS_OF_MUTANTS = 1_600
ROUNDS_MAX = 6
"""Two processes collide by chance, a few times in each round."""


@pytest.fixture
async def town(migrated_database: str) -> AsyncIterator[RealTown]:
    async with real_town(migrated_database) as made:
        yield made


async def complaints_of(town: RealTown, outcomes: list[Outcome]) -> list[str]:
    """Everything that was not as it has to be, of the devices, the feed and the versions."""
    found = [complaint for outcome in outcomes for complaint in outcome.complaints]
    sent = {order for outcome in outcomes for order in outcome.orders}
    async with town_transaction(town.pool, town.id) as connection:
        found += await faults_of_versions(connection)
        for outcome in outcomes:
            there, here = await feed_rows(connection, outcome.puller.cursors), outcome.puller.rows
            orders = {row_id for _, entity, row_id in here if entity == "order"}
            if here != there:
                found.append(f"{outcome.puller.device_id} has {len(here)} rows, the feed {len(there)}")
            if not sent <= orders:
                found.append(f"{outcome.puller.device_id} has missed {len(sent - orders)} of {len(sent)} orders")
    return found


async def test_sixteen_devices_at_once_miss_nothing_and_leave_no_hole(town: RealTown, migrated_database: str) -> None:
    senders = await senders_of(town, DEVICES)
    each = CHANGE_SETS // DEVICES
    outcomes = await push_and_pull(migrated_database, town, senders, change_sets=each, mutant="none")
    assert await complaints_of(town, outcomes) == []
    assert sum(len(outcome.orders) for outcome in outcomes) == CHANGE_SETS
    assert await findings(town) == ()


async def test_without_the_lock_two_processes_collide_and_the_checks_complain(
    town: RealTown, migrated_database: str
) -> None:
    found = await complaints_of_mutant(town, migrated_database, "no lock", "a batch was refused")
    assert "a batch was refused" in found


async def test_without_the_lock_and_the_key_behind_it_rows_are_missed_and_the_checks_complain(
    town: RealTown, migrated_database: str
) -> None:
    found = await complaints_of_mutant(town, migrated_database, "no lock and no key", "has missed")
    assert "has missed" in found
    assert await findings(town) != ()


async def complaints_of_mutant(town: RealTown, database_url: str, mutant: Mutant, expected: str) -> str:
    """What the checks complain of, a line each; new devices are let loose until it is what is expected, or no more."""
    for _ in range(ROUNDS_MAX):
        senders = await senders_of(town, DEVICES)
        each = CHANGE_SETS_OF_MUTANTS // DEVICES
        outcomes = await push_and_pull(database_url, town, senders, change_sets=each, mutant=mutant)
        found = "\n".join(await complaints_of(town, outcomes))
        if expected in found:
            return found
    return ""
