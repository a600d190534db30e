"""One migrated database for all tests of the edge: each test has a town of its own in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from server.adapters.postgres.migrate import migrate
from server.embedded import EmbeddedPostgres
from tests.support.api_world import ApiWorld, api_world
from tests.support.stack import empty_database
from tests.support.staff_world import StaffWorld, staff_world


@pytest.fixture(scope="session")
def migrated_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    with empty_database(postgres) as url:
        migrate(url)
        yield url


@pytest.fixture
async def world(migrated_database: str) -> AsyncIterator[ApiWorld]:
    async with api_world(migrated_database) as served:
        yield served


@pytest.fixture
async def staff(migrated_database: str) -> AsyncIterator[StaffWorld]:
    async with staff_world(migrated_database) as made:
        yield made
