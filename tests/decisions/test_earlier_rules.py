"""What was decided by earlier rules is decided again as it was: a journal says by which rules each entry was made."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sync.engine.feed import Stored
from sync.engine.town import Submitted, step
from sync.kernel.changeset import RowKey
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id
from sync.modules.billing import TakePayment
from sync.modules.commerce import CancelOrder, FailDelivery, ReceiveStock
from tests.support.decisions import depart
from tests.support.town_in_memory import MarketTown

CASH = TakePayment(order=derived_id("late"), amount="1.00", currency="KES")


class Known(dict[RowKey, Stored | None]):
    """Rows of which those that are not here are nowhere."""

    def __missing__(self, key: RowKey) -> None:
        return None


OLD_RULES: list[tuple[str, Callable[[MarketTown], Submitted], tuple[str, str | None]]] = [
    (
        "facts do not wait",
        lambda town: town.line(
            town.van_a, town.driver_a, TakePayment(order=derived_id("late"), amount="1.00", currency="KES")
        ),
        ("quarantined", "engine.unknown_reference"),
    ),
    (
        "nobody asks whose tour it is",
        lambda town: town.line(town.van_b, town.driver_b, FailDelivery(dispatch=depart(town, town.places()))),
        ("accepted", None),
    ),
    (
        "the office does not mix",
        lambda town: town.line(
            town.server,
            town.admin,
            CancelOrder(order=town.places()),
            ReceiveStock(warehouse=town.warehouse, product=town.tea, quantity=1),
        ),
        ("refused", "people.mixed_intents"),
    ),
]


@pytest.mark.parametrize(("make", "expected"), [case[1:] for case in OLD_RULES], ids=[case[0] for case in OLD_RULES])
def test_what_was_decided_by_the_first_rules_is_decided_again_as_it_was(
    town: MarketTown, make: Callable[[MarketTown], Submitted], expected: tuple[str, str | None]
) -> None:
    line = make(town)
    known = Known({**town.rows, **town.versions})

    by_first, by_these = (
        step(town.head, [line], known, town.registry, format_time(town.now_ms), rules=rules).answered[0].verdict
        for rules in (1, 2)
    )

    assert (by_first.status.value, by_first.rule) == expected
    assert (by_these.status.value, by_these.rule) != expected
