"""How people live in a world: on devices, in the office, and where the machines stand."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import orjson

from client_sdk.application.record import Recorded as RecordedLine
from client_sdk.application.record import record
from client_sdk.replica import Replica
from server.application.commands.release_device import reject_lines, release_device
from server.application.ports import Unavailable
from server.domain.requests import KeyedRequest, RequestKey
from sync.engine.chain import encode_bytes
from sync.kernel.errors import TallystickError
from tests.simulation.device import Device
from tests.simulation.facts import Promised, Recorded
from tests.simulation.habits import Eyes, next_act
from tests.simulation.loop import Actor, Killed
from tests.simulation.office import Desk, next_errand
from tests.simulation.rules import Newer, Poison
from tests.simulation.server import START_MS, Process, work_off

if TYPE_CHECKING:
    from client_sdk.adapters.memory_state import State
    from sync.kernel.changeset import Operation
    from tests.simulation.stage import StagedTown
    from tests.simulation.world import World

TRIES_MAX = 4
RETRY_SECONDS = (1.0, 30.0)
HINT_SECONDS = (0.01, 5.0)
AWAY_SHARE = 0.2
HINTED_SHARE = 0.15
KEPT_SHARE = 0.3
CARELESS_SHARE = 0.5
SORTED_SHARE = 0.5
BACKUPS_MAX = 4
DIGEST_BYTES = 32


class Resident:
    """A device with who works on it: acts, syncs, mishaps, until the first phase is over."""

    def __init__(self, world: World, town: StagedTown, device: Device, users: tuple[str, ...], warehouse: str) -> None:
        self.world = world
        self.town = town
        self.device = device
        self.users = users
        self.warehouse = warehouse
        self.problem: str | None = None
        self.random = world.random(f"life {device.name}")
        self._acts = world.options.acts
        self._backup: State | None = None
        self._last: list[Operation] = []
        self._syncs: list[Actor] = []
        self._life: Actor | None = None
        self._is_coming_back = False
        device.on_death = self._died
        self._begin()

    @property
    def is_over(self) -> bool:
        """Whether the day is over here."""
        return self._acts <= 0 and not self._is_coming_back and all(one.is_over for one in self._syncs)

    def is_quiet(self) -> bool:
        """Whether nothing is left to be done: everything is answered, and it stands where the town stands."""
        if self.device.is_out or self.is_stranded():
            return True
        state = self.device.disk.exchange_state()
        head = self.world.database.towns.standing(self.town.id).head
        return self.problem is None and not state.pending and (state.epoch, state.version) == (head.epoch, head.version)

    def is_stranded(self) -> bool:
        """The server has lost what this device let go of when it wrote anew: nobody can close the gap (known, open)."""
        has_gone_back = self.town.id in self.world.facts.went_back
        return self.problem == "chain_gap" and self.device.is_rewritten and has_gone_back

    def may_hold(self) -> frozenset[str]:
        """Every bucket that this device may have rows of."""
        identity = self.device.identity
        own = {"town", f"device:{identity.device_id}"}
        if identity.role == "driver":
            return frozenset(own | {f"driver:{identity.user_id}"})
        return frozenset(own | {f"warehouse:{self.warehouse}", f"staff:{identity.role}"})

    def hear(self) -> None:
        """A hint: ask soon, if there is a network."""
        if (
            not self.world.is_healing
            and self.device.is_on
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
            self._acts -= 1
            self._mishap()
            self._act()
            if random.random() < world.options.haste and not self._is_syncing():
                self.start_sync()

    def _sync(self, replica: Replica) -> None:
        world, name = self.world, self.device.name
        try:
            report = replica.sync()
        except TallystickError as problem:
            self.problem = problem.code
            world.sometimes(f"device hears {problem.code}")
            world.note(f"{name} cannot sync: {problem.code}")
        else:
            self.problem = None
            world.note(f"{name} is at {report.version} after {report.rounds} rounds, {report.pushed} answered")

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
        world.facts.recorded.append(Recorded(device_id=device.identity.device_id, seq=recorded.seq, hash=recorded.hash))
        said = " ".join(operation.op for operation in operations)
        world.note(f"{device.name} records {recorded.seq} {said} {recorded.hash[:8]}")

    def _record(self, operations: list[Operation]) -> RecordedLine:
        """By whoever works here; sometimes by somebody else, also in an app that does not ask who that is."""
        world, device, random = self.world, self.device, self.random
        if random.random() >= world.options.slips / 6:
            with device.replica.acting_as(random.choice(self.users)):
                return device.replica.record(*operations)
        user = random.choice((*self.town.drivers, *self.town.staff))
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
            colleagues=(*self.users, self.town.admin),
            heard=world.heard,
            last=self._last,
        )
        return next_act(self.device.identity.role, eyes, slips=world.options.slips)

    def _mishap(self) -> None:
        """What happens to devices between two acts."""
        world, device, faults = self.world, self.device, self.world.faults
        if self._backup is None or self.random.random() < KEPT_SHARE:
            self._backup = device.disk.state()
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
        if not device.is_clone and faults.strikes("device.cloned", device.name):
            copy = Device(world, f"{device.name} copy", device.identity, device.disk.state())
            copy.is_clone = device.is_clone = True
            copy.is_rotten = device.is_rotten
            world.settle_in(self.town, copy, self.users, self.warehouse)
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
        kept = {entry.digest for entry in self._backup.entries.values()}
        for entry in self.device.disk.entries():
            if entry.digest not in kept:
                self.world.facts.lost.add(encode_bytes(entry.digest))
        self.device.die()
        self.device.disk.put(self.device.identity, self._backup)
        raise Killed


class Clerk:
    """Who works in the office of a town."""

    def __init__(self, world: World, town: StagedTown) -> None:
        self._world = world
        self._town = town
        self._random = world.random(f"office {town.id}")
        self._asked = 0
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
            elif asked := next_errand(desk):
                self._have_done(*asked)

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

    def _have_done(self, actor: str, operations: list[Operation]) -> None:
        """Ask until there is an answer, or patience ends."""
        world, town = self._world, self._town
        self._asked += 1
        key = RequestKey(principal_id=actor, key=f"request {self._asked}")
        request = KeyedRequest(key=key, digest=bytes(DIGEST_BYTES))
        stamped = [
            one if one.id else one.model_copy(update={"id": request.operation_id(town.id, place)})
            for place, one in enumerate(operations)
        ]
        for _ in range(TRIES_MAX):
            if world.is_healing:
                return
            try:
                line = Clerk.ask(world, lambda process: process.appliers.author(town.id, actor, stamped, request))
            except TallystickError as fault:
                world.sometimes(f"office hears {fault.code}")
                world.note(f"office hears {fault.code}")
                if not isinstance(fault, Unavailable):
                    return
                world.actors.pause(self._random.uniform(*RETRY_SECONDS))
                continue
            said = orjson.loads(line)
            ops = " ".join(one.op for one in operations)
            world.note(f"office {ops} is {said['status']} {said.get('rule', '')} at {said['version']}")
            entry = world.database.towns.standing(town.id).journal[said["version"] - 1]
            seen = (entry.version, encode_bytes(entry.digest))
            world.facts.promised.append(Promised(town_id=town.id, hash=said["hash"], seen=seen))
            return

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
            for town in world.stage.towns:
                kept = world.backups[town.id]
                if self._random.random() < KEPT_SHARE:
                    kept.append(world.database.back_up(town.id))
                    del kept[1:-BACKUPS_MAX]
                if world.faults.strikes("database.failover", town.name):
                    self._fail_over(town)
                if world.faults.strikes("database.restored", town.name):
                    world.swap(town.id, kept[0])
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
                Clerk.ask(world, lambda process: process.appliers.begin_epoch(town.id, "failover"))
            except Unavailable:
                continue
            world.note(f"failover of {town.name}")
            return
