"""How people live in a world with their devices: what they do, what happens to them, how they come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client_sdk.application.record import Recorded as RecordedLine
from client_sdk.application.record import record
from client_sdk.replica import Replica
from sync.kernel.errors import TallystickError
from tests.simulation.device import Device, Saved
from tests.simulation.facts import Pulled, Recorded, held
from tests.simulation.habits import DRIVER, WAREHOUSE, Eyes, Habits, next_act
from tests.simulation.loop import Actor, Killed
from tests.simulation.rules import Newer, Poison
from tests.simulation.tills import COUNTER, SCHOOL

if TYPE_CHECKING:
    from sync.kernel.changeset import Operation
    from tests.simulation.stage import StagedTown
    from tests.simulation.world import World

OF_ROLE: dict[str, Habits] = {
    "driver": DRIVER,
    "warehouse_staff": WAREHOUSE,
    "counter_clerk": COUNTER,
    "school_office": SCHOOL,
}
HINT_SECONDS = (0.01, 5.0)
HINTED_SHARE = 0.15
KEPT_SHARE = 0.3
CARELESS_SHARE = 0.5


class Resident:
    """A device with who works on it: acts, syncs, mishaps, until the first phase is over."""

    def __init__(
        self,
        world: World,
        town: StagedTown,
        device: Device,
        users: tuple[str, ...],
        *,
        warehouse: str,
        school: str,
    ) -> None:
        self.world = world
        self.town = town
        self.device = device
        self.users = users
        self.warehouse = warehouse
        self.school = school
        self.problem: str | None = None
        self.random = world.random(f"life {device.name}")
        self._acts = world.options.acts
        self._backup: Saved | None = None
        self._last: list[Operation] = []
        self._syncs: list[Actor] = []
        self._life: Actor | None = None
        self._is_coming_back = False
        device.on_death = self._died
        self._begin()

    @property
    def is_over(self) -> bool:
        """Whether the day is over here."""
        is_done = self._acts <= 0 or self.device.wiped is not None
        return is_done and not self._is_coming_back and all(one.is_over for one in self._syncs)

    def is_quiet(self) -> bool:
        """Whether nothing is left to be done: everything is answered, and it stands where the town stands."""
        if self.device.is_out:
            return self.device.wiped is not None or self.device.is_stranger
        state = self.device.disk.exchange_state()
        head = self.world.database.towns.standing(self.town.id).head
        return self.problem is None and not state.pending and (state.epoch, state.version) == (head.epoch, head.version)

    def may_hold(self) -> frozenset[str]:
        """Every bucket that this device may have rows of."""
        identity = self.device.identity
        own = {"town", f"device:{identity.device_id}"}
        if identity.role == "driver":
            return frozenset(own | {f"driver:{identity.user_id}"})
        places = {
            "warehouse_staff": f"warehouse:{self.warehouse}",
            "counter_clerk": "counter",
            "school_office": f"school:{self.school}",
        }
        return frozenset(own | {places[identity.role], f"staff:{identity.role}"})

    def hear(self) -> None:
        """A hint: ask soon, if there is a network."""
        if (
            not self.world.is_healing
            and self.device.is_on
            and self.device.wiped is None
            and not self._is_syncing()
            and self.random.random() < HINTED_SHARE
        ):
            self.start_sync(after_seconds=self.random.uniform(*HINT_SECONDS))

    def come_back(self) -> None:
        """The device is switched on again."""
        self._is_coming_back = False
        if not self.device.is_on:
            self.device.boot()
            self.world.note(f"{self.device.name} is on again")
            if not self.world.is_healing:
                self._begin()

    def stop(self) -> None:
        """Nobody does anything new; what is off is switched on, what is under way is cut."""
        self._acts = 0
        self.device.end()
        self._syncs.clear()
        self.device.wire.is_cut_off = False
        self._is_coming_back = False
        self.device.boot()

    def start_sync(self, *, replica: Replica | None = None, after_seconds: float = 0.0) -> Actor:
        """Sync in the background."""
        replica = replica or self.device.replica
        actor = self.world.actors.start(lambda: self._sync(replica), after_seconds=after_seconds)
        self._syncs = [one for one in self._syncs if not one.is_over]
        self._syncs.append(actor)
        self.device.runs(actor)
        return actor

    def _is_syncing(self) -> bool:
        return any(not one.is_over for one in self._syncs)

    def _begin(self) -> None:
        self._life = self.world.actors.start(self._live)
        self.device.runs(self._life)

    def _live(self) -> None:
        """One step after the other; what kills the device ends this."""
        world, random = self.world, self.random
        mean_seconds = world.options.hours * 3600 / max(1, world.options.acts)
        if not self._is_syncing():
            self.start_sync()
        while self._acts > 0:
            world.actors.pause(random.expovariate(1 / mean_seconds))
            if self.device.wiped is not None:
                break
            self._acts -= 1
            self._mishap()
            self._act()
            if random.random() < world.options.haste and not self._is_syncing():
                self.start_sync()

    def _sync(self, replica: Replica) -> None:
        world, name = self.world, self.device.name
        before, swaps = world.database.towns.standing(self.town.id).head.version, world.swaps
        was_barred = self._is_barred()
        try:
            report = replica.sync()
        except TallystickError as problem:
            self.problem = problem.code
            world.sometimes(f"device hears {problem.code}")
            world.note(f"{name} cannot sync: {problem.code}")
        else:
            self.problem = None
            if swaps == world.swaps:  # else its town is not the one that it asked
                is_barred = was_barred and self._is_barred()
                pulled = Pulled(name=name, before=before, version=report.version, is_barred=is_barred)
                world.facts.pulled.append(pulled)
            world.note(f"{name} is at {report.version} after {report.rounds} rounds, {report.pushed} answered")

    def _is_barred(self) -> bool:
        record = self.world.database.towns.standing(self.town.id).device(self.device.identity.device_id)
        return record is None or record.status != "active"

    def _act(self) -> None:
        """Record something."""
        world, device = self.world, self.device
        operations = self._operations()
        if not operations:
            return
        self._last = operations
        try:
            recorded = self._record(operations)
        except TallystickError as refusal:
            world.sometimes(f"rule {refusal.code}")
            world.note(f"{device.name} may not: {refusal.code}")
            return
        self._last = [one.model_copy(update={"id": made}) for one, made in zip(operations, recorded.ids, strict=True)]
        world.facts.recorded.append(Recorded(device_id=device.identity.device_id, seq=recorded.seq, hash=recorded.hash))
        said = " ".join(operation.op for operation in operations)
        world.note(f"{device.name} records {recorded.seq} {said} {recorded.hash[:8]}")

    def _record(self, operations: list[Operation]) -> RecordedLine:
        """By whoever works here; sometimes by somebody else, also in an app that does not ask who that is."""
        world, device, random = self.world, self.device, self.random
        if random.random() >= world.options.slips / 6:
            with device.replica.acting_as(random.choice(self.users)):
                return device.replica.record(*operations)
        town = self.town
        user = random.choice((*town.drivers, *town.staff, *town.clerks, *town.bursars))
        if random.random() < CARELESS_SHARE:
            return record(device.disk, device.system, world.registry, user, operations)
        with device.replica.acting_as(user):
            return device.replica.record(*operations)

    def _operations(self) -> list[Operation] | None:
        world = self.world
        if world.faults.strikes("server.rule_raises", self.device.name):
            return [Poison(user=self.users[0])]
        if world.faults.strikes("newer.client", self.device.name):
            return [Newer()]
        eyes = Eyes(
            random=self.random,
            now_ms=self.device.system.now_ms(),
            rows=self.device.disk.visible,
            products=self.town.products,
            warehouses=self.town.warehouses,
            warehouse=self.warehouse,
            school=self.school,
            schools=self.town.schools,
            colleagues=(*self.users, self.town.admin),
            heard=world.heard,
            last=self._last,
        )
        others = list(OF_ROLE.values())
        return next_act(OF_ROLE[self.device.identity.role], others, eyes, slips=world.options.slips)

    def _mishap(self) -> None:
        """What happens to devices between two acts."""
        world, device, faults = self.world, self.device, self.world.faults
        if self._backup is None or self.random.random() < KEPT_SHARE:
            self._backup = device.disk.saved()
        if faults.strikes("device.clock_jump", device.name):
            device.jump_clock(faults.source("device.clock_jump"))
        if faults.strikes("device.bit_rot", device.name):
            device.is_rotten = True
            device.disk.rot(faults.source("device.bit_rot"))
        if faults.strikes("net.partition", device.name):
            device.wire.is_cut_off = True
            seconds = self.random.uniform(60, world.options.hours * 3600)
            world.later(seconds, lambda: setattr(device.wire, "is_cut_off", False))
        if faults.strikes("device.two_processes", device.name):
            self.start_sync(replica=device.opened())
            if not any(one is not self._syncs[-1] and not one.is_over for one in self._syncs):
                self.start_sync()
        if not device.is_clone and faults.strikes("device.cloned", device.name):
            copy = Device(world, f"{device.name} copy", device.identity, device.disk.saved())
            copy.is_clone = device.is_clone = True
            copy.is_rotten = device.is_rotten
            world.settle_in(self.town, copy, self.users, warehouse=self.warehouse, school=self.school)
        if faults.strikes("device.restored", device.name):
            self._restore()
        if faults.strikes("device.killed", device.name):
            device.die()
            raise Killed

    def _died(self) -> None:
        """The device has died, wherever it was, and will be switched on again."""
        if not self._is_coming_back and not self.world.is_healing:
            self._is_coming_back = True
            self.world.boot_later(self)

    def _restore(self) -> None:
        """The disk is replaced by what it was some time ago: what was recorded since, and not sent, is lost."""
        assert self._backup is not None
        self.world.facts.lost |= held(self.device.disk.entries()) - held(self._backup.state.entries.values())
        self.device.die()
        self.device.disk.put(self.device.identity, self._backup)
        raise Killed
