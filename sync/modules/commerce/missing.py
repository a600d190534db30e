"""Goods that were not delivered and have not come back: after some days somebody has to look for them.

The town's own device says so, on the day; whether it is so is decided here like everything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from sync.kernel.changeset import Intent, Operation, RowKey
from sync.kernel.clock import TIME_PATTERN, parse_time
from sync.kernel.draft import Draft
from sync.kernel.ids import derived_id
from sync.modules.commerce import cases
from sync.modules.commerce.operations import OrderRef
from sync.modules.town_settings import RETURN_DAYS_MAX

DAY_MS = 24 * 3600 * 1000


class ReportMissing(Operation):
    """The goods of this order could not be handed over at `undelivered_at`, and nobody has them back."""

    op: ClassVar = "order.report_missing"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = frozenset[str]()
    order: OrderRef
    attempt: Annotated[int, Field(ge=1)]
    undelivered_at: Annotated[str, StringConstraints(pattern=TIME_PATTERN)]

    def reads(self) -> Iterable[RowKey]:
        """The conflict that it may have left before."""
        return [("conflict", missing_id(self.order, self.attempt))]


def missing_id(order: str, attempt: int) -> str:
    """The id of the conflict about the goods of a failed attempt; there is one."""
    return derived_id("goods_missing", order, attempt)


def report(operation: ReportMissing, draft: Draft) -> None:
    """Leave the conflict, once per failed attempt; the stock stays as it is until somebody knows."""
    order = draft.need("order", operation.order)
    town = draft.need("town", draft.change_set.town)
    days = town["settings"].get("return_days_max", RETURN_DAYS_MAX)
    conflict_id = missing_id(operation.order, operation.attempt)
    is_late = parse_time(draft.context.decided_at) - parse_time(operation.undelivered_at) >= days * DAY_MS
    is_out = (order["custody"], order["attempts"]) == ("undelivered", operation.attempt)
    if not (is_out and is_late) or draft.get("conflict", conflict_id) is not None:
        raise draft.refuse(cases.GOODS_NOT_MISSING, number=order["number"], days=days)
    draft.adjust(
        cases.GOODS_MISSING,
        operation,
        subject=("order", operation.order),
        said={"undelivered_at": operation.undelivered_at},
        had={"custody": order["custody"], "driver_id": order["driver_id"]},
        outcome="still reserved",
        audience=f"warehouse:{order['warehouse_id']}",
        conflict_id=conflict_id,
        number=order["number"],
        since=operation.undelivered_at[:10],
        days=days,
    )
