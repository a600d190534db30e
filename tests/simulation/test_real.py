"""The same worlds over real stores: PostgreSQL and SQLite, told the same, come to the same as the stores in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from server.embedded import EmbeddedPostgres
from tests.simulation.real import RealStores
from tests.simulation.run import lived
from tests.simulation.told import Commit, Snapshot
from tests.simulation.world import World

SEED, FAILING_OVER_SEED = 3, 63
"""A small world, and one that goes back to an older copy and loses an epoch."""


@pytest.fixture(scope="module")
def stores(postgres: EmbeddedPostgres, migrated_template: str) -> RealStores:
    return RealStores(postgres, migrated_template)


@pytest.fixture
def world() -> World:
    """A world that is over."""
    made = World(SEED)
    assert lived(made) == []
    return made


@pytest.mark.parametrize("seed", [SEED, FAILING_OVER_SEED])
def test_real_stores_come_to_what_those_in_memory_have_come_to(stores: RealStores, seed: int) -> None:
    outcome = stores.run_seed(seed)

    assert outcome.findings == []
    assert outcome.change_sets > 0


def stores_with_findings(findings: Sequence[str]) -> set[str]:
    return {one.partition(":")[0] for one in findings}


def test_a_database_that_answers_or_keeps_something_else_is_found(stores: RealStores, world: World) -> None:
    [town] = world.stage.towns
    told = world.database.towns.told[town.id]
    place, snapshot = next((n, one) for n, one in enumerate(told) if isinstance(one, Snapshot) and one.asked)
    snapshot.asked[0] = replace(snapshot.asked[0], answer="another")
    del told[max(n for n, one in enumerate(told) if isinstance(one, Commit)) :]

    findings = stores.compared(world)

    assert findings[0].startswith(f"postgres: entry {place}: {snapshot.asked[0].name}")
    assert "postgres: journal are not what they are in memory" in findings
    assert stores_with_findings(findings) == {"postgres"}


def test_a_file_that_answers_or_keeps_something_else_is_found(stores: RealStores, world: World) -> None:
    device = next(one.device for one in world.residents if one.device.disk.entries())
    told = device.disk.told
    place = next(n for n, one in enumerate(told) if one.name == "settle")
    told[place] = replace(told[place], answer=None)
    told[-1:] = [replace(told[-1], name="rewind", arguments=(0,), answer=None)]

    findings = stores.compared(world)

    assert findings[0].startswith(f"sqlite: {device.name}: call {place}, settle")
    assert stores_with_findings(findings) == {"sqlite"}
    assert len(findings) > 1
