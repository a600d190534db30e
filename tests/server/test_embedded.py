"""The embedded servers: what they promise about data, passwords, left-overs and never staying behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from server import supervised
from server.embedded import EmbeddedPostgres, EmbeddedRedis
from server.supervised import (
    EmbeddedServerBusy,
    EmbeddedServerFailed,
    EmbeddedServerUnreachable,
    ServerDirectory,
)
from tests.support.stack import scratch_directory

DIES_AT_ONCE = """
import json, os, pathlib, signal, sys
from server.embedded import EmbeddedPostgres, EmbeddedRedis
directory = pathlib.Path(sys.argv[1])
postgres, redis = EmbeddedPostgres.start(directory / "postgres"), EmbeddedRedis.start(directory / "redis")
print(json.dumps({"postgres": postgres.port, "redis": redis.port}), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def scratch() -> Iterator[Path]:
    with scratch_directory() as directory:
        yield directory


def write_a_row(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (id int PRIMARY KEY)")
        connection.execute("INSERT INTO kept VALUES (1)")


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    """One with the settings of the product, which the one that all tests share has not."""
    with scratch_directory() as directory, EmbeddedPostgres.start(directory / "postgres") as server:
        yield server


def rows_of(server: EmbeddedPostgres) -> list[tuple[int, ...]]:
    with psycopg.connect(server.url) as connection:
        return connection.execute("SELECT id FROM kept").fetchall()


def test_postgresql_18_runs_durably_on_loopback_only_in_utf_8_and_c_order(postgres: EmbeddedPostgres) -> None:
    names = ["fsync", "listen_addresses", "unix_socket_directories", "server_encoding", "wal_level", "data_checksums"]
    with psycopg.connect(postgres.url) as connection:
        version = connection.info.server_version // 10_000
        shown = [connection.execute(f"SHOW {name}").fetchone() for name in names]
        collation = connection.execute("SELECT datcollate FROM pg_database WHERE datname = 'tallystick'").fetchone()
    assert version == 18
    assert shown == [("on",), ("127.0.0.1",), ("",), ("UTF8",), ("replica",), ("on",)]
    assert collation == ("C",)


def test_a_wrong_password_is_refused(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.url, password="guess")


def test_the_password_and_the_log_are_for_the_account_of_the_server_only(postgres: EmbeddedPostgres) -> None:
    password = postgres.log_path.with_name("password")
    assert [path.stat().st_mode & 0o777 for path in (password, postgres.log_path, password.parent)] == [
        *(0o600, 0o600, 0o700),
    ]


def test_committed_rows_survive_an_immediate_stop(scratch: Path) -> None:
    with EmbeddedPostgres.start(scratch / "pg") as server:
        write_a_row(server)
        server.stop("immediate")
        server.restart()
        assert rows_of(server) == [(1,)]
        assert "automatic recovery in progress" in server.log_path.read_text()


def test_committed_rows_survive_a_killed_postmaster(scratch: Path) -> None:
    with EmbeddedPostgres.start(scratch / "pg") as server:
        write_a_row(server)
        os.kill(server.pid, signal.SIGKILL)
        server.restart()
        assert rows_of(server) == [(1,)]


def test_a_later_start_serves_the_same_data_with_the_same_password(scratch: Path) -> None:
    with EmbeddedPostgres.start(scratch / "pg") as first:
        write_a_row(first)
    with EmbeddedPostgres.start(scratch / "pg", port=first.port) as second:
        assert second.url == first.url
        assert rows_of(second) == [(1,)]


def test_a_restart_keeps_the_url(scratch: Path) -> None:
    with EmbeddedPostgres.start(scratch / "pg") as server:
        url, pid = server.url, server.pid
        server.restart()
        assert server.url == url
        assert server.pid != pid


def test_a_stale_pid_file_that_names_a_living_process_of_the_same_account_does_not_hinder(
    scratch: Path, redis_server: EmbeddedRedis
) -> None:
    with EmbeddedPostgres.start(scratch / "pg") as server:
        write_a_row(server)
        server.stop()
        stale = f"{redis_server.pid}\n{scratch}/pg/data\n1700000000\n{server.port}\n\n127.0.0.1\n0 0\nready\n"
        (scratch / "pg" / "data" / "postmaster.pid").write_text(stale)
        server.restart()
        assert rows_of(server) == [(1,)]


def test_an_initialisation_cut_short_is_begun_again(scratch: Path) -> None:
    unfinished = scratch / "pg" / "data.unfinished"
    with EmbeddedRedis.start(scratch / "pg"):  # makes the directory a server's
        unfinished.mkdir()
        (unfinished / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres.start(scratch / "pg") as server:
        write_a_row(server)
    assert not unfinished.exists()


def test_two_servers_never_run_on_one_data_directory(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "LOCK_SECONDS_MAX", 0.1)
    with EmbeddedPostgres.start(scratch / "pg") as server:
        write_a_row(server)
        with pytest.raises(EmbeddedServerBusy, match="another PostgreSQL runs on"):
            EmbeddedPostgres.start(scratch / "pg")
        assert rows_of(server) == [(1,)]


def test_no_server_outlives_a_killed_starter(scratch: Path) -> None:
    command = [sys.executable, "-c", DIES_AT_ONCE, str(scratch)]
    starter = subprocess.run(
        command, check=False, capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert starter.returncode == -signal.SIGKILL, starter.stderr
    ports = json.loads(starter.stdout)
    # Each start waits for the lock, which is free only when every process of the server before has ended.
    with (
        EmbeddedPostgres.start(scratch / "postgres", port=ports["postgres"]) as server,
        EmbeddedRedis.start(scratch / "redis", port=ports["redis"]),
    ):
        assert "received fast shutdown request" in server.log_path.read_text()


def test_a_stopped_server_can_be_stopped_again_and_has_no_pid(scratch: Path) -> None:
    server = EmbeddedRedis.start(scratch / "redis")
    server.stop()
    server.stop()
    with pytest.raises(EmbeddedServerFailed, match="Redis is not running"):
        _ = server.pid


def test_a_failed_start_tells_the_last_lines_of_the_log(scratch: Path) -> None:
    with EmbeddedPostgres.start(scratch / "pg") as server:
        server.stop()
        (scratch / "pg" / "data" / "postgresql.conf").write_text("planted = 1\n")
        with pytest.raises(EmbeddedServerFailed, match='unrecognized configuration parameter "planted"'):
            server.restart()


def test_a_port_in_use_is_refused_and_the_data_directory_stays_free(scratch: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        with pytest.raises(EmbeddedServerFailed, match="Address already in use"):
            EmbeddedRedis.start(scratch / "redis", port=taken.getsockname()[1])
        with EmbeddedRedis.start(scratch / "redis") as server:
            assert redis_answer(server, "PING") is True


def test_data_whose_password_file_is_gone_is_not_touched(scratch: Path) -> None:
    with EmbeddedPostgres.start(scratch / "pg") as server:
        server.stop()
        (scratch / "pg" / "password").unlink()
        with pytest.raises(EmbeddedServerFailed, match="put it back"):
            server.restart()


def test_a_directory_with_other_things_in_it_is_refused(scratch: Path) -> None:
    (scratch / "letter.txt").write_text("dear town")
    with pytest.raises(EmbeddedServerFailed, match="neither empty nor a server's"):
        EmbeddedPostgres.start(scratch)


def test_a_closed_parent_directory_is_named(scratch: Path) -> None:
    closed = scratch / "closed"
    (closed / "pg").mkdir(parents=True)
    closed.chmod(0o700)
    stranger = os.geteuid() + 12_345
    directory = ServerDirectory(path=closed / "pg", user_id=stranger, group_id=stranger)
    with pytest.raises(EmbeddedServerUnreachable, match=f"may not pass through {closed} to {closed}/pg"):
        directory._require_way_to(directory.path)


def test_redis_never_evicts_and_never_writes_to_disk(redis_server: EmbeddedRedis) -> None:
    names = ["maxmemory-policy", "appendonly", "save", "bind"]
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        shown = [client.config_get(name)[name] for name in names]
    assert shown == ["noeviction", "no", "", "127.0.0.1"]


def test_redis_refuses_whoever_has_no_password(redis_server: EmbeddedRedis) -> None:
    with (
        redis.Redis(host="127.0.0.1", port=redis_server.port, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_redis_is_empty_after_a_crash_and_has_the_same_url(scratch: Path) -> None:
    with EmbeddedRedis.start(scratch / "redis") as server:
        url = server.url
        redis_answer(server, "SET", "hint", "1")
        server.restart("immediate")
        assert redis_answer(server, "GET", "hint") is None
        assert server.url == url


def test_a_fresh_database_is_empty(fresh_database: str) -> None:
    with psycopg.connect(fresh_database) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert tables == (0,)


def redis_answer(server: EmbeddedRedis, *command: str) -> object:
    with redis.Redis.from_url(server.url) as client:
        return client.execute_command(*command)
