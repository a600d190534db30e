"""One device that has become two: when an admin has agreed each act takes effect once, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from client_sdk import Replica, ServerProblem
from client_sdk.errors import OldCopy
from server.stack import Stack
from sync.engine.chain import encode_bytes, line_hash
from sync.modules.identity import SuspendDevice
from tests.support.failpoints import KILLED, failpoints
from tests.support.office import PASSPHRASE
from tests.support.site import TOWN, Site, clone, site_on, tallystick


@pytest.fixture(scope="module")
def site(shared_stack: Stack) -> Iterator[Site]:
    with site_on(shared_stack) as running:
        yield running


def kept_lines(site: Site, device_id: str) -> list[bytes]:
    """What the server has kept of a device beside its chain."""
    with psycopg.connect(site.stack.database_url) as connection:
        connection.execute("SELECT set_config('app.town_ids', %s, false)", ["{" + site.office.books.towns[TOWN] + "}"])
        found = connection.execute(
            "SELECT line FROM tallystick.fork_lines WHERE device_id = %s ORDER BY seq", [device_id]
        ).fetchall()
    return [bytes(line) for (line,) in found]


def is_stopped(path: Path, code: str) -> list[bytes]:
    """The copy hears this code when it syncs; what it goes on holding."""
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        with pytest.raises(ServerProblem) as stopped:
            replica.sync()
        assert (stopped.value.code, replica.status.suspended) == (code, True)
        return [entry.line for entry in replica.pending()]


def release(site: Site, device_id: str) -> dict[str, object]:
    did = tallystick(site, "device", "release", device_id, "--town", TOWN, "--reason", "two tablets, one key", "--json")
    assert did.exit_code == 0, did.output
    said: dict[str, object] = json.loads(did.stdout)
    return said


def test_of_two_copies_each_act_of_either_takes_effect_once(site: Site) -> None:
    path = site.tablet()
    twin, device_id = clone(path, "twin"), site.device_id(path)
    site.record_and_sync(path, 2)
    status, recorded = site.run(twin, "record:3")
    assert (status, recorded) == (0, [1, 2, 3])
    held = is_stopped(twin, "chain_forked")
    assert kept_lines(site, device_id) == held
    status, recorded = site.run(path, "record:1")
    assert is_stopped(path, "device_suspended") != []
    with Replica.open(twin, passphrase=PASSPHRASE) as replica:
        receipt = replica.pending()[0]
        site.receive(replica)

    assert release(site, device_id) == {"device": device_id, "decided": 1, "waiting": 3}
    assert site.pieces(twin) == 2 + 1 + 4
    assert site.pieces(path) == 7

    with Replica.open(twin, passphrase=PASSPHRASE) as replica:
        found = replica.find(encode_bytes(receipt.digest))
        assert found is not None
        assert [entry.seq for entry in replica.verdicts()] == [4, 5, 6, 7]
        assert (found.seq, found.verdict and found.verdict.status) == (4, "accepted")
        assert line_hash(receipt.line) == receipt.digest != found.digest
    assert site.office.books.verify(TOWN).findings == ()


@pytest.mark.parametrize("failpoint", failpoints("client_sdk", "reauthor"))
def test_a_copy_killed_while_it_writes_its_acts_anew_goes_on_from_where_it_was(site: Site, failpoint: str) -> None:
    path = site.tablet()
    twin, device_id = clone(path, "twin"), site.device_id(path)
    site.record_and_sync(path, 1)
    assert site.run(twin, "record:2") == (0, [1, 2])
    is_stopped(twin, "chain_forked")
    release(site, device_id)

    assert site.run(twin, "sync", failpoint=failpoint) == (KILLED, [])

    with Replica.open(twin, passphrase=PASSPHRASE) as replica:
        assert list(replica.verify()) == []
    assert site.pieces(twin) == 3
    assert site.office.books.verify(TOWN).findings == ()


def test_two_copies_of_a_copy_that_write_the_same_acts_anew_have_one_effect(site: Site) -> None:
    path = site.tablet()
    twin, device_id = clone(path, "twin"), site.device_id(path)
    site.record_and_sync(path, 1)
    assert site.run(twin, "record:2") == (0, [1, 2])
    is_stopped(twin, "chain_forked")
    again = clone(twin, "again")
    release(site, device_id)
    assert site.pieces(twin) == 3

    assert site.pieces(again) == 3

    with Replica.open(again, passphrase=PASSPHRASE) as replica:
        rules = [entry.verdict.rule for entry in replica.verdicts() if entry.verdict]
        assert rules == ["engine.booked_before"] * 2
    assert site.office.books.verify(TOWN).findings == ()


def test_a_restored_backup_of_a_device_goes_on_behind_what_the_lost_device_did(site: Site) -> None:
    path = site.tablet()
    backup, device_id = clone(path, "backup"), site.device_id(path)
    site.record_and_sync(path, 2)
    path.unlink()
    with Replica.open(backup, passphrase=PASSPHRASE) as replica, pytest.raises(OldCopy):
        replica.sync()

    release(site, device_id)

    assert site.pieces(backup) == 2
    site.record_and_sync(backup, 3)
    assert site.pieces(backup) == 5
    assert site.office.books.verify(TOWN).findings == ()


def test_what_a_suspended_device_sends_is_kept_and_takes_effect_when_it_is_released(site: Site) -> None:
    path = site.tablet()
    device_id = site.device_id(path)
    site.record_and_sync(path, 1)
    books = site.office.books
    books.must(TOWN, SuspendDevice(id=books.new_id(), device=device_id, reason="left in a taxi"))
    assert site.run(path, "record:2") == (0, [2, 3])
    held = is_stopped(path, "device_suspended")
    assert is_stopped(path, "device_suspended") == held == kept_lines(site, device_id)
    path_of_phoenix = clone(path, "phoenix")
    path.unlink()

    assert release(site, device_id) == {"device": device_id, "decided": 2, "waiting": 0}

    assert site.office.books.verify(TOWN).findings == ()
    assert site.pieces(path_of_phoenix) == 3


def test_what_is_rejected_has_no_effect_whenever_it_comes_again_and_leaves_a_task(site: Site) -> None:
    path = site.tablet()
    twin, device_id = clone(path, "twin"), site.device_id(path)
    site.record_and_sync(path, 1)
    assert site.run(twin, "record:2") == (0, [1, 2])
    is_stopped(twin, "chain_forked")
    assert site.run(path, "record:1") == (0, [2])
    is_stopped(path, "device_suspended")

    did = tallystick(site, "device", "reject", device_id, "--town", TOWN, "--reason", "stolen", "--json")

    assert (did.exit_code, json.loads(did.stdout)) == (0, {"device": device_id, "decided": 1, "waiting": 2})
    release(site, device_id)
    assert (site.pieces(path), site.pieces(twin)) == (1, 1)
    with Replica.open(twin, passphrase=PASSPHRASE) as replica:
        assert [entry.verdict.rule for entry in replica.verdicts() if entry.verdict] == ["engine.line_rejected"] * 2
        kinds = [row["kind"] for row in replica.query("SELECT kind FROM conflicts ORDER BY kind")]
        assert kinds == ["lines_rejected", "quarantined"]
    assert site.office.books.verify(TOWN).findings == ()


def test_a_revoked_device_stays_revoked(site: Site) -> None:
    path = site.tablet()
    device_id = site.device_id(path)
    site.office.revoke(TOWN, device_id)

    did = tallystick(site, "device", "release", device_id, "--town", TOWN, "--reason", "found")

    assert did.exit_code == 1
    assert "enrol it anew" in did.stderr
