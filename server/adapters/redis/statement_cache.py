"""Statements in Redis for a minute: `student:{id}:statement:v{n}`, where n is the account's counter.

A change moves the counter to the town's version, or by one when it is there already.

Behind a breaker and with short waits out of the request's patience: of a Redis that is away, one request in ten seconds
learns that it still is, and everybody else goes to PostgreSQL at once. A counter that could not be moved leaves
what was kept for its minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress

import structlog
from redis.exceptions import RedisError

from server.adapters.redis.breaker import Breaker
from server.adapters.redis.impatient import impatient_redis
from server.application.patience import OutOfPatience, waiting
from server.application.statement_ports import NOBODY_KEEPS, Kept, Of
from sync.modules.billing.entities import party_id

SOCKET_TIMEOUT_SECONDS = 0.08
CONNECTIONS_MAX = 16
KEPT_SECONDS = 60
COUNTED_SECONDS = 7 * 24 * 3600
"""How long a counter is remembered; longer than any statement that is kept under it."""

WAITING_MAX = 10_000
"""Counters of one process that wait to be moved; beyond it they are left to the minute's end."""

_FIND = """
local counter = redis.call('GET', KEYS[1])
if not counter then return {false, false} end
return {counter, redis.call('GET', ARGV[1] .. counter)}
"""
_KEEP = """
if ARGV[1] == '' then redis.call('SET', KEYS[1], ARGV[2], 'NX', 'EX', ARGV[4]) end
redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[5])
"""
_MOVE = """
for _, key in ipairs(KEYS) do
  local before = tonumber(redis.call('GET', key) or '0')
  redis.call('SET', key, math.max(before + 1, tonumber(ARGV[1])), 'EX', ARGV[2])
end
"""
"""Always forward: after a failover versions begin again below the counter, and a change must be seen all the same."""

_log = structlog.stdlib.get_logger(__name__)


class RedisStatementCache:
    """The `StatementCache` port; one instance for one event loop."""

    def __init__(self, redis_url: str, *, breaker: Breaker | None = None) -> None:
        self._redis = impatient_redis(
            redis_url, timeout_seconds=SOCKET_TIMEOUT_SECONDS, connections_max=CONNECTIONS_MAX
        )
        self._find = self._redis.register_script(_FIND)
        self._keep = self._redis.register_script(_KEEP)
        self._move = self._redis.register_script(_MOVE)
        self._breaker = breaker or Breaker()
        self._waiting: dict[str, int] = {}
        self._moving: asyncio.Task[None] | None = None

    async def find(self, of: Of, owner_id: str) -> Kept:
        """One round trip."""
        if not self._breaker.may_ask():
            return NOBODY_KEEPS
        try:
            async with waiting(SOCKET_TIMEOUT_SECONDS):
                counter, body = await self._find(keys=[_counter(of, owner_id)], args=[_prefix(of, owner_id)])
        except OutOfPatience:
            return NOBODY_KEEPS
        except (RedisError, OSError, TimeoutError) as fault:
            self._failed(fault)
            return NOBODY_KEEPS
        self._succeeded()
        return Kept(counter=int(counter) if counter else None, body=body)

    async def keep(self, of: Of, owner_id: str, counter: int | None, version: int, body: bytes) -> None:
        """One round trip; what cannot be kept is made again."""
        if not self._breaker.may_ask():
            return
        number = version if counter is None else counter
        keys = [_counter(of, owner_id), f"{_prefix(of, owner_id)}{number}"]
        args = ["" if counter is None else counter, version, body, COUNTED_SECONDS, KEPT_SECONDS]
        try:
            async with waiting(SOCKET_TIMEOUT_SECONDS):
                await self._keep(keys=keys, args=args)
        except OutOfPatience:
            return
        except (RedisError, OSError, TimeoutError) as fault:
            self._failed(fault)
        else:
            self._succeeded()

    def changed(self, version: int, parties: Collection[str], schools: Collection[str]) -> None:
        """Have it moved by a task of its own."""
        keys = [*(_counter(Of.PARTY, party) for party in parties), *(_counter(Of.SCHOOL, one) for one in schools)]
        if not keys or self._breaker.is_open or len(self._waiting) + len(keys) > WAITING_MAX:
            return
        self._waiting |= dict.fromkeys(keys, version)
        if self._moving is None or self._moving.done():
            self._moving = asyncio.create_task(self._move_all())

    async def close(self) -> None:
        """Move what is on its way, for a moment at most, and hang up."""
        if self._moving is not None:
            await asyncio.wait([self._moving], timeout=1.0)
            self._moving.cancel()
        with suppress(RedisError):
            await self._redis.aclose()

    async def _move_all(self) -> None:
        while self._waiting:
            version = next(iter(self._waiting.values()))
            keys = [key for key, at in self._waiting.items() if at == version]
            for key in keys:
                del self._waiting[key]
            try:
                await self._move(keys=keys, args=[version, COUNTED_SECONDS])
            except Exception as fault:  # noqa: BLE001  what is kept ends by itself, and no commit fails for it
                self._failed(fault)
            else:
                self._succeeded()

    def _failed(self, fault: Exception) -> None:
        if self._breaker.failed():
            _log.warning("statements_not_kept", fault=type(fault).__name__, remedy="they are made from the books")

    def _succeeded(self) -> None:
        if self._breaker.succeeded():
            _log.info("statements_kept_again")


def _counter(of: Of, owner_id: str) -> str:
    """A student's account is the party's: both have one counter."""
    if of is Of.STUDENT:
        return f"{Of.PARTY.value}:{party_id(owner_id)}:version"
    return f"{of.value}:{owner_id}:version"


def _prefix(of: Of, owner_id: str) -> str:
    return f"{of.value}:{owner_id}:statement:v"
