"""What `tallystick doctor` asks a Redis."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server.application.ports import Unavailable

SECONDS_MAX = 2


async def redis_version(redis_url: str) -> str:
    """The version of a Redis that answers; raises `Unavailable`."""
    client: Redis = Redis.from_url(
        redis_url, socket_timeout=SECONDS_MAX, socket_connect_timeout=SECONDS_MAX, retry=Retry(NoBackoff(), 0)
    )
    try:
        async with client:
            said = await client.info("server")
    except RedisError as fault:
        raise Unavailable(f"Redis does not answer ({type(fault).__name__})") from fault
    return str(said["redis_version"])
