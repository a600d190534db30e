"""How people settle what was left for them: a conflict once, by an ordinary change set, and tasks by hand."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from sync.engine.overlay import guess
from sync.engine.town import Answered
from sync.kernel.changeset import ChangeSet, Fields, Operation
from sync.kernel.clock import format_time
from sync.modules.casework import CompleteTask, ResolveConflict
from sync.modules.commerce import AdjustStock, AmendOrder, AssignDispatch, ReassignDispatch, ReceiveStock
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import DeactivateUser
from tests.support.decisions import ACCEPTED, depart, refused, shelf, told
from tests.support.town_in_memory import START_MS, MarketTown

AT = format_time(START_MS)


def short_shelf(town: MarketTown) -> tuple[str, str]:
    """One more has left than was there: the conflict and its task, which is the warehouse's."""
    answered = town.does(town.tablet, town.picker, AdjustStock(warehouse=town.warehouse, product=town.tea, delta=-11))
    (conflict,) = answered.verdict.conflicts
    return conflict, str(town.row("conflict", conflict)["task_id"])


def resolve(town: MarketTown, conflict: str, how: str, *others: Operation, note: str = "counted again") -> Answered:
    said = {"id": town.new_id(), "conflict": conflict, "how": how, "note": note}
    return town.office(ResolveConflict.model_validate(said), *others)


def by_the_admin(town: MarketTown, answered: Answered, note: str = "counted again") -> Fields:
    return {"note": note, "by": town.admin, "at": AT, "device_id": town.server.id, "seq": answered.submitted.seq}


def test_a_conflict_that_is_accepted_says_by_whom_and_when_and_its_task_is_done(town: MarketTown) -> None:
    conflict, task = short_shelf(town)
    before = town.row("conflict", conflict)

    answered = resolve(town, conflict, "accept")

    assert told(town, answered) == ACCEPTED
    resolution = {"how": "accept", **by_the_admin(town, answered), "operations": []}
    assert town.row("conflict", conflict) == {**before, "state": "resolved", "resolution": resolution}
    assert (town.row("task", task)["state"], town.row("task", task)["closed"]) == ("done", by_the_admin(town, answered))
    assert shelf(town, town.tea) == (-1, 0)


def test_the_device_hears_what_became_of_it_and_the_warehouse_is_rid_of_the_task(town: MarketTown) -> None:
    conflict, task = short_shelf(town)
    bucket = f"warehouse:{town.warehouse}"
    first = orjson.loads(town.bucket(f"device:{town.tablet.id}")["conflict", conflict])
    assert ("task", task) in town.bucket(bucket)

    resolve(town, conflict, "accept")

    now = orjson.loads(town.bucket(f"device:{town.tablet.id}")["conflict", conflict])
    assert ("task", task) not in town.bucket(bucket)
    assert ("resolution" in first, "task_id" in first, "task_id" in now) == (False, False, False)
    assert (now["state"], now["resolution"]["how"]) == ("resolved", "accept")


def test_a_compensation_is_in_the_same_change_set_and_named_by_the_resolution(town: MarketTown) -> None:
    conflict, _ = short_shelf(town)
    found = AdjustStock(id=town.new_id(), warehouse=town.warehouse, product=town.tea, delta=4, reason="behind the rice")

    answered = resolve(town, conflict, "compensate", found)

    assert told(town, answered) == ACCEPTED
    assert shelf(town, town.tea) == (3, 0)
    assert town.row("conflict", conflict)["resolution"]["operations"] == [{"op": "stock.adjust", "id": found.id}]


def test_an_order_goes_to_another_driver_with_the_resolution(town: MarketTown) -> None:
    conflict, _ = short_shelf(town)
    order = town.places((town.rice, 1))
    depart(town, order)

    answered = resolve(town, conflict, "reassign", ReassignDispatch(order=order, driver=town.driver_b))

    assert answered.verdict.status.has_effect
    assert town.row("order", order)["driver_id"] == town.driver_b
    assert town.row("conflict", conflict)["state"] == "resolved"


def test_when_the_compensation_is_refused_the_conflict_stays_open(town: MarketTown) -> None:
    conflict, task = short_shelf(town)
    order = town.places((town.rice, 1))

    answered = resolve(town, conflict, "reassign", ReassignDispatch(order=order, driver=town.driver_b))

    assert told(town, answered) == refused("orders.not_assigned", "Order 1001 has no driver.")
    assert (town.row("conflict", conflict)["state"], town.row("task", task)["state"]) == ("open", "open")


def test_casework_already_resolved_refuses_a_second_resolution(town: MarketTown) -> None:
    conflict, _ = short_shelf(town)
    resolve(town, conflict, "accept")
    before = town.row("conflict", conflict)
    town.now_ms += 1000

    answered = resolve(town, conflict, "write_off", note="I think otherwise")

    assert told(town, answered) == refused(
        "casework.already_resolved", f"This conflict was resolved before, at {AT} by accept."
    )
    assert town.row("conflict", conflict) == before


