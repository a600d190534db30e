"""What every adapter of the `Hints` port keeps: who listens hears, nobody waits, and an end is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from server.adapters.memory_hints import MemoryHints
from server.adapters.redis.hints import RedisHints
from server.application.live_ports import Hint, Hints
from server.application.ports import Unavailable
from server.embedded import EmbeddedRedis
from sync.kernel.ids import derived_id

TOWN, OTHER_TOWN = derived_id("town", 1), derived_id("town", 2)
DRIVER = frozenset({"town", "driver:1"})
SECONDS_MAX = 10.0


@dataclass(kw_only=True)
class Kind:
    """An adapter: where commits are told, where they are heard, and how its source goes away and comes back."""

    near: Hints
    far: Hints
    go_away: Callable[[], Awaitable[None]]
    come_back: Callable[[], Awaitable[None]]


@pytest.fixture(params=["memory", "redis"])
async def kind(request: pytest.FixtureRequest) -> AsyncIterator[Kind]:
    if request.param == "memory":
        hints = MemoryHints()

        async def go_away() -> None:
            hints.go_away()

        async def come_back() -> None:
            hints.come_back()

        yield Kind(near=hints, far=hints, go_away=go_away, come_back=come_back)
        return
    redis: EmbeddedRedis = request.getfixturevalue("redis_server")
    near, far = RedisHints(redis.url), RedisHints(redis.url)
    held = ExitStack()

    async def cut() -> None:
        await near._redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]

    async with far.running():
        await far.hearing()
        with held:
            yield Kind(near=near, far=far, go_away=cut, come_back=far.hearing)
    await asyncio.gather(near.close(), far.close())


def hint(version: int, *buckets: str) -> Hint:
    return Hint(version=version, buckets=frozenset(buckets))


async def test_a_commit_is_heard_by_who_listens_to_its_buckets(kind: Kind) -> None:
    with kind.far.listening(TOWN, DRIVER) as ear:
        kind.near.publish(TOWN, hint(7, "driver:1", "warehouse:2"))

        assert await ear.heard(SECONDS_MAX) == hint(7, "driver:1")


async def test_other_buckets_and_other_towns_are_not_heard(kind: Kind) -> None:
    with kind.far.listening(TOWN, DRIVER) as ear:
        kind.near.publish(TOWN, hint(7, "driver:2"))
        kind.near.publish(OTHER_TOWN, hint(8, "driver:1"))
        kind.near.publish(TOWN, hint(9, "town"))

        assert await ear.heard(SECONDS_MAX) == hint(9, "town")
        assert await ear.heard(0) is None


async def test_what_was_not_taken_yet_is_one_hint(kind: Kind) -> None:
    with kind.far.listening(TOWN, DRIVER) as ear, kind.far.listening(TOWN, frozenset({"end"})) as last:
        for version in range(1, 2_001):
            kind.near.publish(TOWN, hint(version, "town" if version % 2 else "driver:1"))
        kind.near.publish(TOWN, hint(2_001, "end"))
        await last.heard(SECONDS_MAX)

        assert await ear.heard(SECONDS_MAX) == hint(2_000 if isinstance(kind.near, MemoryHints) else 2_001, *DRIVER)
        assert await ear.heard(0) is None


async def test_everybody_who_listens_hears(kind: Kind) -> None:
    with ExitStack() as held:
        ears = [held.enter_context(kind.far.listening(TOWN, DRIVER)) for _ in range(50)]
        kind.near.publish(TOWN, hint(3, "town"))

        assert await asyncio.gather(*(ear.heard(SECONDS_MAX) for ear in ears)) == [hint(3, "town")] * 50


async def test_an_ear_that_was_ended_says_so(kind: Kind) -> None:
    with kind.far.listening(TOWN, DRIVER) as ear:
        ear.end()

        with pytest.raises(Unavailable):
            await ear.heard(SECONDS_MAX)


async def test_when_the_source_goes_away_who_listens_is_told_and_later_it_is_heard_again(kind: Kind) -> None:
    with kind.far.listening(TOWN, DRIVER) as ear:
        await kind.go_away()
        with pytest.raises(Unavailable):
            await ear.heard(SECONDS_MAX)
    with pytest.raises(Unavailable), kind.far.listening(TOWN, DRIVER):
        pass

    await kind.come_back()
    with kind.far.listening(TOWN, DRIVER) as ear:
        kind.near.publish(TOWN, hint(4, "town"))
        assert await ear.heard(SECONDS_MAX) == hint(4, "town")


async def test_without_redis_a_commit_is_told_to_nobody_and_nobody_minds() -> None:
    hints = RedisHints("redis://127.0.0.1:1/0")
    async with hints.running():
        for version in range(10):
            hints.publish(TOWN, hint(version, "town"))
        with pytest.raises(Unavailable), hints.listening(TOWN, DRIVER):
            pass
    await hints.close()


async def test_what_is_no_hint_is_left_out(redis_server: EmbeddedRedis) -> None:
    hints = RedisHints(redis_server.url)
    async with hints.running():
        await hints.hearing()
        with hints.listening(TOWN, DRIVER) as ear:
            for said in (b"", b"[]", b"{}", b'{"t":"x","v":1,"b":["town"]}', b'{"t":1,"v":null,"b":3}', b"\xff" * 100):
                await hints._redis.publish("tallystick:hints", said)
            hints.publish(TOWN, hint(5, "town"))

            assert await ear.heard(SECONDS_MAX) == hint(5, "town")
    await hints.close()
