"""What people and devices may say in commerce. Quantities are whole pieces from 1 up; prices are decimal strings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from sync.kernel.changeset import Fields, Intent, Operation, RowKey
from sync.kernel.ids import Id
from sync.kernel.module import Ref
from sync.kernel.money import Amount, to_amount
from sync.modules.billing.entities import invoice_id
from sync.modules.catalogue import town_product_id
from sync.modules.commerce.entities import fulfilment_id, stock_level_id, stock_quota_id

Quantity = Annotated[int, Field(ge=1, le=1_000_000)]
Delta = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
Text = Annotated[str, StringConstraints(max_length=500)]
Number = Annotated[str, StringConstraints(min_length=1, max_length=40)]
OrderRef = Annotated[Id, Ref(entity="order")]
WarehouseRef = Annotated[Id, Ref(entity="warehouse")]
ProductRef = Annotated[Id, Ref(entity="product")]
DispatchRef = Annotated[Id, Ref(entity="dispatch")]
UserRef = Annotated[Id, Ref(entity="user")]

WAREHOUSE = frozenset({"warehouse_staff", "admin"})
OFFICE = frozenset({"dispatcher", "admin"})
SALES = frozenset({"warehouse_staff", "dispatcher", "admin"})
DRIVERS = frozenset({"driver", "dispatcher", "admin"})
LINES_MAX = 550
"""Lines of one order; with the longest prices and texts it still fits one change set (`limits.LINE_BYTES_MAX`)."""


class OrderLine(BaseModel):
    """One product of an order; without a price the town's price list counts.

    A device writes the price that it showed into a line that has none: a promise does not change with the list.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    product: ProductRef
    quantity: Quantity
    price: Amount | None = None


Lines = Annotated[list[OrderLine], Field(min_length=1, max_length=LINES_MAX)]


def priced(lines: Iterable[OrderLine], row: Callable[[str, str], Fields | None]) -> list[OrderLine]:
    """The lines, each with the price of the list that `row` shows when it has none itself and the list is shown."""
    return [line if line.price is not None else _priced(line, row) for line in lines]


def _priced(line: OrderLine, row: Callable[[str, str], Fields | None]) -> OrderLine:
    entry = row("town_product", town_product_id(line.product))
    if entry is None:
        return line
    return line.model_copy(update={"price": to_amount(entry["price_minor"], entry["currency"])})


class OpenWarehouse(Operation):
    """The town has a place where stock is kept."""

    op: ClassVar = "warehouse.open"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = frozenset({"admin"})
    creates: ClassVar = "warehouse"
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class ReceiveStock(Operation):
    """Goods came in."""

    op: ClassVar = "stock.receive"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = WAREHOUSE
    resolves: ClassVar = frozenset({"compensate"})
    warehouse: WarehouseRef
    product: ProductRef
    quantity: Quantity
    reason: Text = ""

    def reads(self) -> Iterable[RowKey]:
        """The level it changes."""
        return [("stock_level", stock_level_id(self.warehouse, self.product))]


class AdjustStock(Operation):
    """Goods were found, broken or lost: so many more or less."""

    op: ClassVar = "stock.adjust"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = WAREHOUSE
    resolves: ClassVar = frozenset({"compensate", "write_off"})
    warehouse: WarehouseRef
    product: ProductRef
    delta: Delta
    reason: Text = ""

    def reads(self) -> Iterable[RowKey]:
        """The level it changes."""
        return [("stock_level", stock_level_id(self.warehouse, self.product))]


class TransferStock(Operation):
    """Goods went from one warehouse to another."""

    op: ClassVar = "stock.transfer"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = WAREHOUSE
    resolves: ClassVar = frozenset({"compensate"})
    source: WarehouseRef
    target: WarehouseRef
    product: ProductRef
    quantity: Quantity

    def reads(self) -> Iterable[RowKey]:
        """Both levels."""
        return [("stock_level", stock_level_id(place, self.product)) for place in (self.source, self.target)]


class PlaceOrder(Operation):
    """A customer orders. Asked online it may be refused; a device that promised it offline states a fact."""

    op: ClassVar = "order.place"
    intent: ClassVar = Intent.WISH
    offline_intent: ClassVar = Intent.FACT
    roles: ClassVar = SALES
    resolves: ClassVar = frozenset({"compensate"})
    creates: ClassVar = "order"
    number: Number
    warehouse: WarehouseRef
    customer_name: Text
    phone: Text = ""
    address: Text = ""
    lines: Lines
    payment_method: Literal["cod", "account", "momo", "card"] = "cod"
    supervisor: UserRef | None = None
    """Who has allowed to sell more than the device's quota."""

    def reads(self) -> Iterable[RowKey]:
        """What each line is, how much of it is there, and what it costs by the list."""
        for line in self.lines:
            yield "product", line.product
            yield "stock_level", stock_level_id(self.warehouse, line.product)
            yield "town_product", town_product_id(line.product)

    def brings(self) -> Iterable[RowKey]:
        """Its invoice."""
        return [("invoice", invoice_id(self.id))]

    def reads_on(self, device: str) -> Iterable[RowKey]:
        """What the device may sell by itself."""
        return [("stock_quota", stock_quota_id(device, self.warehouse, line.product)) for line in self.lines]

    def as_shown(self, row: Callable[[str, str], Fields | None]) -> Self:
        """With the prices that the customer was told."""
        return self.model_copy(update={"lines": priced(self.lines, row)})


