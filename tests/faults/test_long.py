"""Faults that take their time: only `make faults` has the patience, `make test` says how many it has left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest

from client_sdk import Offline, Replica, ServerProblem
from tests.support.office import PASSPHRASE
from tests.support.room import limit_files
from tests.support.site import Site, running_site

pytestmark = pytest.mark.long

PENDING = 10_000
TRIES_MAX = 100
SLEEPY = """
CREATE FUNCTION public.sleepy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';
CREATE TRIGGER sleepy BEFORE INSERT ON tallystick.change_sets FOR EACH STATEMENT EXECUTE FUNCTION public.sleepy();
"""
AWAKE = "DROP TRIGGER sleepy ON tallystick.change_sets; DROP FUNCTION public.sleepy;"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


def refused(replica: Replica) -> str:
    """With which code a sync is refused or fails."""
    with pytest.raises((ServerProblem, Offline)) as problem:
        replica.sync()
    return problem.value.code


def test_a_statement_that_takes_too_long_is_ended_and_decides_nothing(site: Site) -> None:
    path = site.tablet()
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded = site.receive(replica, 2)
        with psycopg.connect(site.stack.database_url, autocommit=True) as owner:
            owner.execute(SLEEPY)
            code = refused(replica)
            owner.execute(AWAKE)

        assert (code, len(replica.pending())) == ("unavailable", 2)
    site.check(path, recorded)


def test_ten_thousand_pending_change_sets_of_a_killed_app_all_arrive_once(site: Site) -> None:
    path = site.tablet()
    status, recorded = site.run(path, f"record:{PENDING}")
    assert (status, len(recorded)) == (0, PENDING)

    site.check(path, recorded)


def test_a_postgres_without_room_for_its_log_crashes_and_goes_on_when_there_is(site: Site) -> None:
    path = site.tablet()
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded = site.receive(replica, 3)
        limit_files(site.stack, "8192")
        codes = {refused(replica) for _ in range(3)}
        assert codes <= {"unavailable", "offline"}
        limit_files(site.stack, "unlimited")
        site.stack.restart_fallen()

        for _ in range(TRIES_MAX):
            with suppress(ServerProblem):
                replica.sync()
                break
        assert list(replica.pending()) == []
    site.office.books.run(site.office.books._core.pool.check())
    site.check(path, recorded)
