"""Who may do what, and what points nowhere: the cases that arise before any module's rule is asked."""

from __future__ import annotations

import pytest

from sync.kernel.changeset import Operation
from sync.kernel.ids import derived_id
from sync.modules.billing import TakePayment
from sync.modules.catalogue import DefineProduct, OfferProduct
from sync.modules.commerce import (
    AmendOrder,
    AssignDispatch,
    CancelOrder,
    CompleteDelivery,
    OpenWarehouse,
    ReceiveStock,
    StartDelivery,
    StartPick,
)
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import AddUser, DeactivateUser, EnrolDevice, RevokeDevice, SuspendDevice
from tests.support.decisions import ACCEPTED, Left, Told, adjusted, axes, depart, money, refused, shelf, told
from tests.support.town_in_memory import MarketTown

NOWHERE = derived_id("nowhere")


def test_people_mixed_intents_are_refused_and_neither_part_takes_effect(town: MarketTown) -> None:
    order = town.places()

    answered = town.does(
        town.tablet,
        town.dispatcher,
        ReceiveStock(warehouse=town.warehouse, product=town.tea, quantity=1),
        CancelOrder(order=order),
    )

    assert told(town, answered) == refused(
        "people.mixed_intents",
        "What happened and what is asked for cannot be recorded as one action; record them one after the other.",
    )
    assert axes(town, order) == ("active", "warehouse", "unpaid", "PLACED")
    assert shelf(town, town.tea) == (10, 3)


def test_people_actor_inactive_keeps_the_fact_and_has_it_looked_at(town: MarketTown) -> None:
    town.office(DeactivateUser(user=town.picker), actor=town.admin)

    answered = town.does(town.tablet, town.picker, ReceiveStock(warehouse=town.warehouse, product=town.tea, quantity=5))

    assert told(town, answered) == adjusted(
        "people.actor_inactive",
        Left(
            kind="actor_inactive",
            sentence="Pit may not work here any more; what had already happened is kept.",
            about=("user", town.picker),
            by="stock.receive",
            task="Check what Pit recorded after leaving",
        ),
    )
    assert shelf(town, town.tea) == (15, 0)


def test_people_actor_refused_when_somebody_who_left_asks_for_something(town: MarketTown) -> None:
    order = town.places()
    town.office(DeactivateUser(user=town.dispatcher), actor=town.admin)

    answered = town.does(town.tablet, town.dispatcher, CancelOrder(order=order))

    assert told(town, answered) == refused("people.actor_refused", "Dina may not do this here.")
    assert axes(town, order) == ("active", "warehouse", "unpaid", "PLACED")


def test_people_actor_refused_when_the_role_does_not_cover_the_wish(town: MarketTown) -> None:
    order = town.places()

    answered = town.does(town.van_a, town.driver_a, CancelOrder(order=order))

    assert told(town, answered) == refused("people.actor_refused", "Anton may not do this here.")


def test_people_not_permitted_keeps_the_fact_of_somebody_without_the_role(town: MarketTown) -> None:
    order = town.places()
    dispatch = depart(town, order)

    answered = town.does(
        town.tablet,
        town.picker,
        CompleteDelivery(dispatch=dispatch, received_by="Zoë"),
        TakePayment(order=order, amount="9.00", currency="KES"),
    )

    assert told(town, answered) == adjusted(
        "people.not_permitted",
        Left(
            kind="not_permitted",
            sentence="Pit has no role for delivery.complete; what had already happened is kept.",
            about=("user", town.picker),
            by="delivery.complete",
            task="Check whether Pit should have done delivery.complete",
        ),
    )
    assert axes(town, order) == ("active", "customer", "paid", "DELIVERED")
    assert money(town, order) == (900, 900, 0)


@pytest.mark.parametrize(
    "wish",
    [
        AddUser(name="Eve", login="eve", user_roles=["admin"]),
        DeactivateUser(user=NOWHERE),
        EnrolDevice(name="eve", role="server", public_key="k", certificate="c"),
        SuspendDevice(device=NOWHERE, reason="r"),
        RevokeDevice(device=NOWHERE, reason="r"),
        DefineProduct(sku="X", name="X"),
        OfferProduct(product=NOWHERE, price="1.00"),
        OpenWarehouse(name="W"),
    ],
    ids=lambda wish: wish.op,
)
def test_people_office_only_refuses_a_device_even_when_it_says_that_an_admin_acts(
    town: MarketTown, wish: Operation
) -> None:
    before = dict(town.rows)

    answered = town.does(town.van_a, town.admin, wish)

    assert told(town, answered) == refused("people.office_only", "This is done in the office, not on a device.")
    assert {key: row for key, row in town.rows.items() if key[0] != "voided"} == before


