"""Every operation on a device of every role, by everybody: the whole of who may do what, as a table of its own.

The table is written by hand and not read from the operations, so that a role given away by mistake shows here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from sync.engine.town import Answered
from sync.kernel.changeset import Intent, Operation
from sync.kernel.ids import derived_id
from sync.modules import registry
from sync.modules.billing import TakePayment
from sync.modules.casework import CompleteTask, ResolveConflict
from sync.modules.catalogue import DefineProduct, OfferProduct
from sync.modules.commerce import (
    AdjustStock,
    AmendOrder,
    AssignDispatch,
    AssignStub,
    CancelOrder,
    CompleteDelivery,
    CompletePack,
    CorrectDelivery,
    CountLine,
    CountStock,
    ExpireStub,
    FailDelivery,
    GrantQuota,
    OpenWarehouse,
    PickLine,
    PlaceOrder,
    ReassignDispatch,
    ReceiveStock,
    ReportMissing,
    ReturnDelivery,
    ReturnQuota,
    ShortPick,
    StartDelivery,
    StartPick,
    TransferStock,
    WithdrawDispatch,
    WithdrawQuota,
)
from sync.modules.commerce.operations import OrderLine
from sync.modules.commerce.retention import ArchiveOrder
from sync.modules.histories import (
    BeginEpoch,
    LineMark,
    NoteChangedVerdict,
    RejectLines,
    ReleaseDevice,
    VerdictMark,
)
from sync.modules.identity import (
    AddUser,
    ChangeRoles,
    ChangeSettings,
    DeactivateUser,
    DeviceRole,
    EnrolDevice,
    FoundTown,
    RevokeDevice,
    Role,
    SuspendDevice,
)
from sync.modules.town_settings import TownSettings
from tests.support.counters import CounterTown
from tests.support.money_operations import (
    AT_A_COUNTER,
    AT_A_TILL,
    BY_THE_TOWN,
    IN_A_SCHOOL,
    IN_AN_OFFICE,
    MONEY_OPERATIONS,
    MoneyStage,
)
from tests.support.town_in_memory import MemoryDevice

MAY_BE_DONE = {
    "warehouse_staff": {
        *("stock.receive", "stock.adjust", "stock.transfer", "stock.count", "order.place", "order.amend"),
        "quota.return",
        *("pick.start", "pick.line", "pick.short", "pack.complete", "delivery.return", "task.complete"),
    },
    "driver": {
        *("delivery.start", "delivery.complete", "delivery.fail", "delivery.correct", "task.complete"),
        *AT_A_TILL,
    },
    "counter_clerk": AT_A_COUNTER,
    "school_office": IN_A_SCHOOL,
    "server": set[str](),
}
"""What may be done on a device of each role. `server`: a device that is not the town's own and calls itself one."""

OWN, SHARED, COUNTER, SCHOOL, NOBODYS = "own", "shared", "a counter's", "a school's", "nobody's"
DEVICES = {
    "warehouse_staff": SHARED,
    "driver": OWN,
    "counter_clerk": COUNTER,
    "school_office": SCHOOL,
    "server": NOBODYS,
}
INACTIVE, WRONG = "people.actor_inactive", "people.wrong_device"
NOWHERE: dict[str, str | None] = dict.fromkeys(DEVICES.values(), WRONG)
GONE: dict[str, str | None] = dict.fromkeys(DEVICES.values(), INACTIVE)
PEOPLE: dict[str, dict[str, str | None]] = {
    "a picker": {**NOWHERE, SHARED: None},
    "a clerk": {**NOWHERE, COUNTER: None},
    "a secretary": {**NOWHERE, SCHOOL: None},
    "the driver": {**NOWHERE, OWN: None},
    "another driver": NOWHERE,
    "a dispatcher": NOWHERE,
    "an admin": NOWHERE,
    "somebody of every role": {**NOWHERE, SHARED: None, COUNTER: None, SCHOOL: None},
    "somebody who left": GONE,
    "somebody unknown": GONE,
}
"""What speaks against each of them on each kind of device, whatever they do there."""

