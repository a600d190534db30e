"""A device's boxes with the same end are kept beside each other."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Forward; the code of the version before runs on it too."""
    # The driver's own call: the file is a script with many statements and literal percent signs and colons.
    op.get_bind().connection.cursor().execute(Path(__file__).with_suffix(".sql").read_bytes())
