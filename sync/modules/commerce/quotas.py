"""Quotas: pieces set aside for one device, which it sells without a network and nobody else can sell.

What is granted is reserved at once, so a sale inside the quota can neither be refused nor oversold. Nothing of it is
given away again until the device itself has given it back, in its own chain, behind everything it sold; or until the
device is revoked, after which its sales have no effect. A lapsed quota therefore only stops the device: the server
honours what was sold on it, whenever that arrives.

Once a product has a quota on a device it is sold there on quota alone, or on a supervisor's word.

Law: what is reserved of a product is what open orders reserve, and what quotas hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

from pydantic import StringConstraints

from sync.kernel.changeset import Fields, Intent, Operation, RowKey
from sync.kernel.clock import TIME_PATTERN
from sync.kernel.draft import Draft
from sync.kernel.ids import Id
from sync.kernel.module import Ref
from sync.modules.commerce import cases, stock
from sync.modules.commerce.entities import stock_level_id, stock_quota_id
from sync.modules.commerce.operations import OFFICE, SALES, PlaceOrder, ProductRef, Quantity, WarehouseRef

QuotaRef = Annotated[Id, Ref(entity="stock_quota")]


class GrantQuota(Operation):
    """A device may sell so many more of a product by itself, until then."""

    op: ClassVar = "quota.grant"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICE
    device: Annotated[Id, Ref(entity="device")]
    warehouse: WarehouseRef
    product: ProductRef
    quantity: Quantity
    expires_at: Annotated[str, StringConstraints(pattern=TIME_PATTERN)]

    def reads(self) -> Iterable[RowKey]:
        """The level, and what the device has already."""
        yield "stock_level", stock_level_id(self.warehouse, self.product)
        yield "stock_quota", stock_quota_id(self.device, self.warehouse, self.product)


class WithdrawQuota(Operation):
    """The device shall give back what it has not sold; of a revoked device it is taken back."""

    op: ClassVar = "quota.withdraw"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICE
    quota: QuotaRef


class ReturnQuota(Operation):
    """The device gives back what it has not sold, and will sell no more of it. It says so itself, in nobody's name."""

    op: ClassVar = "quota.return"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = SALES
    by_device: ClassVar = True
    quota: QuotaRef


def grant(operation: GrantQuota, draft: Draft) -> None:
    """Reserve it for the device; not on top of what the device may still be selling after its time."""
    device = draft.need("device", operation.device)
    if device["status"] != "active" or device["role"] not in SALES:
        raise draft.refuse(cases.QUOTA_NEEDS_DEVICE, name=device["name"])
    product = draft.need("product", operation.product)
    draft.need("warehouse", operation.warehouse)
    row_id = stock_quota_id(operation.device, operation.warehouse, operation.product)
    quota = draft.get("stock_quota", row_id)
    if quota and quota["state"] != "closed" and not _is_open(quota, draft.context.decided_at):
        raise draft.refuse(cases.QUOTA_NOT_RETURNED, product=product["name"], left=left_of(quota), name=device["name"])
    free = stock.available(draft, operation.warehouse, operation.product) or 0
    if free < operation.quantity:
        raise draft.refuse(cases.INSUFFICIENT_STOCK, product=product["name"], available=free, wanted=operation.quantity)
    place = (operation.warehouse, operation.product)
    stock.move(draft, operation, *place, reserved=operation.quantity, reason="quota granted")
    is_on_top = quota is not None and quota["state"] == "active"
    before = quota if quota is not None and is_on_top else {"granted": 0, "used": 0, "returned": 0}
    draft.put(
        "stock_quota",
        row_id,
        {
            "holder_id": operation.device,
            "warehouse_id": operation.warehouse,
            "product_id": operation.product,
            "granted": before["granted"] + operation.quantity,
            "used": before["used"],
            "returned": before["returned"],
            "expires_at": operation.expires_at,
            "state": "active",
        },
    )


def withdraw(operation: WithdrawQuota, draft: Draft) -> None:
    """Ask the device for it; only what a revoked device held is free at once."""
    quota = draft.need("stock_quota", operation.quota)
    if quota["state"] == "closed":
        raise draft.refuse(cases.QUOTA_CLOSED)
    if draft.need("device", quota["holder_id"])["status"] == "revoked":
        _close(draft, operation, operation.quota, quota)
    else:
        draft.update("stock_quota", operation.quota, state="withdrawn")


def give_back(operation: ReturnQuota, draft: Draft) -> None:
    """What the device has not sold is free for others; everything it sold came before this in its chain."""
    quota = draft.need("stock_quota", operation.quota)
    if quota["holder_id"] != draft.change_set.device:
        raise draft.refuse(cases.QUOTA_OF_OTHER)
    if quota["state"] != "closed":
        _close(draft, operation, operation.quota, quota)


def take(operation: PlaceOrder, draft: Draft, product: str, name: str, wanted: int) -> int:
    """How many of these pieces the device's quota gives; they are reserved already, and its own no more.

    A device without a quota of the product sells as ever, 0 come from it. On a device, more than it holds is refused
    unless a supervisor says so; on the server that is a fact, with a flag.
    """
    if draft.context.is_server:
        return 0
    row_id = stock_quota_id(draft.change_set.device, operation.warehouse, product)
    quota = draft.get("stock_quota", row_id)
    if quota is None:
        return 0
    left = left_of(quota)
    if not draft.context.is_truth and not _is_open(quota, draft.context.decided_at):
        left = 0
    given = min(left, wanted)
    if given < wanted:
        _override(operation, draft, (row_id, quota), name, left=left, wanted=wanted)
    draft.put("stock_quota", row_id, {**quota, "used": quota["used"] + given})
    return given


def left_of(quota: Fields) -> int:
    """What a quota still holds."""
    left: int = quota["granted"] - quota["used"] - quota["returned"]
    return left


def _override(
    operation: PlaceOrder, draft: Draft, held: tuple[str, Fields], name: str, *, left: int, wanted: int
) -> None:
    row_id, quota = held
    supervisor = draft.get("user", operation.supervisor) if operation.supervisor else None
    is_allowed = supervisor is not None and supervisor["is_active"] and not OFFICE.isdisjoint(supervisor["roles"])
    if not draft.context.is_truth and not is_allowed:
        raise draft.refuse(cases.QUOTA_EXCEEDED, product=name, left=left, wanted=wanted)
    draft.adjust(
        cases.QUOTA_OVERRIDDEN,
        operation,
        subject=("stock_quota", row_id),
        said={"wanted": wanted, "supervisor_id": operation.supervisor},
        had={"left": left},
        outcome=f"{wanted - left} beyond the quota",
        audience=f"warehouse:{quota['warehouse_id']}",
        number=operation.number,
        product=name,
        extra=wanted - left,
        who=supervisor["name"] if supervisor is not None and is_allowed else "nobody who may",
    )


def _is_open(quota: Fields, now: str) -> bool:
    is_open: bool = quota["state"] == "active" and now < quota["expires_at"]
    return is_open


def _close(draft: Draft, operation: Operation, row_id: str, quota: Fields) -> None:
    left = left_of(quota)
    place = (quota["warehouse_id"], quota["product_id"])
    stock.move(draft, operation, *place, reserved=-left, reason="quota returned")
    draft.put("stock_quota", row_id, {**quota, "returned": quota["returned"] + left, "state": "closed"})
