"""What a request waits for a Redis that takes connections and says nothing: once, however often it would ask.

Whoever waits has connected before, so what is counted is connections, and no time is measured.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest

from server.adapters.redis.breaker import FAILURES_MAX
from server.adapters.redis.rates import RedisRates
from server.adapters.redis.statement_cache import RedisStatementCache
from server.application.patience import OutOfPatience, patience, waiting
from server.application.ports import Unavailable
from server.application.rates import RateLimits
from server.application.statement_ports import NOBODY_KEEPS, Of
from server.domain.rates import Asked, Rate, Rates
from sync.kernel.ids import derived_id
from tests.support.api_world import api_world

STUDENT = derived_id("student")
ASKED = [Asked(rate=Rate(name="device", per_minute=1), subject="d")]


class SilentRedis:
    """An address that is listened at, where nobody answers."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self.url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"

    def callers(self) -> int:
        """How many have connected since the last time."""
        self._server.settimeout(0)
        count = 0
        with suppress(BlockingIOError):
            while True:
                self._server.accept()[0].close()
                count += 1
        return count


@pytest.fixture
def silent() -> Iterator[SilentRedis]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield SilentRedis(server)


@asynccontextmanager
async def asking(silent: SilentRedis) -> AsyncIterator[tuple[RedisRates, RedisStatementCache]]:
    rates, cache = RedisRates(silent.url), RedisStatementCache(silent.url)
    try:
        yield rates, cache
    finally:
        await rates.close()
        await cache.close()


async def test_a_request_that_would_ask_four_times_waits_once(silent: SilentRedis) -> None:
    async with asking(silent) as (rates, cache):
        with patience():
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await rates.take(ASKED)
            assert await cache.find(Of.STUDENT, STUDENT) == NOBODY_KEEPS
            await cache.keep(Of.STUDENT, STUDENT, None, 7, b"kept")

        assert silent.callers() == 1


async def test_the_next_request_has_patience_of_its_own(silent: SilentRedis) -> None:
    async with asking(silent) as (_, cache):
        for _ in range(2):
            with patience():
                await cache.find(Of.STUDENT, STUDENT)

        assert silent.callers() == 2


async def test_who_was_not_asked_has_not_failed(silent: SilentRedis) -> None:
    async with asking(silent) as (_, cache):
        with patience(0.0):
            for _ in range(FAILURES_MAX):
                assert await cache.find(Of.STUDENT, STUDENT) == NOBODY_KEEPS
        assert silent.callers() == 0

        await cache.find(Of.STUDENT, STUDENT)

        assert silent.callers() == 1  # the breaker is closed


async def test_a_device_that_is_counted_at_two_doors_waits_at_one(migrated_database: str, silent: SilentRedis) -> None:
    limits = RateLimits(Rates(device_per_minute=8, address_per_minute=8, town_per_minute=8))
    async with api_world(migrated_database, rates=limits) as world, asking(silent) as (rates, _):
        device = await world.device()
        limits._shared = rates

        assert (await device.exchange()).status_code == 200

        assert silent.callers() == 1 + 1  # for its token, which is a request of its own


async def test_what_is_left_is_all_there_is_to_wait() -> None:
    with patience(0.01):
        with pytest.raises(TimeoutError):
            async with waiting(600.0):
                await asyncio.Event().wait()
        with pytest.raises(OutOfPatience):
            async with waiting(600.0):
                raise AssertionError
