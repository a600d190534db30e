"""The checked-in reference pages are what the declarations say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sync.kernel.module import Registry
from sync.modules import registry
from sync.modules.identity import ROLES
from sync.modules.reference import decisions_page, entities_page, operations_page, permissions_page

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference"


@pytest.mark.parametrize(
    ("name", "page"),
    [("decisions.md", decisions_page), ("operations.md", operations_page), ("entities.md", entities_page)],
)
def test_a_page_is_up_to_date(name: str, page: Callable[[Registry], str]) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == page(registry()), "run `make docs`"


def test_a_case_is_one_line_with_what_it_leaves() -> None:
    lines = decisions_page(registry()).splitlines()

    assert (
        "| `stock.oversold` | {missing} of {product} for order {number} were sold that were no longer there; "
        "the order stands. | `oversold` | Order {number}: buy {missing} of {product}, offer something else, or refund "
        "| - |"
    ) in lines
    assert "| `orders.already_cancelled` | Order {number} is cancelled. | - | - | yes |" in lines


def test_an_operation_says_what_it_claims_and_what_it_needs() -> None:
    lines = operations_page(registry()).splitlines()

    assert (
        "| `credit.apply` | Credit is used to pay an invoice. | wish | admin, counter_clerk, dispatcher | "
        "`credit` id of credit, `invoice` id of invoice, `amount` string |"
    ) in lines
    assert any("wish; fact from a device" in line and "`lines` list of OrderLine" in line for line in lines)


def test_a_cell_says_whether_a_role_may_do_an_operation() -> None:
    lines = permissions_page(registry(), ROLES).splitlines()

    roles = "`admin` | `dispatcher` | `warehouse_staff` | `driver` | `counter_clerk` | `school_office`"
    assert f"| operation | {roles} |" in lines
    assert "| `conflict.resolve` | yes | yes | - | - | - | - |" in lines
    assert "| `delivery.complete` | yes | yes | - | yes | - | - |" in lines
    assert "| `stub.expire` | - | - | - | - | - | - |" in lines


def test_an_entity_says_its_view_its_fields_and_its_buckets() -> None:
    lines = entities_page(registry()).splitlines()

    assert "| `warehouse` | `warehouses` | `name` text | `town` |" in lines
    assert "| `voided` | `voided` | `device_id` id, `seq` integer | - |" in lines


def test_every_declaration_is_on_its_page() -> None:
    known = registry()

    for page, names in (
        (decisions_page(known), known.cases),
        (operations_page(known), known.operations),
        (permissions_page(known, ROLES), known.operations),
        (entities_page(known), known.entities),
    ):
        assert [name for name in names if f"\n| `{name}` |" not in page] == []
