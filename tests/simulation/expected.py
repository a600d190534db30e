"""What the design says of rows and of goods, said once more apart from the product: what checkers compare it with."""

from __future__ import annotations

from collections.abc import Mapping

KINDS_OF: Mapping[str, frozenset[str]] = {
    "town": frozenset({"town"}),
    "user": frozenset({"town"}),
    "warehouse": frozenset({"town"}),
    "product": frozenset({"town"}),
    "town_product": frozenset({"town"}),
    "pin": frozenset({"driver", "staff"}),
    "stock_level": frozenset({"warehouse"}),
    "fulfilment": frozenset({"warehouse"}),
    "stock_quota": frozenset({"device"}),
    "conflict": frozenset({"device"}),
    "payment": frozenset({"device"}),
    "dispatch": frozenset({"driver"}),
    "order": frozenset({"driver", "warehouse"}),
    "task": frozenset({"driver", "warehouse"}),
}
"""In which kinds of bucket each kind of row may come to a device, said here once more; of others, what they declare."""

STATEMENT_SECONDS = 61
"""No statement is older than this when it is shown: a minute, and a moment to put it away in."""

STEPS: Mapping[str | None, frozenset[str]] = {
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
"""Where goods can go from where, said here once more, apart from the table that the rules use: along the ladder, out of
the house only by the van, off the van to the customer or back; put back on the shelf from wherever they are in the
house; and where a report was corrected, or comes late, on from there."""
