"""Bringing a database to the schema that this code needs, and asking whether it is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from psycopg import AsyncConnection
from sqlalchemy import create_engine, pool
from sqlalchemy.exc import OperationalError

from server.application.ports import Unavailable
from sync.kernel.errors import Malformed


class RevisionUnknown(Malformed):
    """There is no such revision of the schema."""

    code: ClassVar[str] = "revision_unknown"


def migrate(database_url: str, revision: str = "head") -> str:
    """Run the migrations up to `revision`, one process at a time; returns the revision that is there now.

    `database_url` must be allowed to create roles and a schema; the application itself is not. Raises `Unavailable`
    when there is no connection, and `RevisionUnknown`.
    """
    engine = create_engine(_for_sqlalchemy(database_url), poolclass=pool.NullPool)
    with _translated(), engine.begin() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('tallystick.migrate'))")
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        there = MigrationContext.configure(connection, opts={"version_table_schema": "tallystick_meta"})
        return there.get_current_revision() or "nothing"


def newest_revision() -> str:
    """The revision that this code needs."""
    return ScriptDirectory.from_config(_config()).get_current_head() or "nothing"


async def current_revision(connection: AsyncConnection[Any]) -> str:
    """The revision that the database is at; readable by the application's role."""
    cursor = await connection.execute("SELECT version_num FROM tallystick_meta.alembic_version")
    row = await cursor.fetchone()
    return str(row[0]) if row else "nothing"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except CommandError as fault:
        raise RevisionUnknown(str(fault)) from fault
    except OperationalError as fault:
        raise Unavailable from fault.orig


def _config() -> Config:
    config = Config()
    found = find_spec("migrations")  # by name: migrations import the tables, nothing here may import them back
    assert found is not None
    assert found.origin is not None
    config.set_main_option("script_location", str(Path(found.origin).parent))
    return config


def _for_sqlalchemy(database_url: str) -> str:
    return "postgresql+psycopg://" + database_url.split("://", 1)[1]
