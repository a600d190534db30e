"""What every store of enrolments keeps to, in memory and in PostgreSQL alike: what it forgets, and what it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from server.adapters.memory import MemoryEnrolments, MemorySystem
from server.adapters.postgres.connection import make_pool
from server.adapters.postgres.enrolments import PostgresEnrolments
from server.application.ports import Enrolment, Enrolments
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id

TOWN = derived_id("town", 1)


class Parts:
    """What the job needs."""

    def __init__(self, enrolments: Enrolments) -> None:
        self.enrolments = enrolments
        self.system = MemorySystem()

    def after(self, seconds: int) -> str:
        return format_time(self.system.now_ms() + seconds * 1000)


@pytest.fixture(params=["memory", "postgres"])
async def parts(request: pytest.FixtureRequest) -> AsyncIterator[Parts]:
    if request.param == "memory":
        yield Parts(MemoryEnrolments())
        return
    async with make_pool(request.getfixturevalue("migrated_database")) as pool:
        yield Parts(PostgresEnrolments(pool))


def code(letter: str, expires_at: str) -> Enrolment:
    return Enrolment(
        code_hash=letter.encode() * 32,
        town_id=TOWN,
        role="driver",
        user_id=None,
        warehouse_id=None,
        expires_at=expires_at,
    )


async def test_a_token_request_is_known_again_until_it_is_forgotten(parts: Parts) -> None:
    assert await parts.enrolments.use_jti("one", parts.after(60))
    assert await parts.enrolments.forget(parts.after(60), parts.after(0)) == 0
    assert not await parts.enrolments.use_jti("one", parts.after(60))

    assert await parts.enrolments.forget(parts.after(61), parts.after(0)) == 1
    assert await parts.enrolments.use_jti("one", parts.after(60))


async def test_a_code_serves_its_own_device_until_it_is_forgotten(parts: Parts) -> None:
    enrolment = code("a", parts.after(60))
    await parts.enrolments.add(enrolment)
    assert await parts.enrolments.take(enrolment.code_hash, "key", parts.after(0)) == enrolment
    assert await parts.enrolments.forget(parts.after(0), parts.after(60)) == 0
    assert await parts.enrolments.take(enrolment.code_hash, "key", parts.after(99)) == enrolment

    assert await parts.enrolments.forget(parts.after(0), parts.after(61)) == 1
    assert await parts.enrolments.take(enrolment.code_hash, "key", parts.after(0)) is None


async def test_forgetting_tells_how_much_and_twice_forgets_nothing_more(parts: Parts) -> None:
    await parts.enrolments.add(code("a", parts.after(1)))
    await parts.enrolments.add(code("b", parts.after(9)))
    assert await parts.enrolments.use_jti("one", parts.after(1))

    before = parts.after(5)
    assert [await parts.enrolments.forget(before, before) for _ in range(2)] == [2, 0]
