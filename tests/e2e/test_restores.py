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

from client_sdk import Offline, Replica, TownHalted
from client_sdk.adapters.http import HttpTransport
from client_sdk.adapters.system import RealSystem
from sync.modules.commerce import ReceiveStock
from sync.modules.identity import DeactivateUser
from sync.protocol import limits
from tests.support.office import PASSPHRASE, office_of
from tests.support.replicas import check_replica
from tests.support.site import TOWN, Site, copy_database, running_site, tallystick
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


def begin_epoch(site: Site) -> None:
    """What an admin does after a failover."""
    did = tallystick(site, "epoch", "begin", "--town", TOWN, "--reason", "a backup was restored")
    assert did.exit_code == 0, did.output


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
        with pytest.raises(TownHalted):
            replica.sync()

        assert replica.status.halted
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