AT = "2026-12-24T08:00:00.000Z"
LEFT, JACK = derived_id("left"), derived_id("jack")


@pytest.fixture
def town(counters: CounterTown) -> CounterTown:
    return counters


class Stage(MoneyStage):
    """A market town with an order on the way, everybody of the table, and a device of every role."""

    def __init__(self, town: CounterTown) -> None:
        super().__init__(town)
        self.order = town.places()
        self.dispatch = town.assigns(self.order)
        self.actors = {
            "a picker": town.picker,
            "a clerk": town.clerk,
            "a secretary": town.secretary,
            "the driver": town.driver_a,
            "another driver": town.driver_b,
            "a dispatcher": town.dispatcher,
            "an admin": town.admin,
            "somebody of every role": JACK,
            "somebody who left": LEFT,
            "somebody unknown": derived_id("unknown"),
        }
        everything = list(get_args(Role))
        town.office(
            AddUser(id=JACK, name="Jack", login="jack", user_roles=everything),
            AddUser(id=LEFT, name="Leo", login="leo", user_roles=everything),
            DeactivateUser(user=LEFT),
            EnrolDevice(id=town.device("impostor").id, name="i", role="server", public_key="k", certificate="c"),
        )
        town.does(town.tablet, town.picker, AdjustStock(warehouse=town.warehouse, product=town.rice, delta=-11))
        self.conflict, self.task = list(town.rows_of("conflict"))[-1], list(town.rows_of("task"))[-1]
        town.does(town.van_b, town.driver_b, TakePayment(order=derived_id("late"), amount="1.00", currency="KES"))
        (self.stub,) = town.rows_of("stub")
        quota = GrantQuota(device=town.tablet.id, warehouse=town.warehouse, product=town.tea, quantity=1, expires_at=AT)
        town.office(quota)
        (self.quota,) = town.rows_of("stock_quota")
        self.devices = {"warehouse_staff": town.tablet, "driver": town.van_a, "server": town.device("impostor")}
        self.devices |= {"counter_clerk": town.desk_a, "school_office": town.school_pc}

    def does(self, device: MemoryDevice, actor: str, name: str) -> Answered:
        return self.town.does(device, self.actors[actor], OPERATIONS[name](self))


def one_tea(stage: Stage) -> list[OrderLine]:
    return [OrderLine(product=stage.town.tea, quantity=1)]


def found(_stage: Stage) -> Operation:
    return FoundTown(name="Mine", currency="KES", time_zone="UTC")


def add_user(_stage: Stage) -> Operation:
    return AddUser(name="Eve", login="eve", user_roles=["admin"])


def enrol(_stage: Stage) -> Operation:
    return EnrolDevice(name="e", role="server", public_key="k", certificate="c")


def place(stage: Stage) -> Operation:
    return PlaceOrder(number="9", warehouse=stage.town.warehouse, customer_name="c", lines=one_tea(stage))


def receive(stage: Stage) -> Operation:
    return ReceiveStock(warehouse=stage.town.warehouse, product=stage.town.tea, quantity=1)


def adjust(stage: Stage) -> Operation:
    return AdjustStock(warehouse=stage.town.warehouse, product=stage.town.tea, delta=1)


def transfer(stage: Stage) -> Operation:
    warehouse = stage.town.warehouse
    return TransferStock(source=warehouse, target=warehouse, product=stage.town.tea, quantity=1)


def count(stage: Stage) -> Operation:
    return CountStock(warehouse=stage.town.warehouse, lines=[CountLine(product=stage.town.tea, counted=1)])


def grant(stage: Stage) -> Operation:
    town = stage.town
    said = {"device": town.tablet.id, "warehouse": town.warehouse, "product": town.tea, "quantity": 1}
    return GrantQuota.model_validate({**said, "expires_at": AT})


def reject(stage: Stage) -> Operation:
    return RejectLines(device=stage.town.van_b.id, lines=[LineMark(seq=1, hash="A" * 43)], reason="r")


def note_changed(stage: Stage) -> Operation:
    mark = VerdictMark(status="accepted", version=1)
    return NoteChangedVerdict(device=stage.town.van_b.id, seq=1, before=mark, now=mark)


