"""A server that was restored from a backup, and a bucket that does not add up: what devices notice, keep and repair.

The database is real and really replaced under a running stack. Requests are made small, so that an upload takes more
than one and a backup can lie between two of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import psycopg
import pytest

from client_sdk import Offline, Replica, ServerProblem
from client_sdk.adapters.http import HttpTransport
from client_sdk.adapters.system import RealSystem
from sync.kernel.ids import derived_id
from sync.modules.commerce import ReceiveStock
from sync.modules.identity import DeactivateUser
from sync.protocol import limits
from tests.support.office import PASSPHRASE, office_of
from tests.support.replicas import check_replica
from tests.support.site import TOWN, Site, running_site
from tests.support.transports import TransportAround

if TYPE_CHECKING:
    from client_sdk.adapters.sqlite.store import SqliteStore
    from sync.protocol.messages import Hello

LINES_A_REQUEST = 2
DATABASE, BACKUP = "tallystick", "backup"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(limits, "CHANGE_SETS_MAX", LINES_A_REQUEST)
    with running_site() as running:
        yield running


def copy_database(site: Site, source: str, target: str) -> None:
    """Make `target` what `source` is, while the API is down and everybody else is thrown out."""
    site.stack.kill_api()
    server = site.stack.database_url.rpartition("/")[0]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {target} WITH (FORCE)")
        connection.execute(f"ALTER DATABASE {source} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", [source])
        connection.execute(f"CREATE DATABASE {target} TEMPLATE {source}")
        connection.execute(f"ALTER DATABASE {source} ALLOW_CONNECTIONS true")
    site.stack.restart_api()


def begin_epoch(site: Site) -> None:
    """What an admin does after a failover, as long as there is no command for it."""
    with psycopg.connect(site.stack.database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE tallystick.town_heads SET epoch = %s", [derived_id("epoch", "after the failover")])


def told(site: Site, device_id: str) -> list[tuple[str, int]]:
    """Status and version of each verdict that the server has given a device."""
    with psycopg.connect(site.stack.database_url) as connection:
        connection.execute("SELECT set_config('app.town_ids', %s, false)", ["{" + site.office.books.towns[TOWN] + "}"])
        rows = connection.execute(
            "SELECT verdict FROM tallystick.change_sets WHERE device_id = %s ORDER BY seq", [device_id]
        ).fetchall()
    said = [orjson.loads(bytes(verdict)) for (verdict,) in rows]
    return [(verdict["status"], verdict["version"]) for verdict in said]


class CutTransport(TransportAround):
    """The real wire, which goes out of coverage before the second request."""

    def __init__(self, inner: HttpTransport) -> None:
        super().__init__(inner)
        self._requests = 0

    def exchange(self, hello: Hello, lines: Sequence[bytes]) -> Iterator[bytes]:
        self._requests += 1
        if self._requests == 2:
            raise Offline("out of coverage")
        yield from super().exchange(hello, lines)


def sync_until_out_of_coverage(site: Site, path: Path) -> None:
    """One request and its answer."""
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        wire = HttpTransport(site.stack.url, RealSystem(), replica._store.identity())
    with Replica.open(path, passphrase=PASSPHRASE, transport=CutTransport(wire)) as replica, pytest.raises(Offline):
        replica.sync()
    wire.close()


def test_a_server_that_went_back_behind_the_receipt_of_an_unfinished_upload_is_an_alarm(site: Site) -> None:
    path = site.tablet()
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded = site.receive(replica, 3)
    copy_database(site, DATABASE, BACKUP)
    sync_until_out_of_coverage(site, path)
    copy_database(site, BACKUP, DATABASE)
    with office_of(site.stack) as office:
        office.books.towns[TOWN] = site.office.books.towns[TOWN]
        office.books.must(TOWN, ReceiveStock(warehouse=site.warehouse, product=site.product, quantity=5))

    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        with pytest.raises(ServerProblem) as alarm:
            replica.sync()

        assert alarm.value.code == "history_altered"
        assert [entry.seq for entry in replica.pending()] == recorded


@pytest.mark.parametrize("is_cut", [False, True])
def test_after_a_failover_a_device_has_the_verdicts_that_the_server_has(site: Site, *, is_cut: bool) -> None:
    path = site.tablet()
    copy_database(site, DATABASE, BACKUP)
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded = site.receive(replica, 2 * LINES_A_REQUEST + 1)
        replica.sync()
        device_id = replica._store.identity().device_id
    copy_database(site, BACKUP, DATABASE)
    begin_epoch(site)
    with office_of(site.stack) as office:
        office.books.towns[TOWN] = site.office.books.towns[TOWN]
        office.books.must(TOWN, DeactivateUser(user=site.clerk))
        if is_cut:
            sync_until_out_of_coverage(site, path)
            sync_until_out_of_coverage(site, path)

        with Replica.open(path, passphrase=PASSPHRASE) as replica:
            replica.sync()

            entries = replica.verdicts()
            assert [entry.seq for entry in entries] == recorded
            kept = [(entry.verdict.status.value, entry.version) for entry in entries if entry.verdict]
            assert kept == told(site, device_id)
            assert {status for status, _ in kept} == {"adjusted"}
            assert [[verdict.status.value for verdict in entry.earlier] for entry in entries] == [["accepted"]] * 5
            check_replica(replica, office.books.feed_bodies(TOWN))


def test_a_tablet_with_a_bucket_that_does_not_add_up_goes_on_working_out_of_coverage(site: Site) -> None:
    path = site.tablet()
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        store: SqliteStore = replica._store  # type: ignore[assignment]
        store._writer.execute("UPDATE bucket SET rows = rows + 1 WHERE name = 'town'")
    site.office.books.add_user(TOWN, "Eve", "driver")

    sync_until_out_of_coverage(site, path)

    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded = site.receive(replica, 3)
        assert [entry.seq for entry in replica.pending()] == recorded == [1, 2, 3]
    site.check(path, recorded)
