"""A device that never reaches its server again: what it sealed is taken once, whoever brings it and however often."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from client_sdk import Replica
from client_sdk.errors import NoSealingKey
from server.adapters.keys import open_signer
from server.application.commands.rescue_lines import Rescued, RescueForged, RescueUnreadable, rescue
from server.stack import Stack
from sync.engine.sealing import seal
from sync.modules import registry
from sync.protocol.bundle import PURPOSE, Bundle, pack, unpack
from tests.support.office import PASSPHRASE
from tests.support.site import TOWN, Site, site_on, tallystick


@pytest.fixture(scope="module")
def site(shared_stack: Stack) -> Iterator[Site]:
    with site_on(shared_stack) as running:
        yield running


def rescued(site: Site, file: Path) -> Rescued:
    """What becomes of a file that the office takes."""
    core = site.office.books._core
    return site.office.books.run(
        rescue(file.read_bytes(), towns=core.towns, appliers=core.appliers, signer=core.signer, registry=registry())
    )


def on_shelf(site: Site, warehouse: str) -> int:
    """How many pieces the server has there."""
    bodies = site.office.books.feed_bodies(TOWN)[f"warehouse:{warehouse}"]
    rows = [json.loads(body.partition(" ")[2]) for (entity, _), body in bodies.items() if entity == "stock_level"]
    return sum(row["on_hand"] for row in rows)


def test_the_work_of_a_device_that_never_comes_back_is_taken_once(site: Site, tmp_path: Path) -> None:
    path, file = site.tablet(), tmp_path / "rescue.tally"
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        site.receive(replica, 2)
        replica.sync()
        site.receive(replica, 5)
        assert replica.export_unsent(file) == 5
    path.unlink()

    first = tallystick(site, "rescue", str(file), "--json")
    second = tallystick(site, "rescue", str(file))

    said = json.loads(first.stdout)
    assert (said["from_seq"], said["to_seq"], said["known"], said["decided"]) == (3, 7, 0, {"accepted": 5})
    assert (second.exit_code, "known already" in second.stdout) == (0, True)
    assert on_shelf(site, site.warehouse) == 7
    assert site.office.books.verify(TOWN).findings == ()


def test_a_device_that_comes_back_after_its_rescue_doubles_nothing_and_goes_on(site: Site, tmp_path: Path) -> None:
    path, file = site.tablet(), tmp_path / "rescue.tally"
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded = site.receive(replica, 3)
        replica.export_unsent(file)
        recorded += site.receive(replica, 2)
    rescued(site, file)

    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded += site.receive(replica)

    site.check(path, recorded)
    assert on_shelf(site, site.warehouse) == 6


def test_a_rescue_of_what_the_device_has_sent_itself_meanwhile_changes_nothing(site: Site, tmp_path: Path) -> None:
    path, file = site.tablet(), tmp_path / "rescue.tally"
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded = site.receive(replica, 3)
        replica.export_unsent(file)
        replica.sync()

    assert rescued(site, file).known == 3
    site.check(path, recorded)


def test_where_nothing_is_unsent_no_file_is_written(site: Site, tmp_path: Path) -> None:
    with Replica.open(site.tablet(), passphrase=PASSPHRASE) as replica:
        assert replica.export_unsent(tmp_path / "rescue.tally") == 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_for_its_installation_only_and_says_nothing_to_others(site: Site, tmp_path: Path) -> None:
    path, file = site.tablet(), tmp_path / "rescue.tally"
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        site.receive(replica, 2)
        replica.export_unsent(file)
        town_id = replica._store.identity().town_id
    whole = file.read_bytes()
    stranger = open_signer(tmp_path / "stranger.key", may_create=True).published[-1].sealing_key
    assert stranger is not None
    own = open_signer(site.stack.data_dir / "server.key", may_create=False)
    lines = own.open_sealed(whole, PURPOSE)
    faults = {
        "changed": whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:],
        "cut": whole[:-1],
        "foreign": seal(lines, stranger, purpose=PURPOSE, ephemeral=bytes(range(1, 33))),
        "no seal": b"not sealed at all",
    }

    for name, content in faults.items():
        file.write_bytes(content)
        with pytest.raises(RescueUnreadable, match="nothing of it was taken"):
            rescued(site, file)
        assert file.read_bytes() == content, name
    told = tallystick(site, "rescue", str(file))
    assert (told.exit_code, told.stderr.count("\n"), "nothing of it was taken" in told.stderr) == (1, 1, True)
    assert town_id.encode() not in whole
    assert on_shelf(site, site.warehouse) == 0


def test_lines_that_the_device_has_not_signed_are_not_taken_though_they_are_sealed(site: Site, tmp_path: Path) -> None:
    path, file = site.tablet(), tmp_path / "rescue.tally"
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        site.receive(replica, 1)
        replica.export_unsent(file)
    signer = open_signer(site.stack.data_dir / "server.key", may_create=False)
    real = unpack(signer.open_sealed(file.read_bytes(), PURPOSE))
    more = real.lines[0].replace(b'"quantity":1', b'"quantity":9')
    assert more != real.lines[0]
    forged = Bundle(town=real.town, device=real.device, from_seq=1, lines=[more], signatures=real.signatures)
    sealing_key = signer.published[-1].sealing_key
    assert sealing_key is not None
    file.write_bytes(seal(pack(forged), sealing_key, purpose=PURPOSE, ephemeral=bytes(range(1, 33))))

    with pytest.raises(RescueForged):
        rescued(site, file)

    assert on_shelf(site, site.warehouse) == 0


def salvage(path: Path, file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`python -m client_sdk rescue`, as whoever has only the file would run it."""
    command = [sys.executable, "-m", "client_sdk", "rescue", str(path), str(file), "--passphrase-stdin", *options]
    return subprocess.run(command, input=PASSPHRASE + "\n", capture_output=True, check=False, text=True)


