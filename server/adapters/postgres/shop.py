"""What customers see of a town: its price list with what is there, by keyset.

Each transaction sees the one town that is asked for and each statement names it; only the list of towns that sell is
over all of them, and it has their names and currencies and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, town_transaction
from server.adapters.postgres.outbox import SEE_ALL_TOWNS
from server.application.ports import TownUnknown
from server.application.shop_ports import Offer, OffersWanted, OpenTown

# A town whose settings were written before there was this one sells.
_SELLS = "coalesce((settings->>'sells_online')::boolean, true)"

_TOWNS = f"""
SELECT id, name, currency FROM towns
WHERE {_SELLS} AND (%(name)s::text IS NULL OR (name, id) > (%(name)s, %(id)s::uuid))
ORDER BY name, id LIMIT %(rows_max)s
"""

_TOWN = f"SELECT id, name, currency FROM towns WHERE town_id = %s AND id = town_id AND {_SELLS}"

# The most that one warehouse can send: an order is sent from one.
_OFFERS = """
SELECT p.id, p.sku, p.name, p.unit, t.price_minor, t.currency, greatest(0, coalesce(s.free, 0))
FROM town_products AS t
JOIN products AS p ON p.town_id = t.town_id AND p.id = t.product_id
CROSS JOIN LATERAL (
    SELECT max(l.on_hand - l.reserved) AS free FROM stock_levels AS l
    WHERE l.town_id = t.town_id AND l.product_id = p.id
) AS s
WHERE t.town_id = %s AND t.is_enabled
"""

_FREE = """
SELECT w.id, l.product_id, greatest(0, l.on_hand - l.reserved)
FROM warehouses AS w LEFT JOIN stock_levels AS l
  ON l.town_id = w.town_id AND l.warehouse_id = w.id AND l.product_id = ANY(%s::uuid[])
WHERE w.town_id = %s ORDER BY w.name, w.id
"""

_ORDERS = {"name": ("p.name", "text"), "sku": ("p.sku", "text"), "price": ("t.price_minor", "bigint")}
_CONDITIONS = {
    "search": "(strpos(lower(p.name), lower(%s)) > 0 OR strpos(lower(p.sku), lower(%s)) > 0)",
    "sku": "p.sku = %s",
    "is_available": "(coalesce(s.free, 0) > 0) = %s",
    "products": "p.id = ANY(%s::uuid[])",
}


class PostgresShop:
    """The `Shop` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def towns(self, after: tuple[str, str] | None, rows_max: int) -> Sequence[OpenTown]:
        """Over all towns, in one statement."""
        name, town_id = after or (None, None)
        async with town_transaction(self._pool, snapshot=True) as connection:
            await connection.execute(SEE_ALL_TOWNS)
            cursor = await connection.execute(_TOWNS.encode(), {"name": name, "id": town_id, "rows_max": rows_max})
            return [OpenTown(id=town, name=name, currency=currency) async for town, name, currency in cursor]

    @asynccontextmanager
    async def reading(self, town_id: str) -> AsyncIterator[PostgresShopReader]:
        """One snapshot of one town."""
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            found = await (await connection.execute(_TOWN.encode(), [town_id])).fetchone()
            if found is None:
                raise TownUnknown
            yield PostgresShopReader(connection, OpenTown(id=found[0], name=found[1], currency=found[2]))


class PostgresShopReader:
    """A town's shop as it stood when the transaction began."""

    def __init__(self, connection: Connection, town: OpenTown) -> None:
        self._connection = connection
        self.town = town

    async def offers(self, wanted: OffersWanted) -> Sequence[Offer]:
        """The offers of a page, in order."""
        statement, values = _page(wanted)
        cursor = await self._connection.execute(statement.encode(), [self.town.id, *values])
        return [
            Offer(
                product_id=product_id,
                sku=sku,
                name=name,
                unit=unit,
                price_minor=price_minor,
                currency=currency,
                available=available,
            )
            async for product_id, sku, name, unit, price_minor, currency, available in cursor
        ]

    async def free_stock(self, products: Collection[str]) -> Mapping[str, Mapping[str, int]]:
        """Every warehouse, also one that has none of them."""
        free: dict[str, dict[str, int]] = {}
        async for warehouse, product, count in await self._connection.execute(_FREE, [list(products), self.town.id]):
            shelf = free.setdefault(warehouse, {})
            if product is not None:
                shelf[product] = count
        return free


def _page(wanted: OffersWanted) -> tuple[str, list[Any]]:
    parts, values = [_OFFERS], []
    for name, condition in _CONDITIONS.items():
        value = getattr(wanted, name)
        if value is not None:
            parts.append(condition)
            values += [list(value) if name == "products" else value] * condition.count("%s")
    (column, kind), (way, beyond) = _ORDERS[wanted.order], ("DESC", "<") if wanted.is_descending else ("ASC", ">")
    if wanted.after is not None:
        parts.append(f"({column}, p.id) {beyond} (%s::{kind}, %s::uuid)")
        values += wanted.after
    return f"{' AND '.join(parts)} ORDER BY {column} {way}, p.id {way} LIMIT %s", [*values, wanted.rows_max]
