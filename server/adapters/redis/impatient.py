"""A client of Redis that would rather go without than wait: for what requests ask, and can do without."""

from __future__ import annotations

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def impatient_redis(redis_url: str, *, timeout_seconds: float, connections_max: int) -> Redis:
    """Connects when it is first asked, and asks once. For one event loop.

    More questions at once than `connections_max` wait for a connection, each step `timeout_seconds` at most.
    """
    pool = BlockingConnectionPool.from_url(
        redis_url,
        max_connections=connections_max,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)
