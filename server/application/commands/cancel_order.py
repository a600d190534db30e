"""A customer calls off an order of theirs, as long as nobody has begun to pick it.

What cannot be is seen before anything is written, so that whoever has a tracking code cannot fill the journal with
refusals; the rule decides once more, under the town's lock.
"""

from __future__ import annotations

from server.application.commands.act import RuleRefused, effective
from server.application.commands.apply_change_sets import Appliers
from server.application.people_ports import Listings
from server.domain.access import NotFound
from server.domain.devices import server_device_id
from sync.kernel.changeset import Fields
from sync.modules.commerce import CancelOrder
from sync.modules.commerce.cases import ALREADY_DELIVERED, ALREADY_PICKED, ALREADY_RETURNED

REASON = "called off by the customer"


async def call_off(town_id: str, order_id: str, *, listings: Listings, appliers: Appliers) -> None:
    """Cancel the order, or find it cancelled already. Raises `NotFound`, `RuleRefused`, and as `Appliers.author`."""
    if await _is_cancelled(town_id, order_id, listings):
        return
    cancel = CancelOrder(order=order_id, reason=REASON, by_customer=True)
    verdict = await appliers.author(town_id, server_device_id(town_id), [cancel])
    try:
        effective(verdict)
    except RuleRefused:
        if not await _is_cancelled(town_id, order_id, listings):  # somebody was faster, perhaps the customer
            raise


async def _is_cancelled(town_id: str, order_id: str, listings: Listings) -> bool:
    """Whether that was done; raises `RuleRefused` when it cannot be done any more."""
    async with listings.reading((town_id,), town_id) as reader:
        row = await reader.row("order", order_id)
    if row is None:
        raise NotFound
    order = row.fields
    if order["commercial"] == "cancelled":
        return True
    if order["custody"] != "warehouse" or order["commercial"] != "active":
        raise _refusal(order)
    return False


def _refusal(order: Fields) -> RuleRefused:
    """What the rule would say."""
    late = {"customer": ALREADY_DELIVERED, "returned": ALREADY_RETURNED}
    case, data = late.get(order["custody"], ALREADY_PICKED), {"number": order["number"]}
    return RuleRefused(rule=case.id, sentence=case.explain(data), data=data)
