"""Buckets in a real Redis: shared by processes, taken from all at once, and gone without harm."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis

from server.adapters.redis.breaker import FAILURES_MAX, Breaker
from server.adapters.redis.rates import KEY_PREFIX, RedisRates
from server.application.ports import Unavailable
from server.application.rates import RateLimits
from server.domain.rates import Asked, Rate, RateLimited, Rates
from server.embedded import EmbeddedRedis

HOURLY = 1 / 60
"""One request in an hour, so that no test waits for the next."""


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@asynccontextmanager
async def process(redis_url: str, **more: Breaker) -> AsyncIterator[RedisRates]:
    """What one API process has of the shared buckets."""
    rates = RedisRates(redis_url, socket_timeout_seconds=2, **more)
    try:
        yield rates
    finally:
        await rates.close()


def asked(subject: str, *, per_minute: float = HOURLY, name: str = "device") -> Asked:
    return Asked(rate=Rate(name=name, per_minute=per_minute), subject=subject)


async def test_two_processes_take_from_one_bucket(redis_url: str) -> None:
    async with process(redis_url) as first, process(redis_url) as second:
        waits = [await each.take([asked("d", per_minute=3)]) for each in (first, second, first, second)]

    assert waits[:3] == [0, 0, 0]
    assert 0 < waits[3] <= 20


async def test_all_buckets_of_a_request_are_taken_from_or_none(redis_url: str) -> None:
    async with process(redis_url) as rates:
        town = asked("t", name="town", per_minute=2)
        await rates.take([town])
        await rates.take([town])

        refused = await rates.take([asked("d", per_minute=1), town])
        alone = [await rates.take([asked("d", per_minute=1)]) for _ in range(2)]

    assert 0 < refused <= 30
    assert alone[0] == 0
    assert alone[1] > 0


async def test_the_longest_wait_is_told(redis_url: str) -> None:
    async with process(redis_url) as rates:
        pair = [asked("d", per_minute=1), asked("t", name="town", per_minute=1 / 10)]
        with redis.Redis.from_url(redis_url) as client:
            now_ms = int(client.time()[0]) * 1000
            client.set(f"{KEY_PREFIX}device:d", now_ms + 60_000)

        wait = await rates.take(pair)

    assert 500 < wait <= 541  # ten minutes for the town's first one of ten, less the minute that may come at once


async def test_redis_forgets_a_bucket_when_it_is_full_again(redis_url: str) -> None:
    async with process(redis_url) as rates:
        await rates.take([asked("d", per_minute=2)])

        with redis.Redis.from_url(redis_url) as client:
            left_ms = client.pttl(f"{KEY_PREFIX}device:d")

    assert 0 < int(str(left_ms)) <= 30_000


async def test_a_redis_that_was_emptied_counts_anew(redis_url: str) -> None:
    async with process(redis_url) as rates:
        await rates.take([asked("d", per_minute=1)])
        assert await rates.take([asked("d", per_minute=1)]) > 0

        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
            client.script_flush()

        assert await rates.take([asked("d", per_minute=1)]) == 0


async def test_a_redis_that_is_away_is_said_to_be_and_then_not_asked() -> None:
    clock = [0.0]
    breaker = Breaker(monotonic=lambda: clock[0])
    async with process("redis://127.0.0.1:1/0", breaker=breaker) as away:
        for _ in range(FAILURES_MAX):
            with pytest.raises(Unavailable):
                await away.take([asked("d")])
        assert breaker.is_open
        await away.close()

        with pytest.raises(Unavailable) as caught:
            await away.take([asked("d")])

    assert caught.value.__cause__ is None  # nobody was asked


async def test_a_redis_that_is_full_refuses_nobody(redis_url: str) -> None:
    async with process(redis_url) as rates:
        with redis.Redis.from_url(redis_url) as client:
            before = client.config_get("maxmemory")["maxmemory"]
            client.config_set("maxmemory", 1)
            try:
                limits = RateLimits(Rates(device_per_minute=16), shared=rates)
                for _ in range(16):
                    await limits.take_device("d", "t")
                with pytest.raises(RateLimited):
                    await limits.take_device("d", "t")
            finally:
                client.config_set("maxmemory", before)
            assert client.keys(f"{KEY_PREFIX}*") == []
