"""Tables of `sync.modules.identity`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from server.adapters.postgres.tables.base import UUID, TownRow, datetime, json, moment


class Town(TownRow, table=True):
    """The town's name, currency and settings."""

    __tablename__ = "towns"
    name: str
    currency: str
    time_zone: str
    settings: dict[str, Any] = json()


class User(TownRow, table=True):
    """A person who works in the town."""

    __tablename__ = "users"
    name: str
    login: str
    roles: list[str] = json()
    is_active: bool
    has_pin: bool
    former_roles: list[str] = Field(sa_type=JSONB, sa_column_kwargs={"server_default": text("'[]'::jsonb")})
    school_id: UUID | None


class Pin(TownRow, table=True):
    """The hash of a user's PIN, for the devices that the user works on."""

    __tablename__ = "pins"
    user_id: UUID
    roles: list[str] = json()
    hash: str


class Device(TownRow, table=True):
    """An enrolled device, and the town's own server device."""

    __tablename__ = "devices"
    name: str
    role: str
    user_id: UUID | None
    warehouse_id: UUID | None
    public_key: str
    certificate: str
    status: str
    enrolled_at: datetime = moment()
    ended_at: datetime | None = moment(nullable=True)
    lost_at: datetime | None = moment(nullable=True)
    reason: str | None
    school_id: UUID | None
