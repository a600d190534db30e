"""The laws of goods by themselves: each finds what breaks it, says where, and finds nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from sync.kernel.changeset import RowKey
from sync.modules.commerce import StartDelivery
from sync.modules.commerce.audit import audit_goods
from tests.support.town_in_memory import found_market_town

Rows = dict[RowKey, Mapping[str, Any]]


def shipped() -> tuple[Rows, dict[str, str]]:
    """An order on a van, and one on the shelf; rows to tamper with."""
    town = found_market_town()
    order, other = (town.places((town.tea, 1), number=number) for number in ("1", "2"))
    job = town.assigns(order)
    town.does(town.van_a, town.driver_a, StartDelivery(dispatch=job))
    rows: Rows = {key: dict(stored.fields) for key, stored in town.rows.items()}
    return rows, {"order": order, "other": other, "job": job}


def step_to(rows: Rows, order: str, custody: str) -> RowKey:
    """The event by which the goods of the order came there."""
    wanted = {"order_id": order, "to_custody": custody}
    return next(key for key, row in rows.items() if key[0] == "order_status_event" and wanted.items() <= row.items())


def change(rows: Rows, key: RowKey, **fields: object) -> None:
    """Other fields in a row."""
    rows[key] = {**rows[key], **fields}


def skip(rows: Rows, names: Mapping[str, str]) -> None:
    rows.pop(step_to(rows, names["order"], "packed"))
    change(rows, step_to(rows, names["order"], "ready"), from_custody="picked")


FAULTS: dict[str, tuple[Callable[[Rows, Mapping[str, str]], object], list[tuple[str, str]]]] = {
    "a step that there is not": (
        skip,
        [("order", "its goods went from picked to ready")],
    ),
    "a place that nobody knows": (
        lambda rows, names: change(rows, step_to(rows, names["other"], "warehouse"), to_custody="moon"),
        [
            ("other", "its goods went from nowhere to moon"),
            ("other", "it says warehouse, and its steps lead elsewhere"),
        ],
    ),
    "a step that is gone": (
        lambda rows, names: rows.pop(step_to(rows, names["order"], "packed")),
        [("order", "it says van, and its steps lead elsewhere")],
    ),
    "an order that says it is elsewhere": (
        lambda rows, names: change(rows, ("order", names["order"]), custody="customer"),
        [("order", "it says customer, and its steps lead elsewhere")],
    ),
    "an order that came from nowhere": (
        lambda rows, names: rows.pop(step_to(rows, names["other"], "warehouse")),
        [("other", "it says warehouse, and its steps lead elsewhere")],
    ),
    "a second job at once": (
        lambda rows, names: rows.update({("dispatch", "x"): rows["dispatch", names["job"]]}),
        [("order", "it is out with {job}, x, and says {job}")],
    ),
    "an order that knows nothing of its job": (
        lambda rows, names: change(rows, ("order", names["order"]), dispatch_id=None),
        [("order", "it is out with {job}, and says None")],
    ),
}


def test_goods_that_went_where_they_can_are_accounted_for() -> None:
    rows, _ = shipped()

    assert audit_goods(rows.items()) == []


@pytest.mark.parametrize(("tamper", "found"), FAULTS.values(), ids=FAULTS)
def test_the_audit_of_goods_finds(
    tamper: Callable[[Rows, Mapping[str, str]], object], found: list[tuple[str, str]]
) -> None:
    rows, names = shipped()

    tamper(rows, names)

    assert audit_goods(rows.items()) == [(f"order {names[which]}", what.format(**names)) for which, what in found]
