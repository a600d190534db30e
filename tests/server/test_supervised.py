"""The account that owns a server's directory cannot turn root, who starts the server, against other files."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.embedded import EmbeddedPostgres, EmbeddedRedis
from server.supervised import (
    LOG_NAME,
    SECRET_NAME,
    EmbeddedServerFailed,
    ServerDirectory,
    ServerProcess,
)
from tests.support.stack import scratch_directory

PROGRAM = Path("/bin/sh")
NOT_OURS = "only for root"
REFUSED = "must be no link|is no plain file"


@pytest.fixture
def scratch() -> Iterator[Path]:
    with scratch_directory() as directory:
        yield directory


@pytest.fixture
def directory(scratch: Path) -> ServerDirectory:
    return ServerDirectory.prepare(scratch / "server", program=PROGRAM)


@pytest.fixture
def elsewhere(scratch: Path) -> Path:
    """A file that the account may not touch, beside its directory."""
    path = scratch / "elsewhere"
    path.write_text(NOT_OURS)
    path.chmod(0o600)
    return path


def by_link(path: Path, elsewhere: Path) -> None:
    path.symlink_to(elsewhere)


def by_second_name(path: Path, elsewhere: Path) -> None:
    path.hardlink_to(elsewhere)


def by_pipe(path: Path, _elsewhere: Path) -> None:
    os.mkfifo(path, 0o666)


PLANTINGS = pytest.mark.parametrize("plant", [by_link, by_second_name, by_pipe])
Plant = Callable[[Path, Path], None]


@PLANTINGS
def test_a_password_that_leads_elsewhere_is_not_read(directory: ServerDirectory, elsewhere: Path, plant: Plant) -> None:
    plant(directory.secret_path, elsewhere)

    with pytest.raises(EmbeddedServerFailed, match=REFUSED) as refusal:
        directory.secret()

    assert NOT_OURS not in refusal.value.message


@PLANTINGS
@pytest.mark.parametrize("name", ["lock", LOG_NAME])
def test_a_server_does_not_start_on_files_that_lead_elsewhere(
    directory: ServerDirectory, elsewhere: Path, plant: Plant, name: str
) -> None:
    plant(directory.path / name, elsewhere)

    with pytest.raises(EmbeddedServerFailed, match=REFUSED):
        ended_process(directory)

    assert elsewhere.read_text() == NOT_OURS


def test_the_end_of_a_log_that_leads_elsewhere_is_not_told(directory: ServerDirectory, elsewhere: Path) -> None:
    def swap() -> None:
        directory.log_path.unlink(missing_ok=True)
        directory.log_path.symlink_to(elsewhere)

    with pytest.raises(EmbeddedServerFailed, match=REFUSED) as refusal:
        ended_process(directory, meanwhile=swap)

    assert NOT_OURS not in refusal.value.message


def test_what_is_written_replaces_a_link_and_not_what_it_leads_to(directory: ServerDirectory, elsewhere: Path) -> None:
    for name in ("redis.conf", "redis.conf.unfinished"):
        (directory.path / name).symlink_to(elsewhere)

    directory.write("redis.conf", "bind 127.0.0.1\n")

    written = directory.path / "redis.conf"
    assert (written.read_text(), written.is_symlink()) == ("bind 127.0.0.1\n", False)
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert elsewhere.read_text() == NOT_OURS


def test_a_password_of_another_form_is_not_used(directory: ServerDirectory) -> None:
    directory.write(SECRET_NAME, "x\nloadmodule /tmp/evil.so\n")

    with pytest.raises(EmbeddedServerFailed, match="no password of ours"):
        directory.secret()


def test_a_directory_that_was_swapped_for_a_link_is_not_used(directory: ServerDirectory, scratch: Path) -> None:
    directory.secret()
    other = scratch / "other"
    directory.path.rename(other)
    directory.path.symlink_to(other)

    for use in (directory.secret, lambda: directory.write("redis.conf", ""), lambda: ended_process(directory)):
        with pytest.raises(EmbeddedServerFailed, match="must be no link"):
            use()
    assert not (other / "redis.conf").exists()


def test_a_directory_of_somebody_else_is_not_used(scratch: Path) -> None:
    stranger = os.geteuid() + 12_345
    directory = ServerDirectory(path=scratch, user_id=stranger, group_id=stranger)

    with pytest.raises(EmbeddedServerFailed, match=f"does not belong to uid {stranger}"):
        directory.write("redis.conf", "")


def test_nothing_is_removed_where_the_cluster_leads_by_a_link(scratch: Path) -> None:
    elsewhere = scratch / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "postmaster.pid").write_text("1\n")
    with EmbeddedRedis.start(scratch / "pg"):  # makes the directory a server's, with a password
        (scratch / "pg" / "data").symlink_to(elsewhere)

    with pytest.raises(EmbeddedServerFailed, match="must be no link"):
        EmbeddedPostgres.start(scratch / "pg")

    assert (elsewhere / "postmaster.pid").exists()


def ended_process(directory: ServerDirectory, *, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Start a server that ends at once, which raises EmbeddedServerFailed."""
    process = ServerProcess(name="Test", directory=directory, guard_signal="TERM")

    def is_ready() -> bool:
        meanwhile()
        return False

    try:
        process.launch(prepare=lambda: None, command=[str(PROGRAM), "-c", "echo started"], is_ready=is_ready)
    finally:
        process.end((signal.SIGTERM,))
