"""The page on backups is done, block by block, beside a device that writes; what is restored is proven afterwards."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from client_sdk import Replica
from server.adapters.postgres.examine import examine_database
from server.adapters.postgres.revision import newest_revision
from server.application.commands.work_off_outbox import NEVER
from server.embedded import EmbeddedPostgres
from server.stack import Stack
from tests.support.office import PASSPHRASE, office_of
from tests.support.pages import blocks_of
from tests.support.site import TOWN, Site
from tests.support.stack import scratch_directory

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/back-up-and-restore.md").read_text(encoding="utf-8")
DUMP, RESTORE_DUMP, PROVE_DUMP, MAKE_SLOT, WAIT_FOR_ARCHIVE, BASE, RESTORE_BASE = (
    block.text for block in blocks_of(PAGE) if block.language == "sh"
)
ARCHIVE, *_ = (block.text.removeprefix("$ ") for block in blocks_of(PAGE) if block.language == "console")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with the `tallystick` of this tree."""
    program = tmp_path / "tallystick"
    program.write_text(f'#!/bin/sh\ncd {shlex.quote(str(ROOT))} && exec {sys.executable} -m server.cli "$@"\n')
    program.chmod(0o755)
    return tmp_path


def do(block: str, names: Mapping[str, str], server: EmbeddedPostgres, tools: Path) -> str:
    """Run a block of the page; what it printed."""
    environment = {"PATH": f"{tools}:{server.programs}:/usr/bin:/bin", "HOME": str(tools), **names}
    command = ["sh", "-euc", block]
    done = subprocess.run(command, env=environment, cwd=tools, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def device_at_work(site: Site, path: Path) -> Iterator[list[int]]:
    """A device that records and syncs while the block runs; the positions of what it has recorded."""
    recorded: list[int] = []
    stopping, is_working = threading.Event(), threading.Event()

    def work() -> None:
        with Replica.open(path, passphrase=PASSPHRASE) as replica:
            while not stopping.is_set():
                recorded.extend(site.receive(replica))
                replica.sync()
                is_working.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert is_working.wait(60)
        yield recorded
    finally:
        stopping.set()
        thread.join()


def version_of(url: str) -> int:
    """Where the only town stands."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT version FROM tallystick.town_heads").fetchone()
    assert row is not None
    return int(row[0])


def test_a_dump_made_under_traffic_is_restored_and_verified(tools: Path) -> None:
    with scratch_directory() as directory, Stack.start(directory / "data") as stack, office_of(stack) as office:
        site = Site(stack, office, directory)
        tablet = site.tablet()
        with EmbeddedPostgres.start(directory / "new") as new:
            names = {
                "ADMIN_URL": stack.database_url,
                "SERVER_DIR": str(stack.data_dir),
                "BACKUP": str(directory / "backup"),
                "NEW_URL": new.url,
            }
            with device_at_work(site, tablet):
                before = version_of(stack.database_url)
                do(DUMP, names, new, tools)
                after = version_of(stack.database_url)
            do(RESTORE_DUMP, names, new, tools)
            proven = do(PROVE_DUMP, names, new, tools)
            restored = version_of(new.url)
            examined = asyncio.run(examine_database(new.url, revision=newest_revision(), server_key=None, never=NEVER))

    assert TOWN in proven
    assert list(examined.faults) == []
    assert before <= restored <= after


def test_a_base_backup_with_its_log_loses_nothing_and_devices_go_on(tools: Path) -> None:
    with scratch_directory() as directory:
        with Stack.start(directory / "data") as stack, office_of(stack) as office:
            names = {
                "ADMIN_URL": stack.database_url,
                "SERVER_DIR": str(stack.data_dir),
                "BACKUP": str(directory / "backup"),
                "RESTORED": str(directory / "restored"),
            }
            server = stack._postgres
            assert server is not None
            site = Site(stack, office, directory)
            tablet = site.tablet()
            do(MAKE_SLOT, names, server, tools)
            with archiving(names, server):
                do(WAIT_FOR_ARCHIVE, names, server, tools)
                with device_at_work(site, tablet) as recorded:
                    do(BASE, names, server, tools)
                    end = len(recorded)
                with Replica.open(tablet, passphrase=PASSPHRASE) as replica:
                    recorded += site.receive(replica, 5)
                    replica.sync()
            port, version = int(stack.url.rpartition(":")[2]), version_of(stack.database_url)
        do(RESTORE_BASE, names, server, tools)
        assert 0 < end < len(recorded)
        with Stack.start(directory / "restored", port=port) as stack, office_of(stack) as office:
            assert version_of(stack.database_url) == version
            office.books.towns[TOWN] = site.office.books.towns[TOWN]
            site.stack, site.office = stack, office
            site.check(tablet, recorded)


@contextmanager
def archiving(names: Mapping[str, str], server: EmbeddedPostgres) -> Iterator[None]:
    """The archive of the page, running; it ends as a machine that burns down does."""
    environment = os.environ | names | {"PATH": f"{server.programs}:/usr/bin:/bin"}
    with subprocess.Popen(["sh", "-euc", f"exec {ARCHIVE}"], env=environment) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGKILL)
