"""The town of the demo, made from the sample that is shipped: its products, prices and orders are real.

Names of people and customers are made up; the sample has none. `Tally` is the other witness: what really happened,
written down while it happens, apart from all the software that is being shown.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from client_sdk.application.receipts import PrintedReceipt
from server.application.commands.seed_sample import SAMPLE_FILE
from server.application.retail import Country, Product, Sale, read_countries
from server.cli.demo import script
from server.office import Office
from sync.kernel.ids import derived_id
from sync.kernel.money import to_amount
from sync.kernel.pins import SALT_BYTES, hash_pin
from sync.modules.billing import InvoiceLine, IssueInvoice, RegisterParty
from sync.modules.catalogue import DefineProduct, OfferProduct, product_id
from sync.modules.commerce import PlaceOrder, ReceiveStock
from sync.modules.commerce.operations import OrderLine

SHOPS = (
    *("Quayle's Gifts", "The Sound Café", "Peel Harbour Stores", "Laxey Post Office", "Castle Street Books"),
    *("Port Erin Tearoom", "Bradda Guest House", "Kelly & Daughters", "Ramsey Toy Box", "St John's Mill"),
    *("The Old Smithy", "Onchan Florist", "Snaefell Souvenirs"),
)
STREETS = ("North Quay", "Castle Street", "Strand Road", "Harbour View", "Mill Lane", "Chapel Hill", "Market Place")


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One invoice of the sample, as an order of a made-up shop."""

    number: str
    customer: str
    address: str
    sales: Sequence[Sale]

    @property
    def id(self) -> str:
        """The order's id in the town."""
        return derived_id("demo order", self.number)

    @property
    def total_pence(self) -> int:
        """What it costs."""
        return sum(sale.quantity * sale.price_pence for sale in self.sales)

    @property
    def pieces(self) -> Mapping[str, int]:
        """Pieces by stock code."""
        return {sale.sku: sale.quantity for sale in self.sales}


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """The town before the day begins.

    `opening` is what is on the shelf, in pieces by stock code; `bills` are the ids of invoices, by title.
    """

    warehouse: str
    users: Mapping[str, str]
    products: Mapping[str, Product]
    orders: Mapping[str, Order]
    opening: Mapping[str, int]
    bills: Mapping[str, str]

    def place(self, number: str) -> PlaceOrder:
        """The operation that places this order."""
        order = self.orders[number]
        return PlaceOrder(
            id=order.id,
            number=number,
            warehouse=self.warehouse,
            customer_name=order.customer,
            address=order.address,
            lines=[
                OrderLine(product=product_id(sale.sku), quantity=sale.quantity, price=pounds(sale.price_pence))
                for sale in order.sales
            ],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cash:
    """Money that went from a customer's hand into a driver's."""

    driver: str
    order: str
    pence: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Handed:
    """Money that went over a counter, in pence: below zero it was given back. A card's is not in the drawer."""

    device: str
    bill: str
    pence: int
    is_cash: bool = True


@dataclass(kw_only=True, slots=True)
class Tally:
    """What really happened: money, pieces booked in and out by stock code, and the orders that customers have.

    `slips` are the receipts that were printed; `asked` are the payments by telephone, by what they are for, and
    `phoned` what customers have agreed to of them; `paid_twice` is the payment that will be given back.
    """

    cash: list[Cash] = field(default_factory=list)
    handed: list[Handed] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)
    phoned: dict[str, int] = field(default_factory=dict)
    paid_twice: str = ""
    slips: list[PrintedReceipt] = field(default_factory=list)
    booked: Counter[str] = field(default_factory=Counter)
    handed_over: set[str] = field(default_factory=set)


def open_town(office: Office) -> World:
    """Found the town and fill it: people, products, prices, stock, and every order but those that are sold offline."""
    countries, _ = read_countries([SAMPLE_FILE])
    country = next(found for found in countries if found.name == script.COUNTRY)
    office.found(script.TOWN, script.CURRENCY)
    world = World(
        warehouse=office.add_warehouse(script.TOWN, "North Quay"),
        users={person.name: _employ(office, person) for person in (*script.PEOPLE, script.EWAN)},
        products=country.products,
        orders=_orders(country),
        opening=_opening(country),
        bills={bill.title: office.new_id() for bill in script.BILLS},
    )
    offered = [(product, price) for product in country.products.values() if (price := product.price_pence) is not None]
    office.must(script.TOWN, *(DefineProduct(sku=one.sku, name=one.name) for one in country.products.values()))
    office.must(
        script.TOWN, *(OfferProduct(product=product_id(one.sku), price=pounds(price)) for one, price in offered)
    )
    office.must(script.TOWN, *_receive(world))
    for number in world.orders:
        if number not in script.PLACED_OFFLINE:
            office.must(script.TOWN, world.place(number))
    office.must(script.TOWN, *_charge(office, world))
    return world


def pounds(pence: int) -> str:
    """An amount as it travels."""
    return to_amount(pence, script.CURRENCY)


def _employ(office: Office, person: script.Person) -> str:
    return office.add_user(script.TOWN, person.name, person.role, pin_hash=hash_pin(person.pin, os.urandom(SALT_BYTES)))


def _orders(country: Country) -> dict[str, Order]:
    return {
        number: Order(
            number=number,
            customer=SHOPS[place % len(SHOPS)],
            address=f"{place * 3 + 2} {STREETS[place % len(STREETS)]}",
            sales=sales,
        )
        for place, (number, sales) in enumerate(country.invoices.items())
    }


def _opening(country: Country) -> dict[str, int]:
    """What the morning's orders ask for, and some to spare."""
    asked: Counter[str] = Counter()
    for number, sales in country.invoices.items():
        if number not in script.PLACED_OFFLINE:
            asked.update({sale.sku: sale.quantity for sale in sales})
    spare = {script.SCARCE: script.SCARCE_SPARE_PIECES}
    return {sku: asked[sku] + spare.get(sku, script.SPARE_PIECES) for sku in country.products}


def _charge(office: Office, world: World) -> Iterable[RegisterParty | IssueInvoice]:
    for bill in script.BILLS:
        party = office.new_id()
        yield RegisterParty(id=party, name=bill.customer, phone=bill.phone)
        lines = [InvoiceLine(text=bill.title, amount=pounds(bill.pence))]
        yield IssueInvoice(
            id=world.bills[bill.title], party=party, title=bill.title, lines=lines, currency=script.CURRENCY
        )


def _receive(world: World) -> Iterable[ReceiveStock]:
    for sku, pieces in world.opening.items():
        yield ReceiveStock(warehouse=world.warehouse, product=product_id(sku), quantity=pieces, reason="opening stock")
