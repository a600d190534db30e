"""Fixtures for every test: one real PostgreSQL and one real Redis per worker process, started when first asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from server import embedded
from server.embedded import EmbeddedPostgres, EmbeddedRedis
from server.stack import Stack
from tests.support.guards import COSTS_KIB, cheapen_guards, restore_guards
from tests.support.stack import database_from, database_template, empty_database, scratch_directory


@pytest.fixture(scope="session", autouse=True)
def cheap_guards() -> Iterator[None]:
    """Replicas and accounts that tests make are opened without 64 MiB and 0.2 s of a core each time."""
    cheapen_guards()
    yield
    restore_guards()


@pytest.fixture
def dear_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a key and a password cost outside of tests."""
    for module, memory_kib in COSTS_KIB.items():
        monkeypatch.setattr(module, "_MEMORY_KIB", memory_kib)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """One that leaves its files to the system's cache: what it holds outlives every process, but no loss of power.

    Stacks, and who starts a server, have the settings of the product.
    """
    with scratch_directory() as directory:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(embedded, "POSTGRES_SETTINGS", {**embedded.POSTGRES_SETTINGS, "fsync": "off"})
            server = EmbeddedPostgres.start(directory / "postgres")
        with server:
            yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    with scratch_directory() as directory, EmbeddedRedis.start(directory / "redis") as server:
        yield server


@pytest.fixture(scope="session")
def shared_stack() -> Iterator[Stack]:
    """A whole system for tests that live in towns of their own; who kills or sets anything has a stack of their own."""
    with scratch_directory() as directory, Stack.start(directory / "data") as stack:
        yield stack


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
