"""The same worlds over real stores: PostgreSQL, Redis and SQLite come to the same as those in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import orjson
import pytest
from redis.exceptions import RedisError

from server.adapters.redis.hints import CHANNEL
from server.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.simulation.conftest import quiet_options
from tests.simulation.loop import using
from tests.simulation.real import RealStores
from tests.simulation.real_redis import retold
from tests.simulation.redis import DONE, NOT_DONE, UNHEARD, Call
from tests.simulation.run import lived
from tests.simulation.told import Commit, Snapshot
from tests.simulation.world import World

SEED, FAILING_OVER_SEED = 3, 115
"""A small world, and one that goes back to an older copy, with statements that are kept and files that are taken."""


@pytest.fixture(scope="module")
def stores(postgres: EmbeddedPostgres, migrated_template: str, redis_server: EmbeddedRedis) -> RealStores:
    return RealStores(postgres, migrated_template, redis_server)


@pytest.fixture
def world() -> World:
    """A world that is over."""
    made = World(SEED)
    assert lived(made) == []
    return made


@pytest.mark.parametrize("seed", [SEED, FAILING_OVER_SEED])
def test_real_stores_come_to_what_those_in_memory_have_come_to(stores: RealStores, seed: int) -> None:
    outcome = stores.run_seed(seed)

    assert outcome.findings == []
    assert outcome.change_sets > 0


def stores_with_findings(findings: Sequence[str]) -> set[str]:
    return {one.partition(":")[0] for one in findings}


ACCOUNTS = ("Ada", "Grace")
FATES = {"redis.away": 0.2, "redis.answer_lost": 0.2, "redis.hint_lost": 0.2}


@pytest.fixture
def told() -> Sequence[Call]:
    """A hundred commands to the Redis of a world, in which connections are lost and hours pass."""
    world = World(SEED, replace(quiet_options(), rates=FATES))
    redis, random, town = world.redis, world.random("accounts"), world.stage.towns[0]

    async def look(account: str, version: int) -> None:
        counter, prefix = f"{account}:version", f"{account}:statement:v"
        found, body = await redis.call("find", [counter], [prefix])
        if body is None:
            number, made = int(found or version), f"as of {version}".encode()
            await redis.call("keep", [counter, f"{prefix}{number}"], [found or "", version, made, 3600, 60])

    async def work() -> None:
        for version in range(1, 100):
            with suppress(RedisError):
                await random.choice(
                    [
                        partial(look, ACCOUNTS[0], version),
                        partial(look, ACCOUNTS[1], version),
                        partial(redis.call, "move", [f"{one}:version" for one in ACCOUNTS], [version % 20, 3600]),
                        partial(redis.call, "publish", [CHANNEL], [orjson.dumps({"t": town.id, "v": version})]),
                    ]
                )()
            await asyncio.sleep(random.choice((0, 0, 20, 2000)))
            if version % 40 == 39:
                redis.flush()

    with using(world.loop) as loop:
        task = loop.create_task(work())
        loop.run_while(lambda: not task.done())
    task.result()
    assert {call.fate for call in redis.told} == {DONE, NOT_DONE, UNHEARD}
    assert any(call.name == "find" and call.answer[1] for call in redis.told if call.answer)
    return redis.told


async def test_a_real_redis_answers_as_that_of_a_world(told: Sequence[Call], redis_server: EmbeddedRedis) -> None:
    assert await retold(told, redis_server.url) == []


async def test_a_redis_that_answers_something_else_is_found(told: Sequence[Call], redis_server: EmbeddedRedis) -> None:
    place, found = next((n, one) for n, one in enumerate(told) if one.name == "find" and one.answer and one.answer[1])
    altered = [*told[:place], replace(found, answer=[found.answer[0], b"of another"])]

    [finding] = await retold(altered, redis_server.url)

    assert finding.startswith(f"call {place}, find: ")


def test_a_database_that_answers_or_keeps_something_else_is_found(stores: RealStores, world: World) -> None:
    [town] = world.stage.towns
    told = world.database.towns.told[town.id]
    place, snapshot = next((n, one) for n, one in enumerate(told) if isinstance(one, Snapshot) and one.asked)
    snapshot.asked[0] = replace(snapshot.asked[0], answer="another")
    del told[max(n for n, one in enumerate(told) if isinstance(one, Commit)) :]

    findings = stores.compared(world)

    assert findings[0].startswith(f"postgres: entry {place}: {snapshot.asked[0].name}")
    assert "postgres: journal are not what they are in memory" in findings
    assert stores_with_findings(findings) == {"postgres"}


def test_a_file_that_answers_or_keeps_something_else_is_found(stores: RealStores, world: World) -> None:
    device = next(one.device for one in world.residents if one.device.disk.entries())
    told = device.disk.told
    place = next(n for n, one in enumerate(told) if one.name == "settle")
    told[place] = replace(told[place], answer=None)
    told[-1:] = [replace(told[-1], name="rewind", arguments=(0,), answer=None)]

    findings = stores.compared(world)

    assert findings[0].startswith(f"sqlite: {device.name}: call {place}, settle")
    assert stores_with_findings(findings) == {"sqlite"}
    assert len(findings) > 1
