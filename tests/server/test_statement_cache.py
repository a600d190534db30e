"""Statements that are kept in Redis: never older than they say, and Redis may be away, empty or silent."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Collection
from functools import partial

import orjson
import pytest
from redis import Redis

from server.adapters.postgres.account_book import PostgresAccountBook
from server.adapters.redis.breaker import FAILURES_MAX, OPEN_SECONDS, Breaker
from server.adapters.redis.statement_cache import KEPT_SECONDS, RedisStatementCache
from server.application.queries.statements import Statements, tell_changes
from server.application.statement_ports import Account, Of
from server.domain.access import NotFound
from server.domain.statements import Booked
from server.embedded import EmbeddedRedis
from sync.kernel.ids import derived_id
from sync.modules.billing import TakePayment
from sync.modules.billing.entities import party_id
from sync.modules.billing.operations import InvoiceLine
from sync.modules.schools import OpenSchool, ScheduleFee, UpsertStudent, fee_invoice_id
from tests.support.real_town import real_town

TOWN, OTHER_TOWN, STUDENT, SCHOOL = (derived_id(name) for name in ("town", "another town", "student", "school"))
AT = "2026-11-21T08:00:00.000Z"


class Book:
    """A ledger of one account, which counts how often it is asked."""

    def __init__(self) -> None:
        self.version = 7
        self.asked = 0
        self.meanwhile: Callable[[], None] = lambda: None

    async def account(self, seen: Collection[str], town_id: str, of: Of, owner_id: str) -> Account:
        assert town_id in seen
        assert (town_id, owner_id) in {(TOWN, STUDENT), (TOWN, SCHOOL), (TOWN, party_id(STUDENT))}, of
        self.asked += 1
        booked = [Booked(version=self.version, at=AT, currency="GBP", minor=self.version, what="Fees")]
        account = Account(
            name="Grace", town_name="Ashford", time_zone="UTC", version=self.version, at=AT, booked=booked
        )
        self.meanwhile()
        return account

    def change(self, cache: RedisStatementCache) -> None:
        """Something is booked, and the write path tells of it."""
        self.version += 1
        cache.changed(self.version, {party_id(STUDENT)}, {SCHOOL})


@pytest.fixture
def redis(redis_server: EmbeddedRedis) -> Redis:
    client = Redis.from_url(redis_server.url)
    client.flushall()
    return client


@pytest.fixture
async def cache(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[RedisStatementCache]:
    del redis  # empty
    made = RedisStatementCache(redis_server.url)
    yield made
    await made.close()


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def statements(book: Book, cache: RedisStatementCache) -> Statements:
    return Statements(book=book, cache=cache)


async def version_of(statements: Statements, of: Of = Of.STUDENT, owner: str = STUDENT) -> int:
    said = orjson.loads(await statements.document([TOWN], TOWN, of, owner))
    version = int(said["as_of"]["version"])
    assert said["currencies"][0]["closing"] == f"0.{version:02}"
    return version


async def told(cache: RedisStatementCache) -> None:
    """What was changed is known in Redis."""
    assert cache._moving is not None
    await cache._moving


async def test_what_has_not_changed_is_made_once(statements: Statements, book: Book) -> None:
    assert [await version_of(statements) for _ in range(3)] == [7, 7, 7]
    assert book.asked == 1


@pytest.mark.parametrize(("of", "owner"), [(Of.STUDENT, STUDENT), (Of.PARTY, party_id(STUDENT)), (Of.SCHOOL, SCHOOL)])
async def test_a_change_is_seen_at_once(
    statements: Statements, book: Book, cache: RedisStatementCache, of: Of, owner: str
) -> None:
    assert await version_of(statements, of, owner) == 7

    book.change(cache)
    await told(cache)

    assert [await version_of(statements, of, owner) for _ in range(2)] == [8, 8]
    assert book.asked == 2


async def test_a_statement_is_kept_under_its_counter_for_a_minute(
    statements: Statements, book: Book, cache: RedisStatementCache, redis: Redis
) -> None:
    await version_of(statements)
    book.change(cache)
    await told(cache)
    await version_of(statements)
    await version_of(statements, Of.SCHOOL, SCHOOL)

    kept = {str(key, "ascii") for key in redis.keys("*:statement:*") if isinstance(key, bytes)}
    assert kept == {
        f"student:{STUDENT}:statement:v7",
        f"student:{STUDENT}:statement:v8",
        f"school:{SCHOOL}:statement:v8",
    }
    assert all(0 < redis.ttl(key) <= KEPT_SECONDS for key in kept)


async def test_what_was_made_before_a_change_is_not_found_after_it(
    statements: Statements, book: Book, cache: RedisStatementCache
) -> None:
    book.meanwhile = lambda: book.change(cache) if book.version == 7 else None
    assert await version_of(statements) == 7  # read before the change, kept after it
    await told(cache)

    assert await version_of(statements) == 8


async def test_a_change_is_seen_at_once_also_when_its_version_was_there_before_a_failover(
    statements: Statements, book: Book, cache: RedisStatementCache
) -> None:
    book.version = 50
    book.change(cache)
    await told(cache)
    await version_of(statements)
    book.version = 40  # the copy that took over
    book.change(cache)
    await told(cache)

    assert await version_of(statements) == 41


async def test_counters_never_go_back(statements: Statements, book: Book, cache: RedisStatementCache) -> None:
    book.version = 9
    cache.changed(9, {party_id(STUDENT)}, ())
    await told(cache)
    await version_of(statements)
    cache.changed(8, {party_id(STUDENT)}, ())  # told late
    await told(cache)

    assert (await version_of(statements), book.asked) == (9, 2)  # it may have been another change


async def test_a_redis_that_was_emptied_costs_one_more_making(statements: Statements, book: Book, redis: Redis) -> None:
    await version_of(statements)
    redis.flushall()

    assert ([await version_of(statements) for _ in range(2)], book.asked) == ([7, 7], 2)


async def test_what_is_kept_of_one_town_is_not_there_for_another(statements: Statements) -> None:
    await version_of(statements)

    with pytest.raises(NotFound):
        await statements.document([TOWN, OTHER_TOWN], OTHER_TOWN, Of.STUDENT, STUDENT)
    with pytest.raises(NotFound):
        await statements.document([OTHER_TOWN], TOWN, Of.STUDENT, STUDENT)


async def test_a_redis_that_is_away_is_asked_a_few_times_and_then_left_in_peace(book: Book) -> None:
    now = 0.0
    cache = RedisStatementCache("redis://127.0.0.1:1/0", breaker=Breaker(monotonic=lambda: now))
    statements = Statements(book=book, cache=cache)

    assert [await version_of(statements) for _ in range(5)] == [7] * 5
    book.change(cache)
    assert (cache._moving, cache._waiting) == (None, {})  # nobody waits for it
    now = OPEN_SECONDS
    assert await version_of(statements) == 8
    await cache.close()


async def test_nobody_waits_twice_for_a_redis_that_says_nothing(book: Book) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        cache = RedisStatementCache(f"redis://127.0.0.1:{server.getsockname()[1]}/0")

        assert await version_of(Statements(book=book, cache=cache)) == 7

        await cache.close()
        server.settimeout(0)
        server.accept()[0].close()
        with pytest.raises(BlockingIOError):
            server.accept()


async def test_a_redis_that_says_nothing_is_waited_for_a_few_times_only(book: Book) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        cache = RedisStatementCache(f"redis://127.0.0.1:{server.getsockname()[1]}/0")
        statements = Statements(book=book, cache=cache)

        assert [await version_of(statements) for _ in range(10)] == [7] * 10

        await cache.close()
        server.settimeout(0)
        calls = 0
        while calls <= FAILURES_MAX:
            try:
                server.accept()[0].close()
            except BlockingIOError:
                break
            calls += 1
    assert (calls, book.asked) == (FAILURES_MAX, 10)


async def test_the_write_path_tells_of_every_account_that_it_changes(
    migrated_database: str, cache: RedisStatementCache
) -> None:
    async with real_town(migrated_database, committed=partial(tell_changes, cache)) as town:
        statements = Statements(book=PostgresAccountBook(town.pool), cache=cache)
        school, student, fee = town.new_id(), town.new_id(), town.new_id()
        await town.author(OpenSchool(id=school, name="North"))
        await town.author(UpsertStudent(id=student, school=school, number="1", name="Grace", class_name="3b"))
        lines = [InvoiceLine(text="Fees", amount="45.00")]
        charge = ScheduleFee(
            id=fee, school=school, title="A", lines=lines, currency="GBP", due_on="2026-12-01", students=[student]
        )
        await town.author(charge)

        closings = []
        for amount in (None, "20.00", "30.00"):
            if amount:
                line = TakePayment(
                    id=town.new_id(), invoice=fee_invoice_id(fee, student), amount=amount, currency="GBP"
                )
                await town.appliers.author(town.id, town.admin_id, [line])
            await told(cache)
            said = [
                orjson.loads(await statements.document([town.id], town.id, of, owner))
                for of, owner in ((Of.STUDENT, student), (Of.PARTY, party_id(student)), (Of.SCHOOL, school))
            ]
            closings.append([one["currencies"][0]["closing"] for one in said])

    assert closings == [["45.00"] * 3, ["25.00"] * 3, ["-5.00"] * 3]
