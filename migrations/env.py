"""How Alembic runs: one connection handed in by `server.adapters.postgres.migrate`, bounded waits, one transaction."""

from __future__ import annotations

from alembic import context

from server.adapters.postgres.tables import SCHEMA, metadata

LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "10min"

VERSION_SCHEMA = "tallystick_meta"
"""Where the revision is kept: apart from the towns' tables, each of which is fenced by row-level security."""

connection = context.config.attributes["connection"]
connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {VERSION_SCHEMA}")
context.configure(
    connection=connection,
    target_metadata=metadata,
    include_schemas=True,
    include_name=lambda name, kind, _parents: kind != "schema" or name == SCHEMA,
    compare_type=True,
    version_table_schema=VERSION_SCHEMA,
    transaction_per_migration=True,
)
with context.begin_transaction():
    connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
    context.run_migrations()
