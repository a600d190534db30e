"""Who may do what, and what points nowhere: the cases that arise before any module's rule is asked."""

from __future__ import annotations

import orjson
import pytest

from sync.kernel.ids import derived_id
from sync.modules.billing import TakePayment
from sync.modules.commerce import (
    AmendOrder,
    AssignDispatch,
    CancelOrder,
    CompleteDelivery,
    ReceiveStock,
    StartDelivery,
)
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import AddUser, ChangeRoles, DeactivateUser, EnrolDevice
from tests.support.decisions import (
    ACCEPTED,
    Left,
    adjusted,
    axes,
    depart,
    money,
    quarantined,
    refused,
    shelf,
    signed_amount,
    told,
)
from tests.support.town_in_memory import MarketTown

NOWHERE = derived_id("nowhere")


def test_people_mixed_intents_are_refused_and_neither_part_takes_effect(town: MarketTown) -> None:
    order = town.places()

    answered = town.does(
        town.tablet,
        town.picker,
        ReceiveStock(warehouse=town.warehouse, product=town.tea, quantity=1),
        AmendOrder(order=order, lines=[OrderLine(product=town.tea, quantity=1)]),
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


def test_people_actor_inactive_when_the_role_was_taken_away_meanwhile(town: MarketTown) -> None:
    order = town.places()
    town.office(ChangeRoles(user=town.picker, user_roles=["driver"]), actor=town.admin)
    wish = AmendOrder(order=order, lines=[OrderLine(product=town.tea, quantity=1)])

    fact = town.does(town.tablet, town.picker, ReceiveStock(warehouse=town.warehouse, product=town.tea, quantity=5))
    asked = town.does(town.tablet, town.picker, wish)

    assert [left.kind for left in told(town, fact).left] == ["actor_inactive"]
    assert told(town, asked) == refused("people.actor_refused", "Pit may not do this here.")
    assert shelf(town, town.tea) == (15, 3)


def test_a_role_that_is_given_back_is_as_it_was(town: MarketTown) -> None:
    for roles in (["driver"], ["warehouse_staff", "dispatcher", "dispatcher"]):
        town.office(ChangeRoles.model_validate({"user": town.picker, "user_roles": roles}), actor=town.admin)

    fact = town.does(town.tablet, town.picker, ReceiveStock(warehouse=town.warehouse, product=town.tea, quantity=5))

    assert told(town, fact) == ACCEPTED
    user = town.row("user", town.picker)
    assert (user["roles"], user["former_roles"]) == (["warehouse_staff", "dispatcher"], ["driver"])


def test_the_pin_goes_with_the_roles(town: MarketTown) -> None:
    town.office(ChangeRoles(user=town.picker, user_roles=["driver"]), actor=town.admin)

    held = [name for name in town.sums if ("pin", town.picker) in town.bucket(name)]

    assert held == [f"driver:{town.picker}"]


def test_the_pin_of_somebody_who_left_does_not_come_back_with_a_role(town: MarketTown) -> None:
    town.office(DeactivateUser(user=town.picker), actor=town.admin)
    town.office(ChangeRoles(user=town.picker, user_roles=["driver"]), actor=town.admin)

    assert not any(("pin", town.picker) in town.bucket(name) for name in town.sums)


def test_people_actor_refused_when_somebody_who_left_asks_for_something(town: MarketTown) -> None:
    order = town.places()
    town.office(DeactivateUser(user=town.picker), actor=town.admin)
    wish = AmendOrder(order=order, lines=[OrderLine(product=town.tea, quantity=1)])

    answered = town.does(town.tablet, town.picker, wish)

    assert told(town, answered) == refused("people.actor_refused", "Pit may not do this here.")
    assert axes(town, order) == ("active", "warehouse", "unpaid", "PLACED")


def test_people_actor_refused_when_the_device_has_no_role_for_the_wish(town: MarketTown) -> None:
    order = town.places()

    answered = town.does(town.van_a, town.driver_a, CancelOrder(order=order))

    assert told(town, answered) == refused("people.actor_refused", "Anton may not do this here.")


def test_people_actor_refused_on_a_stolen_phone_that_says_an_admin_acts(town: MarketTown) -> None:
    order = town.places()

    answered = town.does(town.van_a, town.admin, CancelOrder(order=order))

    assert told(town, answered) == refused("people.actor_refused", "Ada may not do this here.")
    assert axes(town, order) == ("active", "warehouse", "unpaid", "PLACED")


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
            sentence="Pit may not do delivery.complete on this device; what had already happened is kept.",
            about=("user", town.picker),
            by="delivery.complete",
            task="Check whether Pit should have done delivery.complete",
        ),
    )
    assert axes(town, order) == ("active", "customer", "paid", "DELIVERED")
    assert money(town, order) == (900, 900, 0)


def test_people_wrong_device_keeps_the_fact_of_another_driver_and_has_it_looked_at(town: MarketTown) -> None:
    order = town.places()

    answered = town.does(town.van_a, town.driver_b, TakePayment(order=order, amount="9.00", currency="KES"))

    assert told(town, answered) == adjusted(
        "people.wrong_device",
        Left(
            kind="wrong_device",
            sentence="This is not a device of Berta; what had already happened is kept.",
            about=("user", town.driver_b),
            by="payment.take",
            task="Find out who recorded this in the name of Berta",
        ),
    )
    assert money(town, order) == (900, 900, 0)


