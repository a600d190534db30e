"""Real servers for tests: directories that every account can reach, and databases of one's own."""

from __future__ import annotations

import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from server.adapters.postgres.migrate import migrate
from server.embedded import EmbeddedPostgres


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """An empty directory, removed at the end; `tmp_path` is closed to the account that root runs servers as."""
    path = Path(tempfile.mkdtemp(prefix="tallystick-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def empty_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a new database, dropped at the end with whatever is still connected to it."""
    with database_from(postgres, "template1") as url:
        yield url


@contextmanager
def database_template(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The name of a migrated database to which nobody is connected, so that it can be copied."""
    with empty_database(postgres) as url:
        migrate(url)
        yield url.rpartition("/")[2]


@contextmanager
def database_from(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """The URL of a copy of the database `template`, dropped at the end with whatever is still connected to it."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        connection.execute(f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")  # a copy does not have the grants
    try:
        yield postgres.url_for(name)
    finally:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def take_and_hang_up(server: socket.socket) -> None:
    """Wait for a caller of a server that never says anything, and end the call."""
    caller, _ = server.accept()
    caller.close()


def tamper(url: str, *statements: str) -> None:
    """Run the statements as somebody whom nothing in the database stops."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET search_path = tallystick")
        for statement in statements:
            assert connection.execute(statement.encode()).rowcount != 0, f"nothing was changed by {statement}"
