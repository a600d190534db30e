"""Which schema this code needs, and which one a database has; without Alembic, which serving does not need."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection


def newest_revision() -> str:
    """The revision that this code needs: migrations are numbered, and so are their files."""
    return max(path.name[:4] for path in (migrations_folder() / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


async def current_revision(connection: AsyncConnection[Any]) -> str:
    """The revision that the database is at; readable by the application's role."""
    cursor = await connection.execute("SELECT version_num FROM tallystick_meta.alembic_version")
    row = await cursor.fetchone()
    return str(row[0]) if row else "nothing"


def migrations_folder() -> Path:
    """Where the migrations are; found by name, since they import the tables and nothing here may import them back."""
    found = find_spec("migrations")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent
