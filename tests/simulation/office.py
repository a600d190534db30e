"""What the people of the office do, online: they plan, cancel, reassign, clear up, and now and then get it wrong.

They see the tables of their town as the console does, and act through the real write path of some server process. Where
the answer is lost they ask again under the same key, as their browser does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from server.adapters.memory_town import TownState
from server.domain.devices import server_device_id
from sync.kernel.changeset import Fields, Operation
from sync.kernel.clock import format_time
from sync.kernel.ids import RANDOM_BYTES, make_id
from sync.modules.billing import TakePayment
from sync.modules.casework import CompleteTask, ResolveConflict
from sync.modules.catalogue import OfferProduct
from sync.modules.commerce import (
    AdjustStock,
    AmendOrder,
    ArchiveOrder,
    AssignDispatch,
    AssignStub,
    CancelOrder,
    CompleteDelivery,
    CorrectDelivery,
    ExpireStub,
    GrantQuota,
    PlaceOrder,
    ReassignDispatch,
    ReceiveStock,
    ReportMissing,
    ReturnQuota,
    WithdrawDispatch,
    WithdrawQuota,
)
from sync.modules.commerce.entities import is_closed
from sync.modules.commerce.operations import OrderLine
from sync.modules.histories import ReleaseDevice
from sync.modules.identity import AddUser, ChangeRoles, ChangeSettings, DeactivateUser, RevokeDevice, SuspendDevice
from sync.modules.town_settings import TownSettings
from tests.simulation.stage import StagedTown

DAY_MS = 24 * 3600 * 1000


@dataclass(kw_only=True)
class Desk:
    """Where somebody of the office sits: the town, its tables as they are now, and who it is."""

    town: StagedTown
    state: TownState
    random: Random
    now_ms: int
    heard: list[tuple[str, str]]

    def new_id(self) -> str:
        """An id that nobody has."""
        return make_id(self.now_ms, self.random.randbytes(RANDOM_BYTES))

    def one(self, entity: str, is_wanted: Callable[[Fields], bool] = lambda _: True) -> tuple[str, Fields] | None:
        """Some row of this kind."""
        found = [
            (row_id, stored.fields)
            for (of, row_id), stored in self.state.rows.items()
            if of == entity and is_wanted(stored.fields)
        ]
        return self.random.choice(found) if found else None

    def lines(self) -> list[OrderLine]:
        """What a customer wants."""
        wanted = self.random.sample(list(self.town.products), self.random.randint(1, 2))
        return [OrderLine(product=product, quantity=self.random.randint(1, 5)) for product in wanted]

    def driver(self) -> str:
        """Somebody who drives; once in a while somebody who does not."""
        return self.random.choice([*self.town.drivers * 4, self.town.dispatcher])


Asked = tuple[str, list[Operation]]
"""Who asks, and for what."""
Errand = Callable[[Desk], Asked | None]


def place_order(desk: Desk) -> Asked | None:
    """A customer on the telephone."""
    order_id = desk.new_id()
    desk.heard.append(("order", order_id))
    placed = PlaceOrder(
        id=order_id,
        number=order_id[-6:],
        warehouse=desk.random.choice(desk.town.warehouses),
        customer_name="Zoë",
        phone="0700 1",
        address="1 High Street",
        lines=desk.lines(),
        payment_method=desk.random.choice(("cod", "cod", "account")),
    )
    return desk.town.dispatcher, [placed]


def assign(desk: Desk) -> Asked | None:
    """A driver for an order."""
    found = desk.one("order", lambda row: not row["driver_id"]) or desk.one("order")
    if found is None:
        return None
    dispatch_id = desk.new_id()
    desk.heard.append(("dispatch", dispatch_id))
    return desk.town.dispatcher, [AssignDispatch(id=dispatch_id, order=found[0], driver=desk.driver())]


def reassign(desk: Desk) -> Asked | None:
    """Another driver."""
    found = desk.one("order", lambda row: bool(row["driver_id"])) or desk.one("order")
    if found is None:
        return None
    dispatch_id = desk.new_id()
    desk.heard.append(("dispatch", dispatch_id))
    return desk.town.dispatcher, [ReassignDispatch(id=dispatch_id, order=found[0], driver=desk.driver())]


def withdraw(desk: Desk) -> Asked | None:
    """Off the tour."""
    found = desk.one("dispatch")
    return (desk.town.dispatcher, [WithdrawDispatch(dispatch=found[0])]) if found else None


def cancel(desk: Desk) -> Asked | None:
    """The customer does not want it."""
    found = desk.one("order")
    if found is None:
        return None
    is_customer = desk.random.random() < 0.5
    return desk.town.dispatcher, [CancelOrder(order=found[0], reason="changed mind", by_customer=is_customer)]


def amend(desk: Desk) -> Asked | None:
    """Other goods."""
    found = desk.one("order")
    return (desk.town.dispatcher, [AmendOrder(order=found[0], lines=desk.lines())]) if found else None


def price(desk: Desk) -> Asked | None:
    """Another price, or not on sale any more."""
    offered = OfferProduct(
        product=desk.random.choice(desk.town.products),
        price=desk.random.choice(("2.50", "4.00")),
        is_enabled=desk.random.random() < 0.8,
    )
    return desk.town.admin, [offered]


def grant_quota(desk: Desk) -> Asked | None:
    """A tablet may sell so many by itself; a van may not."""
    found = desk.one("device", lambda row: row["role"] != "server")
    if found is None:
        return None
    until = format_time(desk.now_ms + desk.random.choice((0, 1, 5)) * DAY_MS + 60_000)
    warehouse = found[1]["warehouse_id"] or desk.town.warehouses[0]
    product, quantity = desk.random.choice(desk.town.products), desk.random.randint(1, 4)
    granted = GrantQuota(device=found[0], warehouse=warehouse, product=product, quantity=quantity, expires_at=until)
    return desk.town.dispatcher, [granted]


def withdraw_quota(desk: Desk) -> Asked | None:
    """Give it back."""
    found = desk.one("stock_quota")
    return (desk.town.dispatcher, [WithdrawQuota(quota=found[0])]) if found else None


def resolve(desk: Desk) -> Asked | None:
    """Clear up a conflict, with what belongs beside it and once in a while with what does not."""
    found = desk.one("conflict")
    if found is None:
        return None
    how = desk.random.choice(("accept", "accept", "compensate", "reassign", "write_off"))
    resolution = ResolveConflict.model_validate({"conflict": found[0], "how": how, "note": "looked at"})
    product, warehouse = desk.random.choice(desk.town.products), desk.random.choice(desk.town.warehouses)
    beside: list[Operation] = []
    if how in {"compensate", "write_off"} and desk.random.random() < 0.8:
        beside = [AdjustStock(warehouse=warehouse, product=product, delta=-1)]
    if how == "reassign" and (order := desk.one("order")):
        beside = [ReassignDispatch(id=desk.new_id(), order=order[0], driver=desk.driver())]
    return desk.town.dispatcher if not beside else desk.town.admin, [resolution, *beside]


def complete_task(desk: Desk) -> Asked | None:
    """Done."""
    found = desk.one("task")
    return (desk.town.dispatcher, [CompleteTask(task=found[0], note="done")]) if found else None


def assign_stub(desk: Desk) -> Asked | None:
    """It was this order that was meant."""
    stub, order = desk.one("stub"), desk.one("order")
    return (desk.town.dispatcher, [AssignStub(stub=stub[0], order=order[0])]) if stub and order else None


def settings(desk: Desk) -> Asked | None:
    """The town decides otherwise."""
    random = desk.random
    chosen = TownSettings(
        count_correction_max=random.choice((None, 0, 5)),
        return_days_max=random.choice((None, 1)),
        offline_days=random.choice((None, 1, 3)),
        cash_ceiling_units=random.choice((None, 5, 50)),
        payment_units_max=random.choice((100_000_000, 500)),
        refund_units_max=random.choice((0, 20)),
        price_difference_units_max=random.choice((0, 20)),
    )
    return desk.town.admin, [ChangeSettings(settings=chosen)]


def people(desk: Desk) -> Asked | None:
    """Somebody comes, goes, or does other work."""
    random = desk.random
    user = random.choice((*desk.town.drivers, *desk.town.staff))
    back = "driver" if user in desk.town.drivers else "warehouse_staff"
    name = desk.new_id()[-6:]
    chosen: Operation = random.choice(
        (
            AddUser(id=desk.new_id(), name=name, login=name, user_roles=["driver"]),
            ChangeRoles(user=user, user_roles=["dispatcher"]),
            ChangeRoles(user=user, user_roles=[back]),  # type: ignore[list-item]  # one of the two roles
            ChangeRoles(user=user, user_roles=[back, "dispatcher"]),  # type: ignore[list-item]  # as above
            DeactivateUser(user=user),
        )
    )
    return desk.town.admin, [chosen]


def devices(desk: Desk) -> Asked | None:
    """A device is missed, found again, or given up."""
    found = desk.one("device", lambda row: row["role"] != "server")
    if found is None:
        return None
    random, device = desk.random, found[0]
    lost_at = random.choice((None, format_time(desk.now_ms - DAY_MS)))
    chosen: Operation = random.choice(
        (
            SuspendDevice(device=device, reason="missed"),
            SuspendDevice(device=device, reason="missed"),
            ReleaseDevice(device=device, reason="found"),
            ReleaseDevice(device=device, reason="found"),
            RevokeDevice(device=device, reason="lost", lost_at=lost_at),
        )
    )
    return desk.town.admin, [chosen]


def counter(desk: Desk) -> Asked | None:
    """What has happened is booked in the office."""
    product, warehouse = desk.random.choice(desk.town.products), desk.random.choice(desk.town.warehouses)
    order, dispatch = desk.one("order"), desk.one("dispatch")
    chosen: list[list[Operation]] = [[ReceiveStock(warehouse=warehouse, product=product, quantity=2)]]
    if order:
        chosen.append([TakePayment(order=order[0], amount="3.00", currency="KES")])
    if quota := desk.one("stock_quota"):
        chosen.append([ReturnQuota(quota=quota[0])])
    if dispatch:
        chosen.append([CompleteDelivery(dispatch=dispatch[0])])
        chosen.append([CorrectDelivery(dispatch=dispatch[0], reason="it was not")])
    return desk.town.admin, desk.random.choice(chosen)


def not_allowed(desk: Desk) -> Asked | None:
    """Somebody asks for what is not theirs to ask for."""
    found = desk.one("order")
    return (desk.random.choice(desk.town.drivers), [CancelOrder(order=found[0])]) if found else None


def jobs(desk: Desk) -> Asked | None:
    """What the scheduler does by itself when it is due, and sometimes when it is not any more."""
    own = server_device_id(desk.town.id)
    chosen: list[Operation] = []
    if stub := desk.one("stub", _is_long_awaited) or desk.one("stub", lambda row: row["state"] == "waiting"):
        chosen.append(ExpireStub(stub=stub[0]))
    if order := desk.one("order"):
        chosen.append(CancelOrder(order=order[0], reason="never paid", unpaid_only=True))
    late = desk.one("order", lambda row: row["custody"] == "undelivered")
    if late:
        since = format_time(desk.now_ms - 8 * DAY_MS)
        chosen.append(ReportMissing(order=late[0], attempt=max(1, late[1]["attempts"]), undelivered_at=since))
    if closed := desk.one("order", is_closed) or desk.one("order"):
        dispatches = [key[1] for key, row in desk.state.rows.items() if _is_of(key[0], row.fields, closed[0])]
        chosen.append(ArchiveOrder(order=closed[0], dispatches=dispatches))
    return (own, [desk.random.choice(chosen)]) if chosen else None


def _is_long_awaited(stub: Fields) -> bool:
    return (stub["state"], stub["awaited_entity"]) == ("waiting", "invoice")


def _is_of(entity: str, row: Fields, order_id: str) -> bool:
    return entity == "dispatch" and row["order_id"] == order_id


ERRANDS: Sequence[tuple[int, Errand]] = (
    (9, place_order),
    (9, assign),
    (3, reassign),
    (2, withdraw),
    (4, cancel),
    (2, amend),
    (1, price),
    (2, grant_quota),
    (1, withdraw_quota),
    (3, resolve),
    (2, complete_task),
    (2, assign_stub),
    (1, settings),
    (1, people),
    (1, devices),
    (1, counter),
    (1, not_allowed),
    (3, jobs),
)


def next_errand(desk: Desk, errands: Sequence[tuple[int, Errand]]) -> Asked | None:
    """What the office does next, of what there is to do."""
    for _ in range(4):
        (errand,) = desk.random.choices([one for _, one in errands], [weight for weight, _ in errands])
        if asked := errand(desk):
            return asked
    return None