OPERATIONS: dict[str, Callable[[Stage], Operation]] = {
    "town.found": found,
    "town.change_settings": lambda _stage: ChangeSettings(settings=TownSettings()),
    "user.add": add_user,
    "user.change_roles": lambda stage: ChangeRoles(user=stage.town.driver_b, user_roles=["driver"]),
    "user.deactivate": lambda stage: DeactivateUser(user=stage.town.driver_b),
    "device.enrol": enrol,
    "device.suspend": lambda stage: SuspendDevice(device=stage.town.van_b.id, reason="r"),
    "device.revoke": lambda stage: RevokeDevice(device=stage.town.van_b.id, reason="r"),
    "product.define": lambda _stage: DefineProduct(sku="X", name="X"),
    "product.offer": lambda stage: OfferProduct(product=stage.town.tea, price="1.00"),
    "warehouse.open": lambda _stage: OpenWarehouse(name="W"),
    "payment.take": lambda stage: TakePayment(order=stage.order, amount="1.00", currency="KES"),
    "stock.receive": receive,
    "stock.adjust": adjust,
    "stock.transfer": transfer,
    "order.place": place,
    "order.amend": lambda stage: AmendOrder(order=stage.order, lines=one_tea(stage)),
    "order.cancel": lambda stage: CancelOrder(order=stage.order),
    "pick.start": lambda stage: StartPick(order=stage.order),
    "pick.line": lambda stage: PickLine(order=stage.order, product=stage.town.tea, quantity=1),
    "pick.short": lambda stage: ShortPick(order=stage.order, product=stage.town.tea, quantity=1),
    "pack.complete": lambda stage: CompletePack(order=stage.order),
    "dispatch.assign": lambda stage: AssignDispatch(order=stage.order, driver=stage.town.driver_a),
    "dispatch.reassign": lambda stage: ReassignDispatch(order=stage.order, driver=stage.town.driver_b),
    "dispatch.withdraw": lambda stage: WithdrawDispatch(dispatch=stage.dispatch),
    "delivery.start": lambda stage: StartDelivery(dispatch=stage.dispatch),
    "delivery.complete": lambda stage: CompleteDelivery(dispatch=stage.dispatch),
    "delivery.fail": lambda stage: FailDelivery(dispatch=stage.dispatch),
    "delivery.correct": lambda stage: CorrectDelivery(dispatch=stage.dispatch, reason="r"),
    "conflict.resolve": lambda stage: ResolveConflict(conflict=stage.conflict, how="accept", note="n"),
    "task.complete": lambda stage: CompleteTask(task=stage.task, note="n"),
    "stub.assign": lambda stage: AssignStub(stub=stage.stub, order=stage.order),
    "stub.expire": lambda stage: ExpireStub(stub=stage.stub),
    "order.report_missing": lambda stage: ReportMissing(order=stage.order, attempt=1, undelivered_at=AT),
    "order.archive": lambda stage: ArchiveOrder(order=stage.order, dispatches=[stage.dispatch]),
    "stock.count": count,
    "quota.grant": grant,
    "quota.withdraw": lambda stage: WithdrawQuota(quota=stage.quota),
    "quota.return": lambda stage: ReturnQuota(quota=stage.quota),
    "town.begin_epoch": lambda stage: BeginEpoch(before=stage.town.epoch, version=0, journal="A" * 43, reason="r"),
    "device.release": lambda stage: ReleaseDevice(device=stage.town.van_b.id, reason="r"),
    "device.reject_lines": reject,
    "verdict.note_changed": note_changed,
    "delivery.return": lambda stage: ReturnDelivery(order=stage.order),
    **MONEY_OPERATIONS,
}


def test_the_table_is_complete() -> None:
    assert OPERATIONS.keys() == registry().operations.keys()
    assert MAY_BE_DONE.keys() == DEVICES.keys() == set(get_args(DeviceRole))


