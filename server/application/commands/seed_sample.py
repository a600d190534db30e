"""Fill towns with real trade: a town for each country of a retail file, with people, products, prices and stock.

Idempotent: a town is known by its name, everything in it by ids that are derived from names, and what is there is left
as it is, so that a second run, or one after a crash, only adds what is missing. Opening stock is what a product's first
movement is; it covers the orders that are placed and a part of the rest, so that shortages come up as in life.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import orjson

from server.application.commands.apply_change_sets import Appliers
from server.application.commands.found_town import found_town
from server.application.ports import Signer, System, Towns
from server.application.retail import Country, read_countries, source_files
from server.domain.devices import server_device_id
from sync.engine.feed import Stored
from sync.kernel.changeset import Operation, RowKey, Status
from sync.kernel.errors import TallystickError
from sync.kernel.ids import derived_id
from sync.kernel.money import to_amount
from sync.kernel.pins import SALT_BYTES, hash_pin
from sync.modules.catalogue import DefineProduct, OfferProduct, product_id, town_product_id
from sync.modules.commerce.entities import stock_level_id
from sync.modules.commerce.operations import LINES_MAX, OpenWarehouse, OrderLine, PlaceOrder, ReceiveStock
from sync.modules.identity import AddUser

SAMPLE_FILE = Path(__file__).parents[2] / "sample" / "online_retail_sample.csv"
CURRENCY = "GBP"
"""All prices of the file are in pounds, whatever the country."""

TIME_ZONES = {"United Kingdom": "Europe/London", "EIRE": "Europe/Dublin", "Germany": "Europe/Berlin"}
WAREHOUSE_NAME = "Main warehouse"
PIN = "2580"
"""The PIN of everybody in the sample; it guards nothing but a demonstration."""

STOCKED_PERCENT = 70
PIECES_MAX = 1_000_000
OPERATIONS_MAX = 100
STAFF: tuple[tuple[str, str], ...] = (
    ("admin", "Morgan"),
    ("dispatcher", "Robin"),
    ("warehouse_staff", "Alex"),
    ("driver", "Sam"),
    ("driver", "Jo"),
)
FAMILY_NAMES = ("Kelly", "Quayle", "Corlett", "Christian", "Moore", "Cain", "Teare", "Kneale", "Faragher", "Watterson")

NO_STOCK = "invoices that ask for more than is in stock"
TOO_LONG = "invoices of more products than an order may have lines"

Progress = Callable[[str, int, int], None]


class SeedRefused(TallystickError):
    """The rules refuse a part of the sample."""

    code: ClassVar[str] = "seed_refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class SeededTown:
    """One town of the sample, and how many rows of which kind this run has added to it."""

    town_id: str
    name: str
    warehouse_id: str
    admin_id: str
    user_ids: Mapping[str, str]
    added: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Seeded:
    """What a run came to: its towns, and what of the file was left out for which reason."""

    towns: tuple[SeededTown, ...]
    skipped: Mapping[str, int]


async def seed_sample(
    source: Path = SAMPLE_FILE,
    *,
    towns: Towns,
    appliers: Appliers,
    signer: Signer,
    system: System,
    towns_max: int | None = None,
    invoices_max: int = 0,
    progress: Progress = lambda _town, _done, _all: None,
) -> Seeded:
    """Seed the `towns_max` countries with most lines, `invoices_max` orders each; `source` is a CSV file or a folder.

    `progress` is told the town, the operations done and those in all, before each change set. Raises
    `SourceUnreadable`, `SeedRefused` and what the store raises.
    """
    countries, skipped = read_countries(source_files(source))
    seeded = []
    for country in countries[:towns_max]:
        seeder = _Seeder(towns=towns, appliers=appliers, signer=signer, system=system, progress=progress)
        seeded.append(await seeder.seed(country, invoices_max, skipped))
    return Seeded(towns=tuple(seeded), skipped=dict(skipped))


class _Seeder:
    """One town in the making."""

    def __init__(self, *, towns: Towns, appliers: Appliers, signer: Signer, system: System, progress: Progress) -> None:
        self._towns = towns
        self._appliers = appliers
        self._signer = signer
        self._system = system
        self._progress = progress
        self._town_id = ""
        self._added: Counter[str] = Counter()

    async def seed(self, country: Country, invoices_max: int, skipped: Counter[str]) -> SeededTown:
        self._town_id = await self._town(country.name)
        warehouse = derived_id("sample warehouse", self._town_id)
        people = self._people(country.name)
        numbers = list(islice(country.invoices, invoices_max))
        fitting = [number for number in numbers if len(country.invoices[number]) <= LINES_MAX]
        skipped.update([TOO_LONG] * (len(numbers) - len(fitting)))
        setting_up = [
            (("warehouse", warehouse), OpenWarehouse(id=warehouse, name=WAREHOUSE_NAME)),
            *((("user", user.id), user) for user in people.values()),
            *_catalogue(country),
        ]
        await self._add(country.name, setting_up)
        await self._add(country.name, _opening_stock(country, warehouse, fitting))
        orders = self._orders(country, warehouse, fitting)
        await self._place(country.name, orders, skipped)
        return SeededTown(
            town_id=self._town_id,
            name=country.name,
            warehouse_id=warehouse,
            admin_id=next(user.id for user in people.values() if "admin" in user.user_roles),
            user_ids={login: user.id for login, user in people.items()},
            added=dict(self._added),
        )

    async def _town(self, name: str) -> str:
        for town_id, found in await self._towns.list_towns():
            if found == name:
                return town_id
        self._added["town"] += 1
        return await found_town(
            name=name,
            currency=CURRENCY,
            time_zone=TIME_ZONES.get(name, "UTC"),
            appliers=self._appliers,
            signer=self._signer,
            system=self._system,
        )

    def _people(self, town: str) -> dict[str, AddUser]:
        """By login; the family names differ from town to town, and stay the same from run to run."""
        start = hashlib.sha256(town.encode()).digest()[0]
        pin_hash = hash_pin(PIN, self._system.random(SALT_BYTES))
        people = {}
        for place, (role, first) in enumerate(STAFF):
            family = FAMILY_NAMES[(start + place) % len(FAMILY_NAMES)]
            login = f"{first}.{family}".lower()
            people[login] = AddUser.model_validate(
                {
                    "id": derived_id("sample user", self._town_id, login),
                    "name": f"{first} {family}",
                    "login": login,
                    "user_roles": [role],
                    "pin_hash": pin_hash,
                }
            )
        return people

    async def _add(self, town: str, wanted: Sequence[tuple[RowKey, Operation]]) -> None:
        """Author what makes the rows that are not there yet, in change sets of their own."""
        there = await self._rows(key for key, _ in wanted)
        missing = [(key, operation) for key, operation in wanted if there[key] is None]
        for start in range(0, len(missing), OPERATIONS_MAX):
            part = missing[start : start + OPERATIONS_MAX]
            self._progress(town, start, len(missing))
            await self._author([operation for _, operation in part])
            self._added.update(entity for (entity, _), _ in part)
        self._progress(town, len(missing), len(missing))

    def _orders(self, country: Country, warehouse: str, numbers: Iterable[str]) -> list[PlaceOrder]:
        return [
            PlaceOrder(
                id=derived_id("sample order", self._town_id, number),
                number=number,
                warehouse=warehouse,
                customer_name=f"Customer of invoice {number}",
                address=country.name,
                lines=[
                    OrderLine(
                        product=product_id(sale.sku),
                        quantity=sale.quantity,
                        price=to_amount(sale.price_pence, CURRENCY),
                    )
                    for sale in country.invoices[number]
                ],
            )
            for number in numbers
        ]

    async def _place(self, town: str, orders: Sequence[PlaceOrder], skipped: Counter[str]) -> None:
        """An order that the stock does not cover would be refused anew by every run, so it is not asked for."""
        there = await self._rows(("order", order.id) for order in orders)
        levels = await self._rows(
            ("stock_level", stock_level_id(order.warehouse, line.product)) for order in orders for line in order.lines
        )
        free = {key[1]: s.fields["on_hand"] - s.fields["reserved"] if s else 0 for key, s in levels.items()}
        fitting: list[tuple[RowKey, Operation]] = []
        for order in orders:
            if there["order", order.id] is not None:
                continue
            asked = {stock_level_id(order.warehouse, line.product): line.quantity for line in order.lines}
            if any(free[level] < quantity for level, quantity in asked.items()):
                skipped[NO_STOCK] += 1
                continue
            for level, quantity in asked.items():
                free[level] -= quantity
            fitting.append((("order", order.id), order))
        for done, (key, order_operation) in enumerate(fitting):
            self._progress(town, done, len(fitting))
            await self._author([order_operation])
            self._added[key[0]] += 1

    async def _rows(self, keys: Iterable[RowKey]) -> Mapping[RowKey, Stored | None]:
        wanted = list(dict.fromkeys(keys))
        async with self._towns.reading(self._town_id) as reader:
            return await reader.load(wanted)

    async def _author(self, operations: Sequence[Operation]) -> None:
        line = await self._appliers.author(self._town_id, server_device_id(self._town_id), operations)
        verdict: dict[str, Any] = orjson.loads(line)
        if verdict["status"] != Status.ACCEPTED:
            raise SeedRefused(" ".join(note["text"] for note in verdict.get("notes", ())) or None)


def _catalogue(country: Country) -> list[tuple[RowKey, Operation]]:
    made: list[tuple[RowKey, Operation]] = []
    for product in country.products.values():
        key = product_id(product.sku)
        made.append((("product", key), DefineProduct(sku=product.sku, name=product.name)))
        if product.price_pence is not None:
            price = to_amount(product.price_pence, CURRENCY)
            made.append((("town_product", town_product_id(key)), OfferProduct(product=key, price=price)))
    return made


def _opening_stock(country: Country, warehouse: str, numbers: Iterable[str]) -> list[tuple[RowKey, Operation]]:
    promised: Counter[str] = Counter()
    for number in numbers:
        promised.update({sale.sku: sale.quantity for sale in country.invoices[number]})
    made: list[tuple[RowKey, Operation]] = []
    for product in country.products.values():
        quantity = min(PIECES_MAX, max(promised[product.sku], product.sold * STOCKED_PERCENT // 100))
        if quantity:
            key = product_id(product.sku)
            receive = ReceiveStock(warehouse=warehouse, product=key, quantity=quantity, reason="opening stock")
            made.append((("stock_level", stock_level_id(warehouse, key)), receive))
    return made
