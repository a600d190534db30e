"""The page on lost and broken devices is done, block by block, on real devices, and the books are proven afterwards."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from client_sdk import Replica, ServerProblem
from client_sdk.errors import ReplicaWiped
from sync.kernel.clock import parse_time
from tests.support.office import PASSPHRASE
from tests.support.pages import blocks_of
from tests.support.site import TOWN, Site, running_site

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/when-a-device-is-lost-or-broken.md").read_text(encoding="utf-8")
LIMIT, SUSPEND, REVOKE, SEALED, SALVAGE, RESCUE, LOOK, RETRY, REFUSE, ROTATE, VERIFY = (
    block.text for block in blocks_of(PAGE) if block.language == "sh"
)
(SHOW_LEASE,) = (block.text for block in blocks_of(PAGE) if block.language == "python")
LATER = "2999-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with the `tallystick` and the `python` of this tree."""
    for name, arguments in (("tallystick", "-m server.cli "), ("python", "")):
        program = tmp_path / name
        found = f"PYTHONPATH={shlex.quote(str(ROOT))} exec {sys.executable} {arguments}"
        program.write_text(f'#!/bin/sh\n{found}"$@"\n')
        program.chmod(0o755)
    return tmp_path


def do(block: str, names: Mapping[str, str], site: Site, tools: Path) -> str:
    """Run a block of the page; what it printed."""
    environment = {
        "PATH": f"{tools}:/usr/bin:/bin",
        "HOME": str(tools),
        "COLUMNS": "200",
        "TOWN": TOWN,
        "TALLYSTICK_DATA_DIR": str(site.stack.data_dir),
        **names,
    }
    done = subprocess.run(
        ["sh", "-euc", block], env=environment, cwd=tools, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_a_device_may_do_alone_is_limited_and_shown(
    site: Site, tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = site.tablet()
    said = do(LIMIT, {}, site, tools)
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        replica.sync()
        contact, lease = replica.status.last_contact, replica.status.lease
        exec(SHOW_LEASE, {"van": replica})  # noqa: S102  the block of the page

    assert "for 3 days without the server" in said
    assert contact is not None
    assert lease is not None
    assert parse_time(lease.valid_until) - parse_time(contact) == 3 * 24 * 3600 * 1000
    assert capsys.readouterr().out == f"{lease.valid_until} {{'GBP': '500.00'}} False\n"


def test_a_lost_device_is_suspended_and_revoked_and_its_work_is_decided(site: Site, tools: Path) -> None:
    path = site.tablet()
    names = {"DEVICE": path.stem, "LOST_AT": LATER}
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        site.receive(replica, 1)
        replica.sync()
        site.receive(replica, 2)
        do(SUSPEND, names, site, tools)
        with pytest.raises(ServerProblem) as told:
            replica.sync()
        assert (told.value.code, len(replica.pending())) == ("device_suspended", 2)
        assert "is revoked" in do(REVOKE, names, site, tools)
        with pytest.raises(ReplicaWiped):
            replica.sync()

    assert "change sets 2 to 3: 2 of 2 went to review" in do(SEALED, names, site, tools)
    looked = do(LOOK, names, site, tools)
    assert ("people.device_revoked" in looked, '"op": "stock.receive"' in looked) == (True, True)
    assert do(RETRY, names, site, tools).startswith("accepted at version ")
    assert "is settled" in do(REFUSE, names, site, tools)
    assert "Nothing is in quarantine" in do(LOOK.splitlines()[0], names, site, tools)
    assert site.office.books.verify(TOWN).findings == ()


def test_the_work_of_a_broken_device_is_carried_to_the_server(site: Site, tools: Path) -> None:
    path = site.tablet()
    passphrase = tools / "passphrase"
    passphrase.write_text(PASSPHRASE + "\n")
    names = {"REPLICA": str(path), "PASSPHRASE_FILE": str(passphrase)}
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded = site.receive(replica, 3)

    assert do(SALVAGE, names, site, tools).startswith("3 change sets are in rescue.tally")
    assert "decided now: 3 accepted" in do(RESCUE, names, site, tools)
    assert "Everything was known already" in do(RESCUE, names, site, tools)

    site.check(path, recorded)


def test_after_a_rotation_devices_go_on_and_everything_old_still_verifies(site: Site, tools: Path) -> None:
    path = site.tablet()
    names = {"SERVER_DIR": str(site.stack.data_dir), "BACKUP": str(tools)}
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded = site.receive(replica, 1)
        replica.sync()
        before = replica._store.identity()
    for _ in range(2):
        assert "in use" in do(ROTATE, names, site, tools)
        with Replica.open(path, passphrase=PASSPHRASE) as replica:
            recorded += site.receive(replica, 1)
            replica.sync()  # the API has not been restarted: it signs with the key that it has
    site.stack.restart_api()

    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        recorded += site.receive(replica, 1)
        replica.sync()
        after = replica._store.identity()
        assert list(replica.verify()) == []

    assert len(after.server_keys) == len(before.server_keys) + 2
    assert before.server_keys.items() <= after.server_keys.items()
    assert after.sealing_key != before.sealing_key
    assert recorded == [1, 2, 3, 4]
    assert "none" in do(VERIFY, names, site, tools)
    assert (tools / "server.key").read_bytes() == (site.stack.data_dir / "server.key").read_bytes()
