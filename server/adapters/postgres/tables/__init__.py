"""Every table of the schema `tallystick`, one file per module; a test holds them against the entities' declarations.

Every key leads with `town_id`, so that a town can be one shard. What has no town is listed in `evidence.GLOBAL_TABLES`.
"""

from __future__ import annotations

from sqlalchemy import Text
from sqlmodel import AutoString

from server.adapters.postgres.tables import (
    billing,
    casework,
    catalogue,
    commerce,
    evidence,
    histories,
    identity,
    live,
    papers,
    people,
    schools,
)
from server.adapters.postgres.tables.base import SCHEMA, TownRow, metadata

for _table in metadata.tables.values():
    for _column in _table.columns:
        if isinstance(_column.type, AutoString):  # SQLModel says varchar for str, the schema text
            _column.type = Text()

__all__ = [
    "SCHEMA",
    "TownRow",
    "billing",
    "casework",
    "catalogue",
    "commerce",
    "evidence",
    "histories",
    "identity",
    "live",
    "metadata",
    "papers",
    "people",
    "schools",
]
