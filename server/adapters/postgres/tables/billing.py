"""Tables of `sync.modules.billing`."""

from __future__ import annotations

from server.adapters.postgres.tables.base import UUID, TownRow, datetime, moment, whole


class Payment(TownRow, table=True):
    """Money that was taken; never changed."""

    __tablename__ = "payments"
    order_id: UUID
    method: str
    amount_minor: int = whole()
    currency: str
    taken_by: UUID
    device_id: UUID
    taken_at: datetime = moment()
    status: str
