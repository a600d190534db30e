"""What comes of a revoked device all the same: facts are kept for somebody to look at, wishes are refused."""

from __future__ import annotations

from sync.modules.commerce import AmendOrder, ReceiveStock
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import RevokeDevice
from tests.support.decisions import ACCEPTED, quarantined, refused, shelf, told
from tests.support.town_in_memory import MarketTown

SENTENCE = "This device was revoked; what happened before it was lost is kept for the office to look at."
LOST_AT, LATER = "2020-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"


def test_people_device_revoked_keeps_a_fact_without_effect(town: MarketTown) -> None:
    town.office(RevokeDevice(device=town.tablet.id, reason="stolen"), actor=town.admin)

    answered = town.does(town.tablet, town.picker, ReceiveStock(warehouse=town.warehouse, product=town.tea, quantity=5))

    assert told(town, answered) == quarantined("people.device_revoked", SENTENCE, answered)
    assert shelf(town, town.tea) == (10, 0)


def test_people_device_revoked_refuses_a_wish(town: MarketTown) -> None:
    order = town.places()
    town.office(RevokeDevice(device=town.tablet.id, reason="stolen"), actor=town.admin)

    answered = town.does(
        town.tablet, town.picker, AmendOrder(order=order, lines=[OrderLine(product=town.tea, quantity=1)])
    )

    assert told(town, answered) == refused("people.device_revoked", SENTENCE)


def test_when_a_device_was_lost_may_be_said_later_and_is_never_ahead(town: MarketTown) -> None:
    device = ("device", town.tablet.id)
    said = [
        RevokeDevice(device=town.tablet.id, reason="stolen"),
        RevokeDevice(device=town.tablet.id, reason="found in the books", lost_at=LOST_AT),
        RevokeDevice(device=town.tablet.id, reason="another slip", lost_at=LATER),
    ]
    lost = []
    for operation in said:
        assert told(town, town.office(operation, actor=town.admin)) == ACCEPTED
        lost.append(town.row(*device)["lost_at"])

    assert lost[:2] == [None, LOST_AT]
    assert lost[2] < LATER
    assert town.row(*device)["reason"] == "stolen"
