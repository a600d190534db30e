"""What of a row a device is shown: what the work needs, and no longer than the job is open."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from sync.kernel.changeset import Operation
from sync.modules.commerce import CompleteDelivery, FailDelivery, StartDelivery, WithdrawDispatch
from tests.support.decisions import depart
from tests.support.town_in_memory import MarketTown, found_market_town

REMARK = "Zoë, 1 High Street, dog bites"
SECRETS = ("customer_name", "phone", "address")


@pytest.fixture
def town() -> MarketTown:
    return found_market_town()


def shown(town: MarketTown, bucket: str, entity: str, row_id: str) -> dict[str, Any]:
    row: dict[str, Any] = orjson.loads(town.bucket(bucket)[entity, row_id])
    return row


def test_a_driver_has_the_address_until_the_goods_are_handed_over(town: MarketTown) -> None:
    order, bucket = town.places(), f"driver:{town.driver_a}"
    dispatch = depart(town, order)
    before = [shown(town, bucket, "order", order)[name] for name in SECRETS]

    town.does(town.van_a, town.driver_a, CompleteDelivery(dispatch=dispatch))

    assert before == ["Zoë", "0700 1", "1 High Street"]
    assert [shown(town, bucket, "order", order)[name] for name in SECRETS] == [None, None, None]


def test_a_warehouse_has_no_phone_number(town: MarketTown) -> None:
    order = town.places()

    assert shown(town, f"warehouse:{town.warehouse}", "order", order)["phone"] is None


@pytest.mark.parametrize("kind", [CompleteDelivery, FailDelivery])
def test_the_note_of_a_closed_dispatch_is_kept_and_not_shown(town: MarketTown, kind: type[Operation]) -> None:
    dispatch = depart(town, town.places())
    field = "received_by" if kind is CompleteDelivery else "reason"

    town.does(town.van_a, town.driver_a, kind.model_validate({"dispatch": dispatch, field: REMARK}))

    assert town.row("dispatch", dispatch)["note"] == REMARK
    assert shown(town, f"driver:{town.driver_a}", "dispatch", dispatch)["note"] == ""


def test_the_note_of_an_open_dispatch_is_shown(town: MarketTown) -> None:
    dispatch = depart(town, town.places())
    town.does(town.van_a, town.driver_a, FailDelivery(dispatch=dispatch, reason=REMARK))

    town.does(town.van_a, town.driver_a, StartDelivery(dispatch=dispatch))

    row = shown(town, f"driver:{town.driver_a}", "dispatch", dispatch)
    assert (row["state"], row["note"]) == ("OUT_FOR_DELIVERY", REMARK)


def test_a_driver_still_learns_that_a_dispatch_was_withdrawn(town: MarketTown) -> None:
    dispatch = town.assigns(town.places())

    town.office(WithdrawDispatch(dispatch=dispatch))

    row = shown(town, f"driver:{town.driver_a}", "dispatch", dispatch)
    assert (row["state"], row["note"]) == ("WITHDRAWN", "")
