"""One world from its seed: phase one lets people work while things go wrong, phase two heals and must come to rest.

Nothing here looks at a clock or at real chance, so a seed makes the same world each time, byte for byte. What happened
is in `facts`; the checkers read it at the end. How people live is in `tests.simulation.lives`.
"""

from __future__ import annotations

import hashlib
from contextvars import Context
from random import Random
from typing import Final

import orjson

from client_sdk.application.verify import verify
from server.adapters.memory_evidence import MemoryEvidence
from server.application.callback_ports import Callback
from server.application.commands.release_device import release_device
from server.application.queries.verify_town import verify_town
from sync.kernel.clock import format_time
from sync.kernel.errors import TallystickError
from sync.kernel.ids import derived_id
from tests.simulation.database import Backup, Database
from tests.simulation.device import BOOT_SECONDS, Device, Saved
from tests.simulation.facts import Facts, Replicated
from tests.simulation.faults import Faults
from tests.simulation.lives import Resident
from tests.simulation.loop import Actor, Actors, SimLoop
from tests.simulation.options import Options, draw_options
from tests.simulation.provider import Provider
from tests.simulation.redis import WorldRedis
from tests.simulation.rules import DEVICE_RULES, SERVER_RULES
from tests.simulation.sealed import handed_in, known_of
from tests.simulation.server import RESTART_SECONDS, Process, work_off
from tests.simulation.staff import Clerk, Keeper, make_files
from tests.simulation.stage import Stage, StagedTown, staged

HEAL_ROUNDS_MAX: Final = 12
"""Rounds in which everybody syncs once, after which a healed world must have come to rest."""

FILES_SHARE: Final = 0.3
"""Worlds in which there are snapshots before anybody syncs for the first time."""

ROUND_SECONDS_MAX: Final = 24 * 3600