def adjust(town: MarketTown) -> Operation:
    return AdjustStock(warehouse=town.warehouse, product=town.tea, delta=1)


def amend(town: MarketTown) -> Operation:
    return AmendOrder(order=town.places((town.rice, 1)), lines=[OrderLine(product=town.rice, quantity=2)])


def assign(town: MarketTown) -> Operation:
    return AssignDispatch(order=town.places((town.rice, 1)), driver=town.driver_a)


def deactivate(town: MarketTown) -> Operation:
    return DeactivateUser(user=town.picker)


FITS: list[tuple[str, Any, bool]] = [
    ("accept", None, True),
    ("accept", adjust, False),
    ("compensate", None, False),
    ("compensate", adjust, True),
    ("compensate", amend, True),
    ("compensate", assign, False),
    ("compensate", deactivate, False),
    ("reassign", None, False),
    ("reassign", assign, True),
    ("reassign", adjust, False),
    ("write_off", None, True),
    ("write_off", adjust, True),
    ("write_off", amend, False),
]


@pytest.mark.parametrize(("how", "make", "is_fit"), FITS)
def test_casework_resolution_unfit_unless_what_is_done_is_what_is_said(
    town: MarketTown, how: str, make: Any, *, is_fit: bool
) -> None:
    conflict, _ = short_shelf(town)
    town.does(town.tablet, town.picker, ReceiveStock(warehouse=town.warehouse, product=town.rice, quantity=5))

    answered = resolve(town, conflict, how, *([make(town)] if make else []))

    assert answered.verdict.rule == (None if is_fit else "casework.resolution_unfit")
    assert town.row("conflict", conflict)["state"] == ("resolved" if is_fit else "open")


def test_a_dispatcher_may_resolve_but_only_by_what_a_dispatcher_may_do(town: MarketTown) -> None:
    (first, _), (second, _) = short_shelf(town), short_shelf(town)

    alone = town.office(ResolveConflict(conflict=first, how="accept", note="n"), actor=town.dispatcher)
    with_stock = town.office(
        ResolveConflict(conflict=second, how="compensate", note="n"), adjust(town), actor=town.dispatcher
    )

    assert (alone.verdict.status.value, with_stock.verdict.rule) == ("accepted", "people.actor_refused")


def test_a_task_is_closed_by_hand_on_the_tablet_that_has_it(town: MarketTown) -> None:
    conflict, task = short_shelf(town)

    answered = town.does(town.tablet, town.picker, CompleteTask(task=task, note="counted: minus one is right"))

    assert told(town, answered) == ACCEPTED
    closed = town.row("task", task)["closed"]
    assert (closed["by"], closed["device_id"], closed["note"]) == (
        town.picker,
        town.tablet.id,
        "counted: minus one is right",
    )
    assert (town.row("task", task)["state"], town.row("conflict", conflict)["state"]) == ("done", "open")
    assert told(town, resolve(town, conflict, "accept")) == ACCEPTED
    assert town.row("task", task)["closed"] == closed


def test_casework_already_done_refuses_to_close_a_task_twice(town: MarketTown) -> None:
    conflict, task = short_shelf(town)
    resolve(town, conflict, "accept")

    answered = town.office(CompleteTask(task=task, note="again"))

    assert told(town, answered) == refused("casework.already_done", f"This task was closed before, at {AT}.")


def test_casework_not_your_task_refuses_a_device_that_does_not_have_it(town: MarketTown) -> None:
    _, task = short_shelf(town)

    answered = town.does(town.van_a, town.driver_a, CompleteTask(task=task, note="done"))

    assert told(town, answered) == refused("casework.not_your_task", "This task is for others to do.")
    assert town.row("task", task)["state"] == "open"


def test_the_office_may_close_any_task_and_the_conflict_stays(town: MarketTown) -> None:
    conflict, task = short_shelf(town)

    answered = town.office(CompleteTask(task=task, note="done"), actor=town.dispatcher)

    assert told(town, answered) == ACCEPTED
    assert (town.row("task", task)["state"], town.row("conflict", conflict)["state"]) == ("done", "open")


def test_a_device_shows_a_task_as_done_that_its_user_has_done(town: MarketTown) -> None:
    _, task = short_shelf(town)
    done = CompleteTask(task=task, note="counted")
    change_set = town.line(town.tablet, town.picker, done).change_set
    assert isinstance(change_set, ChangeSet)
    held = {key: orjson.loads(body) for key, body in town.bucket(f"warehouse:{town.warehouse}").items()}
    people = {key: orjson.loads(body) for key, body in town.bucket("town").items()}
    own = {("device", town.tablet.id): {"role": "warehouse_staff", "user_id": None}}

    decision = guess(change_set, lambda *key: {**held, **people, **own}.get(key), {}, town.registry)

    assert (decision.verdict.status, decision.rows["task", task]["state"]) == ("accepted", "done")
