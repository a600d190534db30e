"""What all tables share: the schema, the key led by the town, and short names for the column types."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, MetaData
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlmodel import Field, SQLModel

SCHEMA = "tallystick"

metadata: MetaData = SQLModel.metadata
metadata.schema = SCHEMA
metadata.naming_convention = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_name)s_fkey",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
}


class TownRow(SQLModel):
    """An aggregate of a town; `version` is the town version of its last change."""

    town_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    version: int = Field(sa_type=BigInteger)


def whole() -> Any:
    """A 64-bit integer."""
    return Field(sa_type=BigInteger)


def json() -> Any:
    """A JSON value."""
    return Field(sa_type=JSONB)


def moment(*, nullable: bool = False) -> Any:
    """A time in UTC, to the millisecond."""
    return Field(sa_type=TIMESTAMP(timezone=True, precision=3), nullable=nullable)


__all__ = ["SCHEMA", "UUID", "TownRow", "datetime", "json", "metadata", "moment", "whole"]
