"""How Alembic runs: one connection handed in by `server.adapters.postgres.migrate`, bounded waits, one transaction."""

from __future__ import annotations

from alembic import context

from server.adapters.postgres.tables import SCHEMA, metadata

LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "10min"

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    include_schemas=True,
    include_name=lambda name, kind, _parents: kind != "schema" or name == SCHEMA,
    compare_type=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
    context.run_migrations()
