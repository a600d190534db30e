"""One device that has become two: nothing of the second history takes effect, and nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from client_sdk import Replica, ServerProblem
from tests.support.office import PASSPHRASE
from tests.support.site import TOWN, Site, running_site


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


def clone(path: Path, name: str) -> Path:
    """A copy of a closed replica, key and all, as a restored backup would be."""
    twin = path.with_name(name)
    shutil.copy(path, twin)
    shutil.copy(f"{path}.key", f"{twin}.key")
    return twin


def kept_lines(site: Site, device_id: str) -> list[bytes]:
    """What the server has kept of a device's other history."""
    with psycopg.connect(site.stack.database_url) as connection:
        connection.execute("SELECT set_config('app.town_ids', %s, false)", ["{" + site.office.books.towns[TOWN] + "}"])
        found = connection.execute(
            "SELECT line FROM tallystick.fork_lines WHERE device_id = %s ORDER BY seq", [device_id]
        ).fetchall()
    return [bytes(line) for (line,) in found]


def test_of_two_copies_of_a_device_the_second_is_stopped_and_both_histories_are_kept(site: Site) -> None:
    path = site.tablet()
    twin = clone(path, "twin.db")
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        site.receive(replica, 2)
        replica.sync()
        device_id = replica._store.identity().device_id
        on_shelf = replica.query("SELECT on_hand FROM stock_levels WHERE warehouse_id = ?", [site.warehouse])
    with Replica.open(twin, passphrase=PASSPHRASE) as copy:
        site.receive(copy, 3)

        with pytest.raises(ServerProblem) as stopped:
            copy.sync()

        assert stopped.value.code == "chain_forked"
        assert copy.status.suspended
        assert len(copy.pending()) == 3
        assert kept_lines(site, device_id) == [entry.line for entry in copy.pending()]
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded = site.receive(replica)
        with pytest.raises(ServerProblem) as barred:
            replica.sync()
        assert barred.value.code == "device_suspended"
        assert [entry.seq for entry in replica.pending()] == recorded
    assert on_shelf == [{"on_hand": 2}]
    assert site.office.books.verify(TOWN).findings == ()


def test_a_revoked_device_gets_nothing_and_keeps_what_it_has_recorded(site: Site) -> None:
    path = site.tablet()
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        site.receive(replica, 2)
        site.office.revoke(TOWN, replica._store.identity().device_id)

        with pytest.raises(ServerProblem) as barred:
            replica.sync()

        assert barred.value.code == "device_revoked"
        assert (len(replica.pending()), list(replica.verify())) == (2, [])
