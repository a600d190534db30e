"""Tables of `sync.modules.billing`."""

from __future__ import annotations

from sqlalchemy import Index

from server.adapters.postgres.tables.base import UUID, TownRow, datetime, moment, whole


class Payment(TownRow, table=True):
    """Money that was taken; never changed."""

    __tablename__ = "payments"
    __table_args__ = (Index("payments_order_idx", "town_id", "order_id"),)
    order_id: UUID
    method: str
    amount_minor: int = whole()
    currency: str
    taken_by: UUID
    device_id: UUID
    taken_at: datetime = moment()
    status: str
