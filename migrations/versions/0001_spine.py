"""The spine: every table of version 1, roles, row-level security, append-only triggers."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Forward; there is nothing before it to go back to."""
    # The driver's own call: the file is a script with many statements and literal percent signs and colons.
    op.get_bind().connection.cursor().execute(Path(__file__).with_suffix(".sql").read_bytes())
