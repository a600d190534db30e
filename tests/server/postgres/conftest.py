"""Fixtures over real PostgreSQL: a town, and the same with rules that fail."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.real_town import RealTown, real_town
from tests.support.write_path import POISONED, ArmedSystem, other_appliers


@pytest.fixture
async def town(migrated_database: str) -> AsyncIterator[RealTown]:
    async with real_town(migrated_database, system=ArmedSystem()) as made:
        yield made


@pytest.fixture
async def poisoned_town(town: RealTown) -> RealTown:
    town.appliers = other_appliers(town, rules=POISONED)
    return town
