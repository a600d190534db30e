"""Bringing a database to the schema that this code needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy import create_engine, pool
from sqlalchemy.exc import OperationalError

from server.adapters.postgres.revision import migrations_folder
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
    config.set_main_option("script_location", str(migrations_folder()))
    return config


def _for_sqlalchemy(database_url: str) -> str:
    return "postgresql+psycopg://" + database_url.split("://", 1)[1]