@pytest.mark.parametrize("role", DEVICES)
@pytest.mark.parametrize("actor", PEOPLE)
@pytest.mark.parametrize("name", OPERATIONS)
def test_people_actor_refused_wrong_device_or_not_permitted_as_the_table_says(
    town: CounterTown, name: str, actor: str, role: str
) -> None:
    stage = Stage(town)
    objection = PEOPLE[actor][DEVICES[role]]
    if objection is None and name not in MAY_BE_DONE[role]:
        objection = "people.not_permitted"
    before = dict(town.rows)

    verdict = stage.does(stage.devices[role], actor, name).verdict

    codes = [note.code for note in verdict.notes if note.code.startswith("people.")]
    kind = registry().operations[name]
    is_wish = kind.intent is Intent.WISH and kind.offline_intent is None
    if objection and is_wish:
        assert (verdict.status, codes) == ("refused", ["people.actor_refused"])
        assert {key: row for key, row in town.rows.items() if key[0] != "voided"} == before
    elif objection:
        assert (verdict.status, verdict.rule, codes) == ("adjusted", objection, [objection])
        assert town.row("conflict", verdict.conflicts[0])["rule"] == objection
    else:
        assert codes == []


TOWN_ALONE = {
    "town.found",
    "stub.expire",
    "order.report_missing",
    "order.archive",
    "verdict.note_changed",
} | BY_THE_TOWN
"""What no role may do."""


@pytest.mark.parametrize("name", sorted(TOWN_ALONE))
def test_a_device_says_nothing_that_only_the_town_may_say(town: CounterTown, name: str) -> None:
    stage = Stage(town)
    before = dict(town.rows)

    verdict = stage.does(stage.devices["warehouse_staff"], "a picker", name).verdict

    assert verdict.status == "refused"
    assert {key: row for key, row in town.rows.items() if key[0] != "voided"} == before


IN_THE_OFFICE = {
    "admin": set(OPERATIONS) - TOWN_ALONE,
    "dispatcher": {
        *("order.place", "order.amend", "order.cancel", "dispatch.assign", "dispatch.reassign", "dispatch.withdraw"),
        *("delivery.start", "delivery.complete", "delivery.fail", "delivery.correct"),
        *IN_AN_OFFICE,
        *("conflict.resolve", "task.complete", "stub.assign", "quota.grant", "quota.withdraw", "quota.return"),
    },
    "warehouse_staff": MAY_BE_DONE["warehouse_staff"],
    "driver": MAY_BE_DONE["driver"],
    "counter_clerk": MAY_BE_DONE["counter_clerk"],
    "school_office": MAY_BE_DONE["school_office"],
}
"""What somebody of one role may do who has signed in: the same table, asked for the person's roles."""


@pytest.mark.parametrize("role", get_args(Role))
@pytest.mark.parametrize("name", OPERATIONS)
def test_people_actor_refused_in_the_office_as_the_roles_of_the_user_say(
    town: CounterTown, name: str, role: Role
) -> None:
    stage = Stage(town)
    somebody = derived_id("somebody")
    town.office(AddUser(id=somebody, name="Sue", login="sue", user_roles=[role]))
    stage.actors["somebody"] = somebody
    before = dict(town.rows)

    verdict = stage.does(town.server, "somebody", name).verdict

    codes = [note.code for note in verdict.notes if note.code.startswith("people.")]
    if name in IN_THE_OFFICE[role]:
        assert codes == []
    else:
        assert (verdict.status, codes) == ("refused", ["people.actor_refused"])
        assert {key: row for key, row in town.rows.items() if key[0] != "voided"} == before


@pytest.mark.parametrize("actor", ["somebody who left", "somebody unknown"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_people_actor_refused_in_the_office_for_who_does_not_work_here(
    town: CounterTown, name: str, actor: str
) -> None:
    verdict = Stage(town).does(town.server, actor, name).verdict

    assert (verdict.status, verdict.rule) == ("refused", "people.actor_refused")


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_town_itself_is_no_user_and_may_do_everything(town: CounterTown, name: str) -> None:
    stage = Stage(town)
    stage.actors["the town"] = town.server.id

    verdict = stage.does(town.server, "the town", name).verdict

    assert [note.code for note in verdict.notes if note.code.startswith("people.")] == []