def test_people_wrong_device_keeps_the_fact_of_somebody_without_the_role_of_the_device(town: MarketTown) -> None:
    answered = town.does(town.tablet, town.admin, ReceiveStock(warehouse=town.warehouse, product=town.tea, quantity=5))

    assert (answered.verdict.status, answered.verdict.rule) == ("adjusted", "people.wrong_device")
    assert shelf(town, town.tea) == (15, 0)


def test_people_actor_inactive_on_the_device_of_a_driver_who_left_whoever_else_is_named(town: MarketTown) -> None:
    order = town.places()
    town.office(DeactivateUser(user=town.driver_a), actor=town.admin)
    payment = TakePayment(order=order, amount="4.00", currency="KES")

    rules = [town.does(town.van_a, actor, payment).verdict.rule for actor in (town.driver_a, town.driver_b, town.admin)]

    assert rules == ["people.actor_inactive", "people.wrong_device", "people.wrong_device"]
    assert money(town, order) == (900, 900, 300)


def test_the_pin_of_somebody_who_left_is_taken_off_every_device(town: MarketTown) -> None:
    held = [name for name in town.sums if ("pin", town.driver_a) in town.bucket(name)]

    town.office(DeactivateUser(user=town.driver_a), actor=town.admin)

    assert held == [f"driver:{town.driver_a}"]
    assert not any(("pin", town.driver_a) in town.bucket(name) for name in town.sums)


def test_devices_know_who_has_a_pin_and_who_may_work_here(town: MarketTown) -> None:
    guest = AddUser(id=town.new_id(), name="Gus", login="gus", user_roles=["driver", "driver"])
    town.office(guest, actor=town.admin)
    town.office(DeactivateUser(user=town.picker), actor=town.admin)

    shown = [orjson.loads(town.bucket("town")["user", user]) for user in (guest.id, town.picker)]

    assert shown == [
        {"name": "Gus", "roles": ["driver"], "is_active": True, "has_pin": False},
        {"name": "Pit", "roles": ["warehouse_staff"], "is_active": False, "has_pin": True},
    ]


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


@pytest.mark.parametrize("role", ["driver", "warehouse_staff"])
@pytest.mark.parametrize("has_left", [False, True], ids=["another role", "who left"])
def test_people_device_needs_somebody_who_works_here_in_its_role(
    town: MarketTown, role: str, *, has_left: bool
) -> None:
    user, other = (town.driver_a, town.picker) if role == "driver" else (town.picker, town.driver_a)
    if has_left:
        town.office(DeactivateUser(user=user), actor=town.admin)
    said = {"name": "n", "role": role, "public_key": "k", "certificate": "c", "warehouse": town.warehouse}
    enrol = EnrolDevice.model_validate({**said, "user": user if has_left else other})

    answered = town.office(enrol, actor=town.admin)

    assert told(town, answered) == refused("people.device_needs", f"A {role} device needs a {role} of this town.")


def test_engine_unknown_reference_refuses_a_wish(town: MarketTown) -> None:
    answered = town.office(CancelOrder(order=NOWHERE))

    assert told(town, answered) == refused(
        "engine.unknown_reference", "This points to a order that does not exist here."
    )


def test_engine_unknown_reference_quarantines_a_fact(town: MarketTown) -> None:
    answered = town.does(town.tablet, town.picker, ReceiveStock(warehouse=NOWHERE, product=town.tea, quantity=1))

    assert told(town, answered) == quarantined(
        "engine.unknown_reference", "This points to a warehouse that does not exist here.", answered
    )


def test_engine_quarantined_cash_leaves_the_office_a_task_and_moves_no_money(town: MarketTown) -> None:
    order = town.places()
    lost = AssignDispatch(id=town.new_id(), order=order, driver=town.picker)
    refusal = town.office(lost)
    payment = TakePayment(order=order, amount="1.00", currency="KES")

    answered = town.does(town.van_a, town.driver_a, StartDelivery(dispatch=lost.id), payment)

    reason = f"This builds on change set {refusal.submitted.seq}, which did not take effect."
    assert told(town, answered) == quarantined("engine.depends_on", reason, answered)
    assert (town.rows_of("payment"), money(town, order)[1:]) == ({}, (0, 0))


def test_engine_depends_on_names_the_change_set_that_did_not_take_effect(town: MarketTown) -> None:
    lost = AssignDispatch(id=town.new_id(), order=town.places(), driver=town.picker)
    refusal = town.office(lost)

    answered = town.does(town.van_a, town.driver_a, StartDelivery(dispatch=lost.id))

    assert told(town, answered) == quarantined(
        "engine.depends_on",
        f"This builds on change set {refusal.submitted.seq}, which did not take effect.",
        answered,
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

    assert told(town, answered) == signed_amount(problem, answered)
    assert (town.rows_of("payment"), money(town, order)) == ({}, (900, 0, 0))


def test_engine_signed_amount_is_no_matter_when_the_office_says_it(town: MarketTown) -> None:
    order = town.places()

    answered = town.office(TakePayment(order=order, amount="0.00", currency="KES"))

    assert told(town, answered) == refused("engine.invalid_amount", "The amount cannot be: nothing was taken.")


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
