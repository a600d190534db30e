"""Bringing a database to the schema that this code needs, and asking whether it is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import AsyncConnection
from sqlalchemy import create_engine, pool

import migrations


def migrate(database_url: str, revision: str = "head") -> str:
    """Run the migrations up to `revision`, one process at a time; returns the revision that is there now.

    `database_url` must be allowed to create roles and a schema; the application itself is not.
    """
    engine = create_engine(_for_sqlalchemy(database_url), poolclass=pool.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('tallystick.migrate'))")
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        return MigrationContext.configure(connection).get_current_revision() or "nothing"


def newest_revision() -> str:
    """The revision that this code needs."""
    return ScriptDirectory.from_config(_config()).get_current_head() or "nothing"


async def current_revision(connection: AsyncConnection[Any]) -> str:
    """The revision that the database is at; readable by the application's role."""
    cursor = await connection.execute("SELECT version_num FROM tallystick_meta.alembic_version")
    row = await cursor.fetchone()
    return str(row[0]) if row else "nothing"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config


def _for_sqlalchemy(database_url: str) -> str:
    return "postgresql+psycopg://" + database_url.split("://", 1)[1]