class AmendOrder(Operation):
    """Other lines, as long as nothing has been picked."""

    op: ClassVar = "order.amend"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = SALES
    resolves: ClassVar = frozenset({"compensate"})
    order: OrderRef
    lines: Lines

    def as_shown(self, row: Callable[[str, str], Fields | None]) -> Self:
        """With the prices that the customer was told."""
        return self.model_copy(update={"lines": priced(self.lines, row)})

    def reads(self) -> Iterable[RowKey]:
        """What is owed for it."""
        return [("invoice", invoice_id(self.order))]


class CancelOrder(Operation):
    """The order shall not be; on the van it becomes a recall. A customer may not ask for it once picking has begun.

    With `unpaid_only` it shall not be as long as nothing was paid and nobody has begun to pick it.
    """

    op: ClassVar = "order.cancel"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICE
    resolves: ClassVar = frozenset({"compensate"})
    order: OrderRef
    reason: Text = ""
    by_customer: bool = False
    unpaid_only: bool = False

    def reads(self) -> Iterable[RowKey]:
        """What is owed for it."""
        return [("invoice", invoice_id(self.order))]


class _Picking(Operation):
    """Something was done towards the fulfilment of an order."""

    order: OrderRef

    def reads(self) -> Iterable[RowKey]:
        """The fulfilment, of which there is one."""
        return [("fulfilment", fulfilment_id(self.order))]


class StartPick(_Picking):
    """Somebody has begun to pick the order."""

    op: ClassVar = "pick.start"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = WAREHOUSE


class PickLine(_Picking):
    """So many of a product are in the tote."""

    op: ClassVar = "pick.line"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = WAREHOUSE
    product: ProductRef
    quantity: Quantity


class ShortPick(_Picking):
    """So many of a product were not on the shelf."""

    op: ClassVar = "pick.short"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = WAREHOUSE
    product: ProductRef
    quantity: Quantity

    def reads(self) -> Iterable[RowKey]:
        """The fulfilment, and the invoice, which becomes less."""
        return [*super().reads(), ("invoice", invoice_id(self.order))]


class CompletePack(_Picking):
    """The order is packed."""

    op: ClassVar = "pack.complete"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = WAREHOUSE
    parcels: Annotated[int, Field(ge=1, le=1000)] = 1


class AssignDispatch(Operation):
    """A driver shall take the order."""

    op: ClassVar = "dispatch.assign"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICE
    resolves: ClassVar = frozenset({"reassign"})
    creates: ClassVar = "dispatch"
    order: OrderRef
    driver: UserRef


class ReassignDispatch(Operation):
    """Another driver shall take the order."""

    op: ClassVar = "dispatch.reassign"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICE
    resolves: ClassVar = frozenset({"reassign"})
    creates: ClassVar = "dispatch"
    order: OrderRef
    driver: UserRef


class WithdrawDispatch(Operation):
    """The driver shall not take the order after all."""

    op: ClassVar = "dispatch.withdraw"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICE
    resolves: ClassVar = frozenset({"compensate"})
    dispatch: DispatchRef


class StartDelivery(Operation):
    """The goods are on the van."""

    op: ClassVar = "delivery.start"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = DRIVERS
    dispatch: DispatchRef


class CompleteDelivery(Operation):
    """The goods were handed over."""

    op: ClassVar = "delivery.complete"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = DRIVERS
    dispatch: DispatchRef
    received_by: Text = ""


class FailDelivery(Operation):
    """The goods could not be handed over."""

    op: ClassVar = "delivery.fail"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = DRIVERS
    dispatch: DispatchRef
    reason: Text = ""


class CorrectDelivery(Operation):
    """The delivery that was reported has not been: the goods are still on the van."""

    op: ClassVar = "delivery.correct"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = DRIVERS
    resolves: ClassVar = frozenset({"compensate"})
    dispatch: DispatchRef
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class ReturnDelivery(Operation):
    """The warehouse has the goods again."""

    op: ClassVar = "delivery.return"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = WAREHOUSE
    resolves: ClassVar = frozenset({"compensate"})
    order: OrderRef
