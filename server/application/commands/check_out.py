"""What a customer orders: one change set of the town's own device, with what the town asks for and has now.

The customer names products, pieces and where they shall go; price, warehouse and number are the town's. What cannot be
is seen before anything is written, so that no name or address stays in the journal for an order that never was; the
rule decides once more, under the town's lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from server.application.commands.act import RuleRefused, effective
from server.application.commands.apply_change_sets import Appliers
from server.application.people_ports import Listings
from server.application.shop_ports import Offer, OffersWanted, Shop, ShopReader
from server.domain.devices import server_device_id
from server.domain.requests import KeyedRequest
from server.domain.tracking import order_number
from sync.kernel.errors import TallystickError
from sync.kernel.ids import Id
from sync.modules.commerce.cases import INSUFFICIENT_STOCK
from sync.modules.commerce.operations import OrderLine, PlaceOrder, Text

LINES_MAX = 100
PIECES_MAX = 10_000
"""Of one line; whoever wants more asks the town's office."""


class NotOnSale(TallystickError):
    """The town does not sell this."""

    code: ClassVar[str] = "not_on_sale"

    def __init__(self, products: Sequence[str]) -> None:
        super().__init__(f"not on sale here: {', '.join(products)}")


class CheckoutLine(BaseModel):
    """So many of a product; what it costs is the town's word."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    product: Id
    quantity: Annotated[int, Field(ge=1, le=PIECES_MAX)]


class Checkout(BaseModel):
    """What a customer says at the till; each product is named once."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    customer_name: Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
    phone: Annotated[str, StringConstraints(pattern=r"^\+?[0-9][0-9 ()./-]{3,38}[0-9]$")]
    address: Annotated[Text, StringConstraints(min_length=1, strip_whitespace=True)]
    lines: Annotated[list[CheckoutLine], Field(min_length=1, max_length=LINES_MAX)]
    payment_method: Literal["momo", "card", "cod"]

    @model_validator(mode="after")
    def _names_each_product_once(self) -> Self:
        if len({line.product for line in self.lines}) < len(self.lines):
            raise ValueError("a product is named twice")
        return self


async def check_out(
    town_id: str, checkout: Checkout, request: KeyedRequest, *, shop: Shop, listings: Listings, appliers: Appliers
) -> str:
    """Place the order, or say again that it was placed when the same request came before; the order's id.

    Raises `TownUnknown`, `NotOnSale`, `RuleRefused` with what there is of each line, `IdempotencyMismatch`, and what
    `Appliers.author` raises.
    """
    order_id = request.operation_id(town_id, 0)
    async with listings.reading((town_id,), town_id) as listed:
        is_repeated = await listed.row("order", order_id) is not None
    async with shop.reading(town_id) as reader:
        offers = await _offers(reader, checkout)
        free = await reader.free_stock(sorted(offers))
    warehouse, shelf = _best_warehouse(checkout, free)
    if not is_repeated:
        if missing := [line.product for line in checkout.lines if line.product not in offers]:
            raise NotOnSale(missing)
        if any(line.quantity > shelf.get(line.product, 0) for line in checkout.lines):
            raise _insufficient(checkout, offers, shelf)
    order = PlaceOrder(
        id=order_id,
        number=order_number(order_id),
        warehouse=warehouse,
        customer_name=checkout.customer_name,
        phone=checkout.phone,
        address=checkout.address,
        lines=[OrderLine(product=line.product, quantity=line.quantity) for line in checkout.lines],
        payment_method=checkout.payment_method,
    )
    effective(await appliers.author(town_id, server_device_id(town_id), [order], request))
    return order_id


async def _offers(reader: ShopReader, checkout: Checkout) -> Mapping[str, Offer]:
    wanted = OffersWanted(products=[line.product for line in checkout.lines], rows_max=LINES_MAX)
    return {offer.product_id: offer for offer in await reader.offers(wanted)}


def _best_warehouse(checkout: Checkout, free: Mapping[str, Mapping[str, int]]) -> tuple[str, Mapping[str, int]]:
    """The first warehouse that can send everything, else the one that can send most; an order comes from one."""

    def sendable(warehouse: str) -> int:
        return sum(min(line.quantity, free[warehouse].get(line.product, 0)) for line in checkout.lines)

    best = max(free, key=sendable, default="")
    return best, free.get(best, {})


def _insufficient(checkout: Checkout, offers: Mapping[str, Offer], shelf: Mapping[str, int]) -> RuleRefused:
    """The refusal that the rule would give, with what there is of every line."""
    lines: list[dict[str, Any]] = [
        {
            "product": line.product,
            "name": offers[line.product].name,
            "wanted": line.quantity,
            "available": shelf.get(line.product, 0),
        }
        for line in checkout.lines
    ]
    first = next(line for line in lines if line["available"] < line["wanted"])
    data = {"product": first["name"], "available": first["available"], "wanted": first["wanted"], "lines": lines}
    return RuleRefused(rule=INSUFFICIENT_STOCK.id, sentence=INSUFFICIENT_STOCK.explain(data), data=data)
