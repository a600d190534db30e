"""Real servers for tests: directories that every account can reach, and databases of one's own."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

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
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield postgres.url_for(name)
    finally:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
