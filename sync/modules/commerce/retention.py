"""Closed business leaves devices after a while; it stays in the tables, in the lists, and in what `verify` compares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

from pydantic import Field

from sync.kernel.changeset import Intent, Operation, RowKey
from sync.kernel.draft import Draft
from sync.kernel.ids import Id
from sync.modules.commerce import cases
from sync.modules.commerce.entities import fulfilment_id, is_closed
from sync.modules.commerce.operations import OrderRef

DISPATCHES_MAX = 50
"""Dispatches that one operation names; an order that was given to more drivers is archived in several."""


class ArchiveOrder(Operation):
    """The order has been closed for so long that no device needs it: the town itself takes it off them."""

    op: ClassVar = "order.archive"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = frozenset[str]()
    order: OrderRef
    dispatches: Annotated[list[Id], Field(max_length=DISPATCHES_MAX)]

    def reads(self) -> Iterable[RowKey]:
        """What leaves with it."""
        return [("fulfilment", fulfilment_id(self.order)), *(("dispatch", one) for one in self.dispatches)]


def archive(operation: ArchiveOrder, draft: Draft) -> None:
    """Order, fulfilment and dispatches leave together; what is archived already stays as it is.

    An order that is open, or open again because of a late report, is refused. A row that is archived and becomes open
    later is on devices again: its buckets are a function of the row.
    """
    order = draft.need("order", operation.order)
    if not is_closed(order):
        raise draft.refuse(cases.NOT_CLOSED, number=order["number"])
    keys = [("order", operation.order), ("fulfilment", fulfilment_id(operation.order))]
    keys.extend(("dispatch", one) for one in operation.dispatches)
    for entity, row_id in keys:
        row = draft.get(entity, row_id)
        is_of_order = row is not None and row.get("order_id", operation.order) == operation.order
        if row is not None and is_of_order and row.get("archived_at") is None:
            draft.update(entity, row_id, archived_at=draft.context.decided_at)
