"""Fixtures for every test: one real PostgreSQL and one real Redis per worker process, started when first asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from server.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.support.stack import database_from, database_template, empty_database, scratch_directory


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    with scratch_directory() as directory, EmbeddedPostgres.start(directory / "postgres") as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    with scratch_directory() as directory, EmbeddedRedis.start(directory / "redis") as server:
        yield server


@pytest.fixture
def fresh_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    with empty_database(postgres) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres) -> Iterator[str]:
    with database_template(postgres) as name:
        yield name


@pytest.fixture
def migrated_database(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    with database_from(postgres, migrated_template) as url:
        yield url