@pytest.mark.parametrize(
    ("role", "sentence"),
    [
        ("driver", "A driver device needs a driver of this town."),
        ("warehouse_staff", "A warehouse_staff device needs a warehouse of this town."),
    ],
)
def test_people_device_needs_somebody_or_something_to_be_for(town: MarketTown, role: str, sentence: str) -> None:
    enrol = EnrolDevice.model_validate({"name": "n", "role": role, "public_key": "k", "certificate": "c"})

    answered = town.office(enrol, actor=town.admin)

    assert told(town, answered) == refused("people.device_needs", sentence)
    assert len(town.rows_of("device")) == 4


def test_engine_unknown_reference_refuses_a_wish(town: MarketTown) -> None:
    answered = town.office(CancelOrder(order=NOWHERE))

    assert told(town, answered) == refused(
        "engine.unknown_reference", "This points to a order that does not exist here."
    )


def test_engine_unknown_reference_quarantines_a_fact(town: MarketTown) -> None:
    answered = town.does(town.tablet, town.picker, StartPick(order=NOWHERE))

    assert told(town, answered) == Told(
        status="quarantined",
        rule="engine.unknown_reference",
        sentences=("This points to a order that does not exist here.",),
    )


def test_engine_depends_on_names_the_change_set_that_did_not_take_effect(town: MarketTown) -> None:
    lost = AssignDispatch(id=town.new_id(), order=town.places(), driver=town.picker)
    refusal = town.office(lost)

    answered = town.does(town.van_a, town.driver_a, StartDelivery(dispatch=lost.id))

    assert told(town, answered) == Told(
        status="quarantined",
        rule="engine.depends_on",
        sentences=(f"This builds on change set {refusal.submitted.seq} of the same day, which did not take effect.",),
    )
    assert answered.verdict.notes[0].data == {"device_id": town.server.id, "seq": refusal.submitted.seq}


@pytest.mark.parametrize(
    ("amount", "currency", "problem"),
    [
        ("0", "KES", "nothing was taken"),
        ("0.00", "KES", "nothing was taken"),
        ("1.005", "KES", "KES has 2 decimal places, the amount has 3"),
        ("1.00", "XXX", "currency 'XXX' is not an active ISO 4217 code"),
    ],
)
def test_engine_invalid_amount_is_no_payment(town: MarketTown, amount: str, currency: str, problem: str) -> None:
    order = town.places()

    answered = town.does(town.van_a, town.driver_a, TakePayment(order=order, amount=amount, currency=currency))

    assert told(town, answered) == refused("engine.invalid_amount", f"The amount cannot be: {problem}.")
    assert (town.rows_of("payment"), money(town, order)) == ({}, (900, 0, 0))


def test_engine_invalid_amount_when_an_order_is_larger_than_any_order_can_be(town: MarketTown) -> None:
    order = town.places()
    lines = [OrderLine(product=town.tea, quantity=1, price="999999999999.99") for _ in range(10)]
    town.does(town.tablet, town.picker, ReceiveStock(warehouse=town.warehouse, product=town.tea, quantity=1_000_000))
    wish = AmendOrder(order=order, lines=[line.model_copy(update={"quantity": 1000}) for line in lines])

    answered = town.office(wish)

    assert told(town, answered) == refused(
        "engine.invalid_amount", "The amount cannot be: the order is larger than any order can be."
    )
    assert money(town, order) == (900, 0, 0)


def test_engine_id_taken_refuses_a_second_row_of_the_same_id(town: MarketTown) -> None:
    order = town.places()
    payment = TakePayment(id=town.new_id(), order=order, amount="4.00", currency="KES")
    first = town.does(town.van_a, town.driver_a, payment)

    second = town.does(town.van_b, town.driver_b, payment)

    assert told(town, first) == ACCEPTED
    assert told(town, second) == refused("engine.id_taken", "The id of this payment is already used.")
    assert money(town, order) == (900, 400, 0)
