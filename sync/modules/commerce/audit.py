"""The laws of goods over everything that is stored: which ways those of each order went, and who is out with them.

Pure, and written apart from the rules: it looks at what they have left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from sync.kernel.changeset import Fields, RowKey
from sync.modules.commerce.entities import OPEN_DISPATCHES

Rows = Mapping[str, Mapping[str, Fields]]
"""Rows by entity and id."""

Fault = tuple[str, str]
"""Where, and what."""

GOODS = frozenset({"order", "order_status_event", "dispatch"})

STEPS: Mapping[str | None, frozenset[str]] = MappingProxyType(
    {
        None: frozenset({"warehouse"}),
        "warehouse": frozenset({"picking", "returned"}),
        "picking": frozenset({"picked", "returned"}),
        "picked": frozenset({"packed", "returned"}),
        "packed": frozenset({"ready", "returned"}),
        "ready": frozenset({"van", "returned"}),
        "van": frozenset({"customer", "undelivered"}),
        "undelivered": frozenset({"ready", "van", "returned"}),
        "returned": frozenset({"van"}),
        "customer": frozenset({"undelivered"}),
    }
)
"""Where goods can go from where: along the ladder, out of the house only by the van; put back from wherever they are in
the house; and on from where they were thought to be, when a report comes late or is corrected."""

_WEIGHTS = {place: 1 << 32 * number for number, place in enumerate(STEPS)}
"""One digit for each place, in a number with room for more steps than an order can have."""


def audit_goods(rows: Iterable[tuple[RowKey, Fields]]) -> list[Fault]:
    """Every order whose goods went by no known way, or are not where it says; none means that all are accounted for."""
    kept: dict[str, dict[str, Fields]] = {entity: {} for entity in GOODS}
    for (entity, row_id), fields in rows:
        if entity in kept:
            kept[entity][row_id] = fields
    return list(audit_goods_rows(kept))


def audit_goods_rows(rows: Rows) -> Iterator[Fault]:
    """The same of rows that are read as they are asked for, those of `GOODS`."""
    left: dict[str, int] = defaultdict(int)
    for event in rows["order_status_event"].values():
        before, after = event["from_custody"], event["to_custody"]
        if before == after:
            continue
        if after not in STEPS.get(before, ()):
            yield f"order {event['order_id']}", f"its goods went from {before or 'nowhere'} to {after}"
        # One sum for each order, in any order of the steps: what was reached and not left again is where they lead to.
        left[event["order_id"]] += _WEIGHTS.get(after, 0) - _WEIGHTS.get(before, 0)
    under_way = _under_way(rows)
    for key, order in rows["order"].items():
        if left.get(key) != _WEIGHTS.get(order["custody"], 0) - _WEIGHTS[None]:
            yield f"order {key}", f"it says {order['custody']}, and its steps lead elsewhere"
        if under_way.get(key, [order["dispatch_id"]]) != [order["dispatch_id"]]:
            yield f"order {key}", f"it is out with {', '.join(under_way[key])}, and says {order['dispatch_id']}"


def _under_way(rows: Rows) -> Mapping[str, list[str]]:
    """The open dispatches of each order that has any."""
    found: dict[str, list[str]] = defaultdict(list)
    for key, dispatch in rows["dispatch"].items():
        if dispatch["state"] in OPEN_DISPATCHES:
            found[dispatch["order_id"]].append(key)
    return found
