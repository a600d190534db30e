"""Tables of `sync.modules.casework`."""

from __future__ import annotations

from typing import Any

from server.adapters.postgres.tables.base import UUID, TownRow, datetime, json, moment, whole


class Conflict(TownRow, table=True):
    """A decision that a person may want to look at."""

    __tablename__ = "conflicts"
    kind: str
    rule: str
    sentence: str
    subject_entity: str
    subject_id: UUID
    device_id: UUID
    seq: int = whole()
    operation: str
    actor_id: UUID
    said: dict[str, Any] = json()
    had: dict[str, Any] = json()
    outcome: str
    state: str
    raised_at: datetime = moment()


class Task(TownRow, table=True):
    """What somebody has to do about a conflict."""

    __tablename__ = "tasks"
    conflict_id: UUID
    kind: str
    text: str
    subject_entity: str
    subject_id: UUID
    audience: str
    state: str
    raised_at: datetime = moment()


class Voided(TownRow, table=True):
    """An operation that did not take effect, by its id."""

    __tablename__ = "voided"
    device_id: UUID
    seq: int = whole()
