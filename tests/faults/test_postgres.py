"""PostgreSQL crashed, cut off in a transaction, or without a connection to spare: it is told, and nothing is lost.

As in `test_redis`, with a town at work meanwhile. What cannot be answered is a 503 that says when to come back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx2
import psycopg
import pytest

from server.adapters.postgres.connection import POOL_CONNECTIONS_MAX
from tests.support.site import TOWN, Site, running_site
from tests.support.traffic import Traffic, traffic_at
from tests.support.wire import Wire, wire_to

CUT_EVERY = 7
CUTS = 12
LOCK = "SELECT FROM tallystick.town_heads WHERE town_id = %s FOR UPDATE"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
QUESTIONS_MAX = 100_000


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture(scope="module")
def wire(site: Site) -> Iterator[Wire]:
    """Between the API and PostgreSQL."""
    with wire_to(site.stack.database_url) as (wire, url):
        site.stack.restart_api(environment={"DATABASE_URL": url})
        yield wire


def test_a_postgres_that_crashed_is_waited_for_and_loses_nothing(site: Site, wire: Wire) -> None:
    assert wire.cuts == 0
    with traffic_at(site) as traffic:
        site.stack.crash_postgres()
        traffic.await_answers(2, "tablet", "office")
        assert set(traffic.troubles_of("tablet", "office")) == {"503 unavailable"}

        assert site.stack.restart_fallen() == ["PostgreSQL"]
        books = site.office.books
        books.run(books._core.pool.check())  # the test's own office is not under test


def test_a_connection_that_is_cut_around_its_commit_loses_and_doubles_nothing(site: Site, wire: Wire) -> None:
    with traffic_at(site) as traffic:
        wire.cut_commits(CUT_EVERY)
        while wire.cuts < CUTS:
            traffic.await_answers(1, "tablet", "office")
        wire.cut_commits(0)
        assert traffic.troubles_of("tablet", "office") != []


def ask_for_codes(traffic: Traffic, count: int) -> tuple[list[threading.Thread], list[httpx2.Response]]:
    """So many requests of the office at once, each of which takes a connection and waits for the town's lock."""
    answers: list[httpx2.Response] = []
    address = f"/v1/towns/{traffic.site.office.books.towns[TOWN]}/enrolments"
    said = {"role": "warehouse_staff", "warehouse": traffic.office_shelf}

    def ask() -> None:
        answers.append(traffic.client.post(address, json=said, headers=traffic.headers))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, answers


def test_when_every_connection_is_taken_requests_are_told_to_come_back(site: Site, wire: Wire) -> None:
    assert wire.delay_seconds == 0
    with traffic_at(site) as traffic, psycopg.connect(site.stack.database_url) as holder:
        holder.execute(LOCK, [site.office.books.towns[TOWN]])
        threads, answers = ask_for_codes(traffic, 3 * POOL_CONNECTIONS_MAX)
        await_waiting(site, POOL_CONNECTIONS_MAX)
        traffic.await_answers(1, "tablet", "office")
        for thread in threads:
            thread.join()
        holder.rollback()

        assert {(answer.status_code, "Retry-After" in answer.headers) for answer in answers} == {(503, True)}
        assert set(traffic.troubles_of("tablet", "office")) == {"503 unavailable"}


def test_of_a_pool_that_has_died_with_postgres_one_request_hears(site: Site, wire: Wire) -> None:
    assert wire.delay_seconds == 0
    traffic = Traffic(site)
    with psycopg.connect(site.stack.database_url) as holder:
        holder.execute(LOCK, [site.office.books.towns[TOWN]])
        threads, answers = ask_for_codes(traffic, POOL_CONNECTIONS_MAX)
        await_waiting(site, POOL_CONNECTIONS_MAX)
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * POOL_CONNECTIONS_MAX

    site.stack.crash_postgres()
    assert site.stack.restart_fallen() == ["PostgreSQL"]

    outcomes = []
    for _ in range(2 * POOL_CONNECTIONS_MAX):
        [thread], heard = ask_for_codes(traffic, 1)
        thread.join()
        outcomes += [answer.status_code for answer in heard]
    traffic.client.close()
    assert set(outcomes) <= {201, 503}
    assert outcomes.count(503) <= 1, outcomes
    site.office.books.run(site.office.books._core.pool.check())


def await_waiting(site: Site, count: int) -> None:
    """Return when so many connections wait for a lock; asks PostgreSQL until it is so."""
    with psycopg.connect(site.stack.database_url, autocommit=True) as connection:
        for _ in range(QUESTIONS_MAX):
            row = connection.execute(WAITING).fetchone()
            if row is not None and row[0] >= count:
                return
    raise AssertionError("the pool was never exhausted")
