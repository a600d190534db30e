"""Redis killed, emptied, full, slow: nobody but a live stream hears of it, and nothing is lost.

Tablets, an office, a live stream, the worker and the scheduler are at work meanwhile; `tests.support.traffic` has the
law that each story ends with.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from server.adapters.redis.hints import SOCKET_TIMEOUT_SECONDS
from tests.support.site import Site, running_site
from tests.support.traffic import Traffic, traffic_at
from tests.support.wire import Wire, wire_to

OFTEN_ASKED = {"TALLYSTICK_DEVICE_REQUESTS_PER_MINUTE": "480"}
"""A sixteenth of it passes before Redis is asked."""

ROUNDS_MAX = 400
SILENT = ("bell_silent", "rates_not_shared")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture
def wire(site: Site) -> Iterator[Wire]:
    """Between a new API and Redis."""
    with wire_to(site.stack.redis_url) as (wire, url):
        site.stack.restart_api(environment={"REDIS_URL": url, **OFTEN_ASKED})
        yield wire


@pytest.fixture
def redis(site: Site) -> Iterator[Redis]:
    with Redis.from_url(site.stack.redis_url) as client:
        yield client


@pytest.fixture
def traffic(site: Site, wire: Wire) -> Iterator[Traffic]:
    assert wire.delay_seconds == 0
    with traffic_at(site) as traffic:
        yield traffic
        assert traffic.troubles_of("tablet", "office") == []


def expect_silent(site: Site, traffic: Traffic) -> None:
    """Work goes on until the API has noted that it can neither ring nor count with others; nobody else has noted it."""
    log = site.stack._api[0]
    for _ in range(ROUNDS_MAX):
        traffic.await_work(1, "tablet", "office")
        said = log._log_path.read_bytes()[log._log_start :]
        if all(f'"{event}"'.encode() in said for event in SILENT):
            return
    raise AssertionError("Redis was never missed")


def test_a_redis_that_was_killed_is_missed_by_nobody_and_heard_again(site: Site, traffic: Traffic) -> None:
    site.stack.kill_redis()
    expect_silent(site, traffic)

    assert site.stack.restart_fallen() == ["Redis"]


def test_a_redis_that_forgets_everything_loses_nothing(traffic: Traffic, redis: Redis) -> None:
    for _ in range(5):
        assert redis.flushall()
        traffic.await_work()


def test_a_redis_that_takes_no_writes_is_missed_by_nobody(site: Site, traffic: Traffic, redis: Redis) -> None:
    before = str(redis.config_get("maxmemory")["maxmemory"])
    redis.config_set("maxmemory", "1")
    expect_silent(site, traffic)
    redis.config_set("maxmemory", before)


def test_a_redis_that_is_slow_holds_nobody_up(site: Site, wire: Wire, traffic: Traffic) -> None:
    wire.delay_seconds = 2 * SOCKET_TIMEOUT_SECONDS
    expect_silent(site, traffic)
    wire.delay_seconds = 0
