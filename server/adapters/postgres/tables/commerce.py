"""Tables of `sync.modules.commerce`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Index, text
from sqlmodel import Field

from server.adapters.postgres.tables.base import UUID, TownRow, datetime, json, moment, whole


class Warehouse(TownRow, table=True):
    """A place where stock is kept."""

    __tablename__ = "warehouses"
    name: str


class StockLevel(TownRow, table=True):
    """How much of a product a warehouse has, and how much of it is promised."""

    __tablename__ = "stock_levels"
    __table_args__ = (Index("stock_levels_product_idx", "town_id", "product_id"),)
    warehouse_id: UUID
    product_id: UUID
    on_hand: int = whole()
    reserved: int = whole()
    moves: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": "0"})
    count_id: UUID | None


class StockCount(TownRow, table=True):
    """What somebody saw of a product on a shelf, and what became of it."""

    __tablename__ = "stock_counts"
    __table_args__ = (Index("stock_counts_listing_idx", "town_id", "received_at", "id"),)
    warehouse_id: UUID
    product_id: UUID
    counted: int = whole()
    expected: int | None = Field(sa_type=BigInteger)
    correction: int = whole()
    state: str
    rival_id: UUID | None
    moves: int = whole()
    counted_by: UUID
    device_id: UUID
    seq: int = whole()
    booked_version: int = whole()
    after_version: int = whole()
    earliest: datetime = moment()
    latest: datetime = moment()
    claimed_at: datetime = moment()
    received_at: datetime = moment()


class StockQuota(TownRow, table=True):
    """What a device may sell of a product by itself."""

    __tablename__ = "stock_quotas"
    __table_args__ = (Index("stock_quotas_holder_idx", "town_id", "holder_id", "id"),)
    holder_id: UUID
    warehouse_id: UUID
    product_id: UUID
    granted: int = whole()
    used: int = whole()
    returned: int = whole()
    expires_at: datetime = moment()
    state: str


class StockMovement(TownRow, table=True):
    """One change of a stock level; never changed."""

    __tablename__ = "stock_movements"
    __table_args__ = (
        Index("stock_movements_listing_idx", "town_id", "received_at", "id"),
        Index("stock_movements_product_idx", "town_id", "product_id", "received_at", "id"),
        Index("stock_movements_order_idx", "town_id", "order_id"),
    )
    warehouse_id: UUID
    product_id: UUID
    on_hand_delta: int = whole()
    reserved_delta: int = whole()
    reason: str
    order_id: UUID | None
    device_id: UUID
    seq: int = whole()
    claimed_at: datetime = moment()
    received_at: datetime = moment()
    count_id: UUID | None
    booked_version: int | None = Field(sa_type=BigInteger)
    after_version: int | None = Field(sa_type=BigInteger)
    earliest: datetime | None = moment(nullable=True)
    latest: datetime | None = moment(nullable=True)


_CLOSED = (
    "archived_at IS NULL AND (custody IN ('customer', 'returned') "
    "OR (commercial = 'cancelled' AND custody = 'warehouse'))"
)
_UNPAID = (
    "commercial = 'active' AND custody = 'warehouse' AND payment_method IN ('momo', 'card') AND payment = 'unpaid'"
)


class Order(TownRow, table=True):
    """An order on its three axes."""

    __tablename__ = "orders"
    __table_args__ = (
        Index("orders_listing_idx", "town_id", "placed_at", "id"),
        Index("orders_closed_idx", "town_id", "version", postgresql_where=text(_CLOSED)),
        Index("orders_unpaid_idx", "town_id", postgresql_where=text(_UNPAID)),
        Index("orders_undelivered_idx", "town_id", postgresql_where=text("custody = 'undelivered'")),
    )
    number: str
    warehouse_id: UUID
    customer_name: str
    phone: str
    address: str
    lines: list[dict[str, Any]] = json()
    currency: str
    total_minor: int = whole()
    paid_minor: int = whole()
    credit_minor: int = whole()
    payment_method: str
    commercial: str
    custody: str
    payment: str
    status: str
    driver_id: UUID | None
    dispatch_id: UUID | None
    attempts: int = whole()
    placed_at: datetime = moment()
    delivered_at: datetime | None = moment(nullable=True)
    archived_at: datetime | None = moment(nullable=True)


class Fulfilment(TownRow, table=True):
    """Picking and packing of an order."""

    __tablename__ = "fulfilments"
    __table_args__ = (Index("fulfilments_order_idx", "town_id", "order_id", "id"),)
    order_id: UUID
    warehouse_id: UUID
    picker_id: UUID
    parcels: int = whole()
    state: str
    archived_at: datetime | None = moment(nullable=True)


class Dispatch(TownRow, table=True):
    """An order on a driver's tour."""

    __tablename__ = "dispatches"
    __table_args__ = (
        Index("dispatches_order_idx", "town_id", "order_id"),
        Index("dispatches_driver_idx", "town_id", "driver_id", "id"),
    )
    order_id: UUID
    driver_id: UUID
    attempt: int = whole()
    cod_due_minor: int = whole()
    currency: str
    state: str
    note: str
    archived_at: datetime | None = moment(nullable=True)


class OrderStatusEvent(TownRow, table=True):
    """One step of an order; never changed."""

    __tablename__ = "order_status_events"
    __table_args__ = (Index("order_status_events_order_idx", "town_id", "order_id"),)
    order_id: UUID
    from_status: str | None
    to_status: str
    from_custody: str | None
    to_custody: str
    is_implied: bool
    actor_id: UUID
    device_id: UUID
    claimed_at: datetime = moment()
    received_at: datetime = moment()
    note: str
