"""Real trade through the whole stack: towns of devices that are offline in spells, and sums that a script knows.

The first lines of the online-retail file where it is, the sample of the project elsewhere; `loadtests.season` plays the
whole file. What it checks afterwards is seen to complain when the books or a replica are altered.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from loadtests.retail import best_file
from loadtests.season import Played, Server, check, findings_of, play, served
from tests.support.guards import cheapen_guards
from tests.support.stack import scratch_directory

LINES_MAX = 15_000
PROCESSES = 2
ALTERED = "Germany"


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with scratch_directory() as scratch:
        yield scratch


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Server]:
    with served(directory / "server") as running:
        yield running


@pytest.fixture(scope="module")
def season(server: Server, directory: Path) -> Played:
    return play(
        server,
        best_file(),
        lines_max=LINES_MAX,
        directory=directory,
        processes=PROCESSES,
        home_crews=2,
        say=lambda _what: None,
        begin=cheapen_guards,
    )


def test_a_season_of_real_trade_ends_in_books_that_agree(server: Server, season: Played) -> None:
    findings, figures = check(server, season, PROCESSES)

    assert findings == []
    assert figures["replicas"] >= 10
    assert figures["cancelled_orders"] > 0
    assert figures["change_sets_of_devices"] > 3 * figures["invoices"]


def test_an_altered_order_is_found_in_the_sums_the_books_and_no_replica(server: Server, season: Played) -> None:
    one = f"(SELECT town_id, id FROM tallystick.orders WHERE town_id = '{season.towns[ALTERED]}' ORDER BY id LIMIT 1)"
    worse = (
        f"UPDATE tallystick.orders SET lines = jsonb_set(lines, '{{0,quantity}}', '999999') WHERE (town_id, id) = {one}"
    )
    with psycopg.connect(server.database_url) as connection:
        before = connection.execute(f"SELECT lines::text FROM tallystick.orders WHERE (town_id, id) = {one}").fetchone()
        connection.execute(worse)
    try:
        findings = findings_of(server, season, ALTERED)
    finally:
        with psycopg.connect(server.database_url) as connection:
            connection.execute(f"UPDATE tallystick.orders SET lines = %s WHERE (town_id, id) = {one}", before)

    assert any("the file says" in found for found in findings)
    assert any("lines" in found for found in findings)


def test_a_feed_row_that_no_replica_heard_of_is_found(server: Server, season: Played) -> None:
    extra = (
        "INSERT INTO tallystick.feed (town_id, bucket, entity, id, version, body) "
        "VALUES (%s, 'town', 'warehouse', gen_random_uuid(), 1, '{\"name\":\"Nowhere\"}')"
    )
    with psycopg.connect(server.database_url) as connection:
        connection.execute(extra, [season.towns[ALTERED]])
    findings = findings_of(server, season, ALTERED)

    assert any("is missing" in found for found in findings)
