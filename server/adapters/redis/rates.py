"""The buckets that all API processes share: one script, one round trip, all buckets of a request or none.

Behind short timeouts and a breaker: while Redis is away or slow, callers hear so at once and count for themselves. A
bucket is a key that expires when it is full again, so Redis forgets by itself whoever stays away. The clock is that of
Redis, which is one for all processes.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from redis.exceptions import RedisError

from server.adapters.redis.breaker import Breaker
from server.adapters.redis.impatient import impatient_redis
from server.application.patience import OutOfPatience, waiting
from server.application.ports import Unavailable
from server.domain.rates import WINDOW_SECONDS, Asked

SOCKET_TIMEOUT_SECONDS = 0.1
CONNECTIONS_MAX = 32
"""More questions than that at once wait as long as a slow Redis may take."""

KEY_PREFIX = "tallystick:rate:"

_TAKE = """
local told = redis.call('TIME')
local now, window = told[1] * 1000 + told[2] / 1000, tonumber(ARGV[1])
local wait, full_at = 0, {}
for place, key in ipairs(KEYS) do
  full_at[place] = math.max(tonumber(redis.call('GET', key) or 0), now) + tonumber(ARGV[place + 1])
  wait = math.max(wait, full_at[place] - window - now)
end
wait = math.floor(wait * 100 + 0.5) / 100  -- sums of floats miss a whole minute by a little
if wait == 0 then
  for place, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.3f', full_at[place]), 'PX', math.ceil(full_at[place] - now))
  end
end
return string.format('%.3f', wait)
"""
"""`server.domain.rates.wait_seconds` for several buckets at once, in milliseconds; the steps are arguments."""

_log = structlog.stdlib.get_logger(__name__)


class RedisRates:
    """The `SharedRates` port; connects when it is first asked. For one event loop."""

    def __init__(
        self,
        redis_url: str,
        *,
        socket_timeout_seconds: float = SOCKET_TIMEOUT_SECONDS,
        breaker: Breaker | None = None,
    ) -> None:
        self._redis = impatient_redis(
            redis_url, timeout_seconds=socket_timeout_seconds, connections_max=CONNECTIONS_MAX
        )
        self._seconds_max = socket_timeout_seconds
        self._script = self._redis.register_script(_TAKE)
        self._breaker = breaker or Breaker()

    async def take(self, asked: Sequence[Asked]) -> float:
        """One request out of each bucket, or none and the seconds to wait. Raises `Unavailable`."""
        if not self._breaker.may_ask():
            raise Unavailable
        steps = [one.rate.step_seconds * 1000 for one in asked]
        keys = [f"{KEY_PREFIX}{one.key}" for one in asked]
        try:
            async with waiting(self._seconds_max):
                told = await self._script(keys=keys, args=[WINDOW_SECONDS * 1000, *steps])
        except OutOfPatience as fault:
            raise Unavailable from fault
        except (RedisError, OSError, TimeoutError) as fault:
            if self._breaker.failed():
                _log.warning("rates_not_shared", fault=type(fault).__name__, remedy="each process counts by itself")
            raise Unavailable from fault
        if self._breaker.succeeded():
            _log.info("rates_shared_again")
        return float(told) / 1000

    async def close(self) -> None:
        """Hang up."""
        await self._redis.aclose()
