"""Hints over Redis publish and subscribe: one sender and one subscriber in a process, everything else is in memory.

Redis keeps none of it: whoever does not listen at the time has missed it, and a device that missed a hint finds the
change at its next poll. So nothing here is tried twice, and a commit never waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import orjson
import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server.adapters.redis.breaker import Breaker
from server.application.live import FannedEar, Fanout, joined
from server.application.live_ports import Hint
from server.application.ports import Unavailable
from sync.kernel.ids import parse_id

CHANNEL = "tallystick:hints"
SOCKET_TIMEOUT_SECONDS = 0.5
WAITING_MAX = 1_000
"""Towns whose hints wait in this process to be sent; beyond it a hint is dropped."""

BEAT_SECONDS = 5.0
"""After so long without a word the subscriber asks whether Redis is still there, and waits as long for the answer."""

RETRY_SECONDS = 1.0
LAST_WORDS_SECONDS = 1.0
"""How long a process that stops goes on sending what it has committed."""

MESSAGE_BYTES_MAX = 256 * 1024
BUCKETS_TOLD_MAX = 2_048
"""Buckets named in one hint; devices of the others poll."""

_log = structlog.stdlib.get_logger(__name__)


class RedisHints:
    """The `Hints` port; its `running` block holds the subscriber, and belongs to one event loop."""

    def __init__(self, redis_url: str, *, breaker: Breaker | None = None) -> None:
        # One more try to send: a connection that was kept may be one to a Redis that has gone. None to hear: whoever
        # listens must know of the gap.
        self._redis = _client(redis_url, retries=1)
        self._source = _client(redis_url, retries=0)
        self._breaker = breaker or Breaker()
        self._waiting: dict[str, Hint] = {}
        self._sending: asyncio.Task[None] | None = None
        self._fanout = Fanout()
        self._is_hearing = asyncio.Event()

    def publish(self, town_id: str, hint: Hint) -> None:
        """Have it sent by a task of its own; what waits for the same town is joined."""
        if self._breaker.is_open or (town_id not in self._waiting and len(self._waiting) >= WAITING_MAX):
            return
        self._waiting[town_id] = joined(self._waiting.get(town_id), hint)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    @contextmanager
    def listening(self, town_id: str, buckets: frozenset[str]) -> Iterator[FannedEar]:
        """Hear of these buckets while the subscriber hears of any."""
        if not self._is_hearing.is_set():
            raise Unavailable("there are no live hints just now; poll", retry_after_seconds=int(BEAT_SECONDS))
        with self._fanout.listening(town_id, buckets) as ear:
            yield ear

    async def hearing(self) -> None:
        """Return when the subscriber hears Redis."""
        await self._is_hearing.wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Subscribe for the length of the block, through every absence of Redis."""
        listening = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    async def close(self) -> None:
        """Send what is on its way, for a moment at most, and hang up."""
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=LAST_WORDS_SECONDS)
            self._sending.cancel()
        with suppress(RedisError):
            await self._redis.aclose()
            await self._source.aclose()

    async def _send(self) -> None:
        while self._waiting and self._breaker.may_ask():
            town_id = next(iter(self._waiting))
            hint = self._waiting.pop(town_id)
            said = {"t": town_id, "v": hint.version, "b": sorted(hint.buckets)[:BUCKETS_TOLD_MAX]}
            try:
                await self._redis.publish(CHANNEL, orjson.dumps(said))
            except Exception as fault:  # noqa: BLE001  a hint that cannot be given is no reason for anything to fail
                if self._breaker.failed():
                    _log.warning("hints_silent", fault=type(fault).__name__, remedy="devices poll")
            else:
                if self._breaker.succeeded():
                    _log.info("hints_given_again")
        self._waiting.clear()  # what the open breaker has left: the hints are late by now, and devices poll

    async def _listen(self) -> None:
        was_away = False
        while True:
            try:
                async with self._source.pubsub() as subscription:
                    await subscription.subscribe(CHANNEL)
                    await self._hear(subscription)
            except (RedisError, OSError, TimeoutError) as fault:
                if not was_away:
                    _log.warning("hints_unheard", fault=type(fault).__name__, remedy="devices poll")
                was_away = True
            finally:
                self._is_hearing.clear()
                self._fanout.end_all()
            await asyncio.sleep(RETRY_SECONDS)

    async def _hear(self, subscription: PubSub) -> None:
        """Pass on what comes until the connection ends or says nothing any more."""
        is_asked = False
        while True:
            message = await subscription.get_message(timeout=BEAT_SECONDS)
            if message is None and is_asked:
                raise TimeoutError
            is_asked = message is None
            if message is None:
                await subscription.ping()
            elif message["type"] == "subscribe":
                _log.info("hints_heard")
                self._breaker.succeeded()
                self._is_hearing.set()
            elif message["type"] == "message":
                self._tell(message["data"])

    def _tell(self, data: bytes) -> None:
        """What somebody else writes into this Redis may be anything: what is no hint is left out."""
        try:
            said = orjson.loads(data) if len(data) <= MESSAGE_BYTES_MAX else {}
            town_id, version, buckets = parse_id(said["t"]), int(said["v"]), frozenset(map(str, said["b"]))
        except Exception:  # noqa: BLE001  as said above
            _log.warning("foreign_hint_ignored", remedy="see who else writes to this Redis")
            return
        self._fanout.tell(town_id, Hint(version=version, buckets=buckets))


def _client(redis_url: str, *, retries: int) -> Redis:
    return Redis.from_url(
        redis_url,
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=SOCKET_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), retries),
    )
