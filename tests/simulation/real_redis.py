"""What the Redis of a world was told, once more over a real one, which has to answer the same.

The product's own scripts are called over a wire that is cut where the world has lost a
connection: before a command was sent, or after it took effect and before its answer. Redis is emptied when it was, and
its clock is moved by shortening what is left to every key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from server.adapters.redis.hints import CHANNEL
from server.adapters.redis.impatient import impatient_redis
from server.adapters.redis.statement_cache import _FIND, _KEEP, _MOVE
from tests.simulation.redis import DONE, NOT_DONE, UNHEARD, Call
from tests.support.proxy import HOST, CuttingProxy

ANSWER_SECONDS_MAX = 10.0
COMMANDS = {"find": b"EVALSHA", "keep": b"EVALSHA", "move": b"EVALSHA", "publish": b"PUBLISH"}


async def retold(told: Sequence[Call], redis_url: str) -> list[str]:
    """What a real Redis answers otherwise, or keeps hearing of."""
    async with _Real.connected(redis_url) as real:
        return [f"call {place}, {call.name}: {one}" for place, call in enumerate(told) for one in await real.tell(call)]


class _Real:
    """A Redis that is looked at directly, and told through a wire that can be cut."""

    def __init__(self, direct: Redis, ears: PubSub, wire: CuttingProxy, wire_url: str) -> None:
        self._direct = direct
        self._ears = ears
        self._wire = wire
        self._client = impatient_redis(wire_url, timeout_seconds=ANSWER_SECONDS_MAX, connections_max=1)
        self.scripts = {
            name: self._client.register_script(text)
            for name, text in (("find", _FIND), ("keep", _KEEP), ("move", _MOVE))
        }
        self._seconds = 0.0

    @classmethod
    @asynccontextmanager
    async def connected(cls, redis_url: str) -> AsyncIterator[_Real]:
        """With nothing in it, and the scripts known to it."""
        parts = urlsplit(redis_url)
        assert parts.port is not None
        wire = CuttingProxy(parts.port)
        server = await asyncio.start_server(wire.serve, HOST, 0)
        place = f"{parts.netloc.rpartition('@')[0]}@{HOST}:{server.sockets[0].getsockname()[1]}"
        async with Redis.from_url(redis_url) as direct, direct.pubsub() as ears, server:
            await direct.flushall()
            await ears.subscribe(CHANNEL)
            await ears.get_message(timeout=ANSWER_SECONDS_MAX)
            real = cls(direct, ears, wire, urlunsplit(parts._replace(netloc=place)))
            for script in real.scripts.values():
                await direct.script_load(script.script)
            yield real
            await real._client.aclose()
            await asyncio.gather(*wire.hang_up(), return_exceptions=True)

    async def tell(self, call: Call) -> list[str]:
        """The same call, at the same time, over the same kind of wire; what comes of it otherwise."""
        await self._move_clock(call.seconds)
        if call.name == "flush":
            await self._direct.flushall()
            return []
        if call.fate != DONE:
            return await self._cut(call)
        answer = await self._ask(call)
        differing = [] if answer == call.answer else [f"{answer!r}, in memory {call.answer!r}"]
        return differing + await self._unheard(call)

    async def _ask(self, call: Call) -> Any:
        if call.name == "publish":
            await self._client.publish(call.keys[0], call.args[0])
            return None
        return await self.scripts[call.name](keys=list(call.keys), args=list(call.args))

    async def _cut(self, call: Call) -> list[str]:
        """The connection is lost. Nobody may take that for an answer."""
        if call.fate == NOT_DONE:
            self._wire.is_down = True
            await asyncio.gather(*self._wire.hang_up(), return_exceptions=True)
        else:
            self._wire.arm(COMMANDS[call.name], goes_down=True)
        try:
            answer = await self._ask(call)
        except (RedisError, OSError):
            return await self._unheard(call) if call.fate == UNHEARD else []
        finally:
            self._wire.is_down = False
        return [f"{answer!r}, though its connection was lost"]

    async def _unheard(self, call: Call) -> list[str]:
        """Whoever listens hears of every hint that was given."""
        if call.name != "publish":
            return []
        heard = await self._ears.get_message(ignore_subscribe_messages=True, timeout=ANSWER_SECONDS_MAX)
        said = heard["data"] if heard else None
        return [] if said == call.args[0] else [f"{said!r} is heard, and {call.args[0]!r} was said"]

    async def _move_clock(self, seconds: float) -> None:
        """So much has passed for whatever is kept."""
        passed_ms = round((seconds - self._seconds) * 1000)
        self._seconds = seconds
        async for key in self._direct.scan_iter():
            left_ms = await self._direct.pttl(key) - passed_ms
            await (self._direct.pexpire(key, left_ms) if left_ms > 0 else self._direct.delete(key))