def test_a_replica_that_no_app_opens_any_more_still_gives_its_unsent_work(site: Site, tmp_path: Path) -> None:
    path, file = site.tablet(), tmp_path / "rescue.tally"
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        site.receive(replica, 1)
        replica.sync()
        site.receive(replica, 4)
        store = replica._store
        store._writer.execute("DELETE FROM meta WHERE key = 'head'")  # type: ignore[attr-defined]
        store._writer.execute("DROP TABLE base_row")  # type: ignore[attr-defined]

    done = salvage(path, file)

    assert (done.returncode, done.stderr) == (0, "")
    assert rescued(site, file).decided == {"accepted": 4}
    assert on_shelf(site, site.warehouse) == 5


def test_a_replica_without_its_identity_is_sealed_to_the_key_that_the_office_names(site: Site, tmp_path: Path) -> None:
    path, file = site.tablet(), tmp_path / "rescue.tally"
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        site.receive(replica, 2)
        replica._store._writer.execute("DELETE FROM meta WHERE key = 'identity'")  # type: ignore[attr-defined]
    told = salvage(path, file)
    assert (told.returncode, str(NoSealingKey.__doc__) in told.stderr) == (1, True)
    key = open_signer(site.stack.data_dir / "server.key", may_create=False).published[-1].sealing_key

    assert salvage(path, file, "--sealing-key", str(key)).returncode == 0
    assert rescued(site, file).decided == {"accepted": 2}


def test_a_damaged_line_ends_what_can_be_rescued_and_is_said(site: Site, tmp_path: Path) -> None:
    path, file = site.tablet(), tmp_path / "rescue.tally"
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        site.receive(replica, 4)
        replica._store._writer.execute("DELETE FROM outbox WHERE seq = 3")  # type: ignore[attr-defined]

    done = salvage(path, file)

    assert (done.returncode, "2 further change sets cannot be read" in done.stderr) == (1, True)
    assert rescued(site, file).decided == {"accepted": 2}
