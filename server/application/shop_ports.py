"""The Protocol behind the doors for customers: which towns sell, what, and how much of it is there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenTown:
    """A town that sells to customers."""

    id: str
    name: str
    currency: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A product that the town sells; `available` is the most that one of its warehouses can send now."""

    product_id: str
    sku: str
    name: str
    unit: str
    price_minor: int
    currency: str
    available: int


@dataclass(frozen=True, kw_only=True, slots=True)
class OffersWanted:
    """A page of offers in an order and then by id, beyond `after`; `search` is a part of the name or of the sku."""

    search: str | None = None
    sku: str | None = None
    is_available: bool | None = None
    products: Collection[str] | None = None
    order: Literal["name", "sku", "price"] = "name"
    is_descending: bool = False
    after: tuple[Any, str] | None = None
    rows_max: int


class ShopReader(Protocol):
    """One snapshot of a town that sells, for customers."""

    @property
    def town(self) -> OpenTown: ...

    async def offers(self, wanted: OffersWanted) -> Sequence[Offer]: ...

    async def free_stock(self, products: Collection[str]) -> Mapping[str, Mapping[str, int]]:
        """What each warehouse can promise of these products, by warehouse id, in the order of their names."""
        ...


class Shop(Protocol):
    """What anybody may see."""

    async def towns(self, after: tuple[str, str] | None, rows_max: int) -> Sequence[OpenTown]:
        """Towns that sell, by name and then id, beyond a (name, id)."""
        ...

    def reading(self, town_id: str) -> AbstractAsyncContextManager[ShopReader]:
        """A snapshot; raises `TownUnknown` for a town that is not there or does not sell to customers."""
        ...
