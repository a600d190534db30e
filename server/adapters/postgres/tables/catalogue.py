"""Tables of `sync.modules.catalogue`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index
from sqlmodel import Field

from server.adapters.postgres.tables.base import UUID, TownRow, datetime, moment, whole


class Product(TownRow, table=True):
    """A product, the same id in every town."""

    __tablename__ = "products"
    __table_args__ = (Index("products_listing_idx", "town_id", "name", "id"),)
    sku: str
    name: str
    unit: str


class TownProduct(TownRow, table=True):
    """The price list of the town."""

    __tablename__ = "town_products"
    __table_args__ = (Index("town_products_product_idx", "town_id", "product_id", "id"),)
    product_id: UUID
    price_minor: int = whole()
    currency: str
    is_enabled: bool
    changed_at: datetime | None = moment(nullable=True)
    changed_version: int | None = Field(sa_type=BigInteger)
