"""The Redis of a world: values that end, scripts, hints; and how it fails: away, slow, emptied, its answers lost.

What processes do with it is the product's own: `RedisStatementCache` and `RedisHints`, with their breakers, waits and
tasks. Only what stands behind their client is made up: here are the three scripts once more, in Python. Everything
that Redis was told and how it went is written down, so that a real one can be told the same (`tests.simulation.real`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol, cast

import orjson
from redis.exceptions import ConnectionError as RedisAway

from server.adapters.redis.breaker import Breaker
from server.adapters.redis.hints import RedisHints
from server.adapters.redis.statement_cache import RedisStatementCache
from tests.simulation.faults import Faults
from tests.simulation.loop import SimLoop

NOWHERE = "redis://127.0.0.1:1/0"
"""Never connected to: what would go there comes to the world's Redis."""

ROUND_TRIP_SECONDS = (0.0001, 0.002)
SLOW_SECONDS = (0.05, 2.0)
DONE, NOT_DONE, UNHEARD = "done", "not done", "unheard"
"""How a call went; `UNHEARD`: it took effect, and its answer was lost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One command: what it was called with, when, how it went, and what Redis answered if it took effect."""

    name: str
    keys: tuple[str, ...] = ()
    args: tuple[Any, ...] = ()
    seconds: float
    fate: str = DONE
    answer: Any = None


class Around(Protocol):
    """What a Redis needs of its world."""

    loop: SimLoop
    faults: Faults

    def random(self, name: str) -> Random:
        """A source of chance of its own."""
        ...

    def sometimes(self, what: str) -> None:
        """This has happened."""
        ...

    def hinted(self, town_id: str) -> None:
        """The rows of a town have changed, says a hint."""
        ...


class WorldRedis:
    """What all processes of a world share; `told` is everything that was asked of it."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._random = around.random("redis")
        self._values: dict[str, tuple[bytes, float]] = {}
        self._does: dict[str, Callable[..., Any]] = {
            "find": self._find,
            "keep": self._keep,
            "move": self._move,
            "publish": self._publish,
        }
        self.told: list[Call] = []

    async def call(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """One round trip. Raises `RedisAway` for a connection that is lost before or after it took effect."""
        faults, loop = self._around.faults, self._around.loop
        await self._wait(ROUND_TRIP_SECONDS)
        fate = NOT_DONE if faults.strikes("redis.away") else DONE
        if fate is DONE and faults.strikes("redis.answer_lost"):
            fate = UNHEARD
        answer = None if fate is NOT_DONE else self._does[name](keys, args)
        self.told.append(
            Call(name=name, keys=tuple(keys), args=tuple(args), seconds=loop.now, fate=fate, answer=answer)
        )
        if fate is not DONE:
            raise RedisAway
        if faults.strikes("redis.slow"):
            await self._wait(SLOW_SECONDS)
        return answer

    def flush(self) -> None:
        """It is started anew, with nothing in it."""
        self._values.clear()
        self.told.append(Call(name="flush", seconds=self._around.loop.now))

    async def _wait(self, seconds: tuple[float, float]) -> None:
        await asyncio.sleep(self._random.uniform(*seconds))

    def _get(self, key: str) -> bytes | None:
        value, ends = self._values.get(key, (None, 0.0))
        return value if self._around.loop.now < ends else None

    def _set(self, key: str, value: object, seconds: float) -> None:
        said = value if isinstance(value, bytes) else str(value).encode()
        self._values[key] = said, self._around.loop.now + seconds

    def _find(self, keys: Sequence[str], args: Sequence[Any]) -> list[bytes | None]:
        counter = self._get(keys[0])
        body = self._get(f"{args[0]}{counter.decode()}") if counter else None
        self._around.sometimes(f"a statement is {'kept' if body else 'not kept'}")
        return [counter, body]

    def _keep(self, keys: Sequence[str], args: Sequence[Any]) -> None:
        counter, version, body, counted_seconds, kept_seconds = args
        if counter == "" and self._get(keys[0]) is None:
            self._set(keys[0], version, counted_seconds)
        self._set(keys[1], body, kept_seconds)

    def _move(self, keys: Sequence[str], args: Sequence[Any]) -> None:
        version, seconds = args
        for key in keys:
            if int(self._get(key) or 0) < version:
                self._set(key, version, seconds)

    def _publish(self, _: Sequence[str], args: Sequence[Any]) -> None:
        """Whoever is listening hears of it, unless nobody is just then."""
        if not self._around.faults.strikes("redis.hint_lost"):
            self._around.hinted(orjson.loads(args[0])["t"])


def statement_cache(redis: WorldRedis, loop: SimLoop) -> RedisStatementCache:
    """The port of one process."""
    cache = RedisStatementCache(NOWHERE, breaker=Breaker(monotonic=loop.time))
    cache._find, cache._keep, cache._move = (  # type: ignore[assignment]  # called as scripts are
        _Script(redis, name) for name in ("find", "keep", "move")
    )
    return cache


def hints(redis: WorldRedis, loop: SimLoop) -> RedisHints:
    """The port of one process, as far as it is told of commits."""
    made = RedisHints(NOWHERE, breaker=Breaker(monotonic=loop.time))
    made._redis = cast("Any", _Publisher(redis))
    return made


class _Script:
    """A registered script, as the client has them."""

    def __init__(self, redis: WorldRedis, name: str) -> None:
        self._redis = redis
        self._name = name

    async def __call__(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        return await self._redis.call(self._name, keys, args)


class _Publisher:
    """The client over which hints are given."""

    def __init__(self, redis: WorldRedis) -> None:
        self._redis = redis

    async def publish(self, channel: str, data: bytes) -> None:
        """As the client."""
        await self._redis.call("publish", [channel], [data])
