"""Tables of `sync.modules.commerce`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Index

from server.adapters.postgres.tables.base import UUID, TownRow, datetime, json, moment, whole


class Warehouse(TownRow, table=True):
    """A place where stock is kept."""

    __tablename__ = "warehouses"
    name: str


class StockLevel(TownRow, table=True):
    """How much of a product a warehouse has, and how much of it is promised."""

    __tablename__ = "stock_levels"
    warehouse_id: UUID
    product_id: UUID
    on_hand: int = whole()
    reserved: int = whole()


class StockMovement(TownRow, table=True):
    """One change of a stock level; never changed."""

    __tablename__ = "stock_movements"
    __table_args__ = (Index("stock_movements_listing_idx", "town_id", "received_at", "id"),)
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


class Order(TownRow, table=True):
    """An order on its three axes."""

    __tablename__ = "orders"
    __table_args__ = (Index("orders_listing_idx", "town_id", "placed_at", "id"),)
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


class Fulfilment(TownRow, table=True):
    """Picking and packing of an order."""

    __tablename__ = "fulfilments"
    order_id: UUID
    warehouse_id: UUID
    picker_id: UUID
    parcels: int = whole()
    state: str


class Dispatch(TownRow, table=True):
    """An order on a driver's tour."""

    __tablename__ = "dispatches"
    __table_args__ = (Index("dispatches_order_idx", "town_id", "order_id"),)
    order_id: UUID
    driver_id: UUID
    attempt: int = whole()
    cod_due_minor: int = whole()
    currency: str
    state: str
    note: str


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