class World:
    """Everything there is, while it runs."""

    def __init__(self, seed: int, options: Options | None = None, *, limit: int | None = None) -> None:
        self.seed = seed
        self.options = options or draw_options(seed)
        self.trace: list[str] = []
        self.facts = Facts()
        self.loop = SimLoop(
            self.random("loop"),
            tick_seconds=self.options.tick_ms / 1000,
            is_shuffled=self.options.is_shuffled,
        )
        self.actors = Actors(self.loop)
        self.faults = Faults(f"{seed}", self.options.rates, self._fault, limit=limit)
        self.registry = DEVICE_RULES
        self.stage: Stage = staged(self.options.stage)
        self.signer = self.stage.signer
        self.database = Database(SERVER_RULES, lambda: self.loop.now)
        self.redis = WorldRedis(self)
        self.provider = Provider(self, self.random("provider"))
        self.heard: list[tuple[str, str]] = []
        self.backups: dict[str, list[Backup]] = {}
        self.processes: list[Process] = []
        self.buried: list[Process] = []
        self.residents: list[Resident] = []
        self.is_healing = False
        self.swaps = 0
        self.swapped: dict[str, float] = {}
        self._made = 0
        self._chance = self.random("world")
        self._context = Context()
        for town in self.stage.towns:
            self.database.restore(town.id, town.backup)
            self.backups[town.id] = [town.backup]

    # What the parts of a world ask of it

    def random(self, name: str) -> Random:
        """A source of chance of its own."""
        return Random(f"{self.seed}/{name}")

    def note(self, what: str) -> None:
        """Write this into the trace."""
        self.trace.append(f"{self.loop.now:.6f} {what}")

    def sometimes(self, what: str) -> None:
        """This has happened."""
        self.facts.sometimes[what] += 1

    def some_process(self) -> Process | None:
        """One that is up, as a load balancer finds it."""
        up = [process for process in self.processes if process.is_alive]
        return self._chance.choice(up) if up else None

    def process_died(self, process: Process) -> None:
        """Another one is started after a while."""
        self.note(f"process {process.number} dies")
        self.processes.remove(process)
        self.buried.append(process)
        seconds = self._chance.uniform(*RESTART_SECONDS)
        self.loop.call_later(seconds, self.start_process, context=self._context)

    def hinted(self, town_id: str) -> None:
        """Devices that hear of a change sync soon."""
        for resident in self.residents:
            if resident.device.identity.town_id == town_id:
                resident.hear()

    def called_back(self, payment: str) -> None:
        """The provider knocks at the door of its town; nobody may be there."""
        town = next((town for town in self.stage.towns if self._has(town.id, payment)), None)
        process = self.some_process()
        if town is None or process is None or self.is_healing:
            return
        callback = Callback(
            id=derived_id("callback", payment, round(self.loop.now * 1000)),
            town_id=town.id,
            kind=f"{self._method(town.id, payment)}.callback",
            data={"payment": payment},
            received_at=format_time(process.system.now_ms()),
            method="PUT",
            content_type="application/json",
            body=b"{}",
        )
        process.call(self.database.inbox.keep(callback), lambda: None)

    def _has(self, town_id: str, payment: str) -> bool:
        return ("payment", payment) in self.database.towns.standing(town_id).rows

    def _method(self, town_id: str, payment: str) -> str:
        method: str = self.database.towns.standing(town_id).rows["payment", payment].fields["method"]
        return method

    # The running of it

    def run(self) -> None:
        """Both phases."""
        for _ in range(self.options.processes):
            self.start_process()
        if self.random("files").random() < FILES_SHARE:
            self._do(lambda: make_files(self))
        clerks = [Clerk(self, town) for town in self.stage.towns]
        for town in self.stage.towns:
            for one in town.devices:
                device = Device(self, one.name, one.identity, Saved(state=one.state))
                self.settle_in(town, device, one.users, warehouse=one.warehouse, school=one.school)
        keeper = Keeper(self)
        end = self.options.hours * 3600 * 2
        self.loop.run_while(
            lambda: (
                self.loop.now < end
                and not (keeper.is_over and all(clerk.is_over for clerk in clerks) and self._are_resting())
            )
        )
        self._heal()
        self._look()

    def settle_in(
        self, town: StagedTown, device: Device, users: tuple[str, ...], *, warehouse: str, school: str
    ) -> Resident:
        """A device and who works with it begin their day."""
        resident = Resident(self, town, device, users, warehouse=warehouse, school=school)
        self.residents.append(resident)
        return resident

    def start_process(self) -> None:
        """One more server process."""
        self._made += 1
        skew = self._chance.uniform(-1, 1) * self.options.skew_seconds
        self.processes.append(Process(self, self._made, page_rows=self.options.page_rows, skew_seconds=skew))

    def boot_later(self, resident: Resident) -> None:
        """A device that died is switched on again."""
        seconds = self._chance.uniform(*BOOT_SECONDS)
        self.loop.call_later(seconds, resident.come_back, context=self._context)

    def later(self, seconds: float, work: object) -> None:
        """Have the world itself do this then."""
        self.loop.call_later(seconds, work, context=self._context)  # type: ignore[arg-type]  # a callable

    def swap(self, town_id: str, backup: Backup) -> None:
        """The database is another one from now on: every connection is lost, and with it the processes."""
        for process in list(self.processes):
            process.die()
        self.database.restore(town_id, backup)
        self.swaps += 1
        self.swapped[town_id] = self.loop.now
        self.facts.went_back.add(town_id)
        handed = handed_in(backup.sealed, self.signer)
        for one in self.residents:
            device = one.device.identity.device_id
            if one.town.id == town_id and one.device.wiped:  # what the older copy does not have is nowhere any more
                self.facts.lost |= one.device.wiped - known_of(backup.state, device) - handed.get(device, set())

    def digest(self) -> str:
        """Of everything that happened."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()

    def notice(self) -> None:
        """Count what was decided, and how."""
        for town in self.facts.towns.values():
            for one in town.sets.values():
                said = orjson.loads(one.verdict)
                self.sometimes(f"verdict {one.status}")
                for note in said.get("notes", ()):
                    self.sometimes(f"rule {note['code']}")
            for (entity, _), stored in town.rows.items():
                if entity == "conflict":
                    self.sometimes(f"conflict {stored.fields['kind']}")

    def bury(self) -> None:
        """Let go of everything that was left half done."""
        for process in [*self.processes, *self.buried]:
            process.is_alive = False
        for resident in self.residents:
            resident.device.end()
        self.loop.bury()

    def _are_resting(self) -> bool:
        return all(resident.is_over for resident in self.residents)

    def _fault(self, kind: str, what: str) -> None:
        self.sometimes(f"fault {kind}")
        self.note(f"fault {kind} {what}")

    # Phase two

    def _heal(self) -> None:
        """Nothing goes wrong any more, nobody does anything new: everything must come to rest in a few rounds."""
        self.note("heal")
        self.is_healing = True
        self.faults.heal()
        self.loop.run_while(lambda: len(self.processes) < self.options.processes)
        for resident in self.residents:
            resident.stop()
        for place in range(HEAL_ROUNDS_MAX):
            self.note(f"round {place}")
            self._do(self._repair)
            self._do(self._sweep)
            self._sync_all()
            if self._is_at_rest():
                self.note("at rest")
                return
        told = ", ".join(f"{one.device.name}: {one.problem}" for one in self.residents if not one.is_quiet())
        self.facts.orderly.append(f"it does not come to rest in {HEAL_ROUNDS_MAX} rounds ({told or 'work is left'})")

    def _do(self, work: object) -> None:
        actor = self.actors.start(work)  # type: ignore[arg-type]  # a callable
        self._finish([actor])

    def _finish(self, actors: list[Actor]) -> None:
        end = self.loop.now + ROUND_SECONDS_MAX
        has_work = self.loop.run_while(lambda: self.loop.now < end and not all(actor.is_over for actor in actors))
        if not has_work and not all(actor.is_over for actor in actors):
            self.facts.orderly.append("somebody waits for what never comes")
            for actor in actors:
                actor.end()

    def _repair(self) -> None:
        """What an admin does: begin epochs where towns stand still, release devices that were stopped."""
        for town in self.stage.towns:
            state = self.database.towns.standing(town.id)
            is_altered = any(one.problem == "history_altered" for one in self.residents if one.town is town)
            if state.is_halted or is_altered:
                self.note(f"begin epoch of {town.name}")
                self.must(lambda process, town_id=town.id: process.begin_epoch(town_id, "repair"))
        for one in self.residents:
            state = self.database.towns.standing(one.town.id)
            record = state.device(one.device.identity.device_id)
            if record is None or record.status == "revoked" or one.device.wiped is not None:
                one.device.is_out = True
            elif record.status == "suspended" or one.problem in {"old_copy", "chain_forked", "chain_gap"}:
                self.note(f"release {one.device.name}")
                one.problem = None
                self.must(
                    lambda process, one=one: release_device(
                        town_id=one.town.id,
                        device_id=one.device.identity.device_id,
                        reason="repair",
                        appliers=process.appliers,
                        towns=process.towns,
                    )
                )

    def must(self, ask: object) -> object:
        """Have the office do this; a fault is noted, and the next round tries again."""
        try:
            return Clerk.ask(self, ask)  # type: ignore[arg-type]  # a function of a process
        except TallystickError as fault:
            self.note(f"not yet: {fault.code}")
            return None

    def _look(self) -> None:
        """Write down how everything stands at the end."""
        facts = self.facts
        evidence = MemoryEvidence(self.database.towns, self.database.outbox, self.database.messages)
        for town in self.stage.towns:
            facts.towns[town.id] = self.database.towns.shared(town.id)
            if self.options.is_verified:
                work = verify_town(
                    evidence, town.id, registry=SERVER_RULES, server_key=self.signer.public_key, older_keys=()
                )
                task = self.loop.create_task(work)
                self.loop.run_while(lambda: not task.done())  # noqa: B023  it is over before the next one
                facts.reports[town.id] = task.result()
        for one in self.residents:
            identity = one.device.identity
            facts.replicas.append(
                Replicated(
                    name=one.device.name,
                    device_id=identity.device_id,
                    town_id=identity.town_id,
                    state=one.device.disk.saved().state,
                    is_settled=not one.device.is_out,
                    findings=verify(one.device.disk, DEVICE_RULES)
                    if self.options.is_verified and one.device.wiped is None
                    else (),
                )
            )
            facts.holds[identity.device_id] = one.may_hold()
        facts.sealed = handed_in(self.database.sealed, self.signer)
        facts.orderly += [f"{type(fault).__name__}: {fault}" for fault in self.actors.faults]
        for fault in self.loop.faults:
            if not isinstance(fault, TallystickError):
                facts.orderly.append(f"{type(fault).__name__}: {fault}")

    def _sweep(self) -> None:
        self.must(lambda process: work_off(process, [town.id for town in self.stage.towns], self.database, self.faults))

    def _sync_all(self) -> None:
        self._finish([one.start_sync() for one in self.residents if one.device.wiped is None])

    def _is_at_rest(self) -> bool:
        return all(one.is_quiet() for one in self.residents)
