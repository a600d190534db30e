"""Who works in the office of a town, and who looks after the machines."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import orjson

from server.application.commands.pay_order import OnlineTill, Paying, Target, pay_online
from server.application.commands.release_device import reject_lines, release_device
from server.application.ports import Unavailable
from server.domain.requests import KeyedRequest, RequestKey
from server.jobs.snapshots import build_snapshots
from sync.engine.chain import encode_bytes
from sync.kernel.errors import TallystickError
from tests.simulation.accounts import Debtor
from tests.simulation.facts import Promised
from tests.simulation.finance import MONEY_ERRANDS
from tests.simulation.loop import START_MS
from tests.simulation.office import ERRANDS, Desk, next_errand
from tests.simulation.server import Process, work_off

if TYPE_CHECKING:
    from sync.kernel.changeset import Operation
    from tests.simulation.stage import StagedTown
    from tests.simulation.world import World

TRIES_MAX = 4
RETRY_SECONDS = (1.0, 30.0)
AWAY_SHARE = 0.2
KEPT_SHARE = 0.3
SORTED_SHARE = 0.5
FILES_SHARE = 0.15
REPEATED_SHARE = 0.05
BACKUPS_MAX = 4
DIGEST_BYTES = 32
CUSTOMER_SHARE = 0.1
IMPATIENT_SHARE = 0.3
TILLS_SHARE, NO_TILLS_SHARE = 0.6, 0.15
"""How much of what the office does is about money, where there are counters and where there are none."""
CUSTOMER = "254700000003"


class Clerk:
    """Who works in the office of a town."""

    def __init__(self, world: World, town: StagedTown) -> None:
        self._world = world
        self._town = town
        self._random = world.random(f"office {town.id}")
        self._asked = 0
        self._last: tuple[str, list[Operation]] | None = None
        self._debtor = Debtor(
            world, town, self._random, ask=lambda work: Clerk.ask(world, work), have_done=self._have_done
        )
        self._money_share = TILLS_SHARE if town.clerks else NO_TILLS_SHARE
        self._actor = world.actors.start(self._live)

    @property
    def is_over(self) -> bool:
        """Whether the day is over."""
        return self._actor.is_over

    def _live(self) -> None:
        world, acts = self._world, self._world.options.acts * 2
        for _ in range(acts):
            world.actors.pause(self._random.expovariate(acts / (world.options.hours * 3600)))
            if world.is_healing:
                return
            now_ms = START_MS + round(world.loop.now * 1000)
            state = world.database.towns.standing(self._town.id)
            desk = Desk(town=self._town, state=state, random=self._random, now_ms=now_ms, heard=world.heard)
            if stopped := desk.one("device", lambda row: row["status"] == "suspended"):
                self._sort_out(stopped[0])
            elif self._last and self._random.random() < REPEATED_SHARE:
                self._have_done(*self._last)
            elif self._random.random() < CUSTOMER_SHARE:
                self._serve(desk)
            elif asked := next_errand(desk, MONEY_ERRANDS if self._random.random() < self._money_share else ERRANDS):
                self._have_done(*asked)

    def _serve(self, desk: Desk) -> None:
        """A customer pays online, or asks what they owe."""
        order, invoice, party = desk.one("order"), desk.one("invoice"), desk.one("party")
        try:
            if order and self._random.random() < 0.3:
                self._pay(("order", order[0]))
            elif invoice and self._random.random() < 0.4:
                self._pay(("invoice", invoice[0]))
            elif party:
                self._debtor.look(party[0])
        except TallystickError as fault:
            self._world.sometimes(f"customer hears {fault.code}")
            self._world.note(f"customer hears {fault.code}")

    def _pay(self, target: Target) -> None:
        """By mobile money or by card; who is impatient does it again."""
        self._asked += 1
        key = RequestKey(principal_id=self._town.dispatcher, key=f"pay {self._asked}")
        request = KeyedRequest(key=key, digest=bytes(DIGEST_BYTES))
        paying = Paying(payer=CUSTOMER) if self._random.random() < 0.5 else Paying(method="card")
        card = self._world.provider

        def pay(process: Process) -> Coroutine[Any, Any, Any]:
            till = OnlineTill(listings=process.books, appliers=process.appliers, card=card, return_url="")
            return pay_online(self._town.id, target, paying, request, till)

        for _ in range(2 if self._random.random() < IMPATIENT_SHARE else 1):
            Clerk.ask(self._world, pay)

    def _sort_out(self, device_id: str) -> None:
        """What becomes of a device that was stopped, and of what it sent meanwhile."""
        world, town = self._world, self._town
        command = release_device if self._random.random() < SORTED_SHARE else reject_lines
        try:
            Clerk.ask(
                world,
                lambda process: command(
                    town_id=town.id,
                    device_id=device_id,
                    reason="looked at",
                    appliers=process.appliers,
                    towns=process.towns,
                ),
            )
        except TallystickError as fault:
            world.note(f"office cannot sort out: {fault.code}")

    def _have_done(self, actor: str, operations: list[Operation]) -> int | None:
        """Ask until there is an answer, or patience ends; in which version it was decided."""
        world, town = self._world, self._town
        self._asked += 1
        key = RequestKey(principal_id=actor, key=f"request {self._asked}")
        request = KeyedRequest(key=key, digest=bytes(DIGEST_BYTES))
        stamped = [
            one if one.id else one.model_copy(update={"id": request.operation_id(town.id, place)})
            for place, one in enumerate(operations)
        ]
        if all(one.creates for one in stamped):
            self._last = (actor, stamped)  # pressed once more in another window: the same thing under another key
        for _ in range(TRIES_MAX):
            if world.is_healing:
                return None
            try:
                line = Clerk.ask(world, lambda process: process.appliers.author(town.id, actor, stamped, request))
            except TallystickError as fault:
                world.sometimes(f"office hears {fault.code}")
                world.note(f"office hears {fault.code}")
                if not isinstance(fault, Unavailable):
                    return None
                world.actors.pause(self._random.uniform(*RETRY_SECONDS))
                continue
            said = orjson.loads(line)
            ops = " ".join(one.op for one in operations)
            world.note(f"office {ops} is {said['status']} {said.get('rule', '')} at {said['version']}")
            entry = world.database.towns.standing(town.id).journal[said["version"] - 1]
            seen = (entry.version, encode_bytes(entry.digest))
            world.facts.promised.append(Promised(town_id=town.id, hash=said["hash"], seen=seen))
            version: int = said["version"]
            return version
        return None

    @staticmethod
    def ask(world: World, work: Callable[[Process], Coroutine[Any, Any, Any]]) -> Any:
        """What some server process answers. Raises what it raises, and `Unavailable` when it dies over it."""
        process = world.some_process()
        if process is None:
            raise Unavailable
        tasks: list[Any] = []
        world.actors.wait(lambda wake: tasks.append(process.call(work(process), wake)))
        (task,) = tasks
        if not process.is_alive or not task.done() or task.cancelled():
            raise Unavailable
        return task.result()


def make_files(world: World) -> None:
    """What the scheduler does: snapshots of buckets that have grown, and away with what is of no use."""
    try:
        Clerk.ask(world, lambda process: build_snapshots(process.files))
    except TallystickError as fault:
        world.note(f"no snapshots: {fault.code}")


class Keeper:
    """Who looks after the machines: copies, failovers, workers."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random("keeper")
        self._actor = world.actors.start(self._live)

    @property
    def is_over(self) -> bool:
        """Whether the first phase is over for the machines."""
        return self._actor.is_over

    def _live(self) -> None:
        world, acts = self._world, self._world.options.acts * 2
        for _ in range(acts):
            world.actors.pause(self._random.expovariate(acts / (world.options.hours * 3600)))
            if world.is_healing:
                return
            if world.faults.strikes("redis.flushed"):
                world.redis.flush()
            for town in world.stage.towns:
                kept = world.backups[town.id]
                if self._random.random() < KEPT_SHARE:
                    kept.append(world.database.back_up(town.id))
                    del kept[1:-BACKUPS_MAX]
                if world.faults.strikes("database.failover", town.name):
                    self._fail_over(town)
                if world.faults.strikes("database.restored", town.name):
                    world.swap(town.id, kept[0])
            if self._random.random() < FILES_SHARE:
                make_files(world)
            try:
                Clerk.ask(
                    world,
                    lambda process: work_off(
                        process, [town.id for town in world.stage.towns], world.database, world.faults
                    ),
                )
            except TallystickError as fault:
                world.note(f"worker: {fault.code}")

    def _fail_over(self, town: StagedTown) -> None:
        """A standby that lacks the last commits takes over; mostly the admin begins an epoch at once."""
        world = self._world
        world.swap(town.id, world.backups[town.id][-1])
        if self._random.random() < AWAY_SHARE:
            return
        while not world.is_healing:
            world.actors.pause(1.0)
            try:
                Clerk.ask(world, lambda process: process.begin_epoch(town.id, "failover"))
            except Unavailable:
                continue
            world.note(f"failover of {town.name}")
            return
