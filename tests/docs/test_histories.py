"""The page for the night when histories disagree is done, block by block, with real devices and a restored database."""

from __future__ import annotations

import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest

from client_sdk import Replica, ServerProblem, TownHalted
from server.application.history_ports import Halt
from server.domain.devices import server_device_id
from sync.modules.identity import SuspendDevice
from tests.support.office import PASSPHRASE, office_of
from tests.support.pages import blocks_of
from tests.support.site import TOWN, Site, clone, copy_database, running_site

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/when-histories-disagree.md").read_text(encoding="utf-8")
SEE, VERIFY_TOWN, BEGIN_EPOCH, RESUME, KEPT, RELEASE, REJECT, VERIFY = (
    block.text for block in blocks_of(PAGE) if block.language == "sh"
)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with the `tallystick` of this tree."""
    path = tmp_path / "tallystick"
    path.write_text(f'#!/bin/sh\ncd {shlex.quote(str(ROOT))} && exec {sys.executable} -m server.cli "$@"\n')
    path.chmod(0o755)
    return tmp_path


def do(block: str, site: Site, program: Path, **names: str) -> str:
    """Run a block of the page; what it printed."""
    server_dir = str(site.stack.data_dir)
    environment = {"PATH": f"{program}:/usr/bin:/bin", "HOME": str(program), "SERVER_DIR": server_dir, "TOWN": TOWN}
    command = ["sh", "-euc", block]
    done = subprocess.run(
        command, env={**environment, "COLUMNS": "250", **names}, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails(path: Path) -> ServerProblem:
    with Replica.open(path, passphrase=PASSPHRASE) as replica, pytest.raises(ServerProblem) as stopped:
        replica.sync()
    return stopped.value


def halt_by_hand(site: Site) -> None:
    """The town is halted as by a device of a rehearsal."""
    core, town_id = site.office.books._core, site.office.books.towns[TOWN]

    async def halt() -> None:
        async with core.towns.reading(town_id) as reader:
            entry = await reader.journal_entry(1)
            assert entry is not None
            told = Halt(
                id=core.appliers.new_id(),
                device_id=server_device_id(town_id),
                epoch=orjson.loads(entry.body)["epoch"],
                version=1,
                journal=entry.digest,
                signature=entry.signature,
                head_version=reader.head.version,
                halted_at="2026-11-21T08:15:02.114Z",
            )
        await core.towns.histories.halt(town_id, told)

    site.office.books.run(halt())


def test_a_restored_server_and_devices_that_are_two_or_stopped_are_brought_together_by_the_page(program: Path) -> None:
    with running_site() as site, ExitStack() as opened:
        path = site.tablet()
        device_id = site.device_id(path)
        twin = clone(path, "twin")
        copy_database(site, "tallystick", "backup")
        site.record_and_sync(path, 2)
        copy_database(site, "backup", "tallystick")

        books = opened.enter_context(office_of(site.stack))  # the database is another one now
        books.books.towns[TOWN] = site.office.books.towns[TOWN]
        site.office = books

        assert isinstance(fails(path), TownHalted)
        assert "halted" in do(SEE, site, program)
        do(VERIFY_TOWN, site, program)
        assert "the backup of Friday was restored" in do(BEGIN_EPOCH, site, program)
        site.record_and_sync(path, 1)
        halt_by_hand(site)
        assert isinstance(fails(path), TownHalted)
        assert "goes on" in do(RESUME, site, program)

        assert site.run(twin, "record:1") == (0, [1])
        assert fails(twin).code == "chain_forked"
        assert "stock.receive" in do(KEPT, site, program, DEVICE=device_id)
        do(RELEASE, site, program, DEVICE=device_id)
        site.record_and_sync(twin, 1)
        suspend = SuspendDevice(id=site.office.books.new_id(), device=device_id, reason="left in a taxi")
        site.office.books.must(TOWN, suspend)
        assert site.run(twin, "record:1")[0] == 0
        assert fails(twin).code == "device_suspended"
        assert "rejected: 1" in do(REJECT, site, program, DEVICE=device_id)
        do(RELEASE, site, program, DEVICE=device_id)

        assert site.pieces(twin) == 3 + 2
        assert "ok" in do(VERIFY, site, program)
