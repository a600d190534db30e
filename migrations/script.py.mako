"""${message}.

Expand first, contract in a later release: code of the version before must run on this schema.
"""

from __future__ import annotations

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Forward."""
    ${upgrades if upgrades else "op.execute(\"\")"}
