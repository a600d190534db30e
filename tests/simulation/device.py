"""A device of a world: its disk, its clocks, the replica on it, and how it dies and comes back.

The replica is the real `client_sdk.Replica` over the store in memory. What it had committed is there after a crash,
what it had not is gone; its clock may be anywhere, its monotonic clock and boot id begin anew with each start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from threading import Event
from typing import Protocol

from client_sdk.adapters.memory_downloads import MemoryDownloads
from client_sdk.adapters.memory_state import State
from client_sdk.application.ports import ExchangeState, Identity, Settled
from client_sdk.application.snapshots import SNAPSHOT_START
from client_sdk.errors import DiskFailed, DiskFull
from client_sdk.replica import Replica
from server.domain.access import DeviceCaller
from sync.engine.chain import encode_bytes
from sync.kernel.changeset import Fields
from sync.kernel.module import Registry
from sync.protocol.messages import Checkpoint, Welcome
from tests.simulation.database import Database
from tests.simulation.facts import Facts, Told, held, replaced
from tests.simulation.faults import Faults
from tests.simulation.loop import START_MS, Actor, Actors, Killed, SimLoop
from tests.simulation.server import FOREVER_SECONDS, Process
from tests.simulation.signatures import remembering
from tests.simulation.told_store import Told as StoreTold
from tests.simulation.told_store import ToldStore
from tests.simulation.wire import Wire

BOOT_SECONDS = (5.0, 3600.0)
JUMPS_SECONDS = (60, 3600, 24 * 3600, 366 * 24 * 3600, 20 * 366 * 24 * 3600)
DRIFT_PER_MILLION_MAX = 200
BOOT_ID_BYTES = 8


class Around(Protocol):
    """What a device needs of its world."""

    loop: SimLoop
    actors: Actors
    faults: Faults
    facts: Facts
    registry: Registry
    database: Database

    def random(self, name: str) -> Random:
        """A source of chance of its own."""
        ...

    def sometimes(self, what: str) -> None:
        """This has happened."""
        ...

    def note(self, what: str) -> None:
        """Write this into the trace."""
        ...

    def some_process(self) -> Process | None:
        """A server that is up."""
        ...


class DeviceSystem:
    """The `System` of a device."""

    def __init__(self, around: Around, device: Device) -> None:
        self._around = around
        self._device = device
        self._random = around.random(f"system {device.name}")
        self._drift = 1 + self._random.uniform(-DRIFT_PER_MILLION_MAX, DRIFT_PER_MILLION_MAX) / 1e6
        self._booted_at = 0.0
        self._boot = ""
        self.offset_ms = 0
        self.boot()

    def boot(self) -> None:
        """The machine has started."""
        self._booted_at = self._around.loop.now
        self._boot = self._random.randbytes(BOOT_ID_BYTES).hex()

    def now_ms(self) -> int:
        """What the device believes; not before 1970, not in a year of five digits."""
        return max(0, START_MS + round(self._around.loop.now * 1000 * self._drift) + self.offset_ms)

    def monotonic_ms(self) -> int:
        """Since the start of the machine."""
        return round((self._around.loop.now - self._booted_at) * 1000 * self._drift)

    def boot_id(self) -> str:
        """Of this start."""
        return self._boot

    def random(self, size: int) -> bytes:
        """Drawn."""
        return self._random.randbytes(size)

    def wait(self, event: Event, seconds: float) -> bool:
        """Nothing on a device of a world waits for a thread."""
        raise NotImplementedError

    def reached(self, failpoint: str) -> None:
        """The device may die here."""
        self._around.sometimes(f"step {failpoint}")
        if self._around.faults.strikes("device.killed_at_step", f"{self._device.name} at {failpoint}"):
            self._device.die()
            raise Killed


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """What is on a disk, and what it was told that has made it so."""

    state: State
    told: Sequence[StoreTold] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    is_declining: bool = False


class Disk(ToldStore):
    """The store in memory on a disk that fills, fails and tears."""

    def __init__(self, around: Around, device: Device, system: DeviceSystem) -> None:
        super().__init__(around.registry, system)
        self._around = around
        self._device = device
        self.downloads: _Files = _Files(self)

    def put(self, identity: Identity, saved: Saved) -> None:
        """Hold what an earlier life of this device has left."""
        self._identity, self._key, self._state = identity, identity.key, saved.state.copied()
        self.told = list(saved.told)
        self.downloads.put(saved)

    def saved(self) -> Saved:
        """A copy of what is on the disk."""
        files, is_declining = self.downloads.held()
        return Saved(state=self._state.copied(), told=tuple(self.told), files=files, is_declining=is_declining)

    def visible(self, entity: str) -> dict[str, Fields]:
        """All rows of an entity as the user sees them."""
        rows = {key[1]: row.fields for key, row in self._state.base.items() if key[0] == entity}
        rows.update({key[1]: fields for key, fields in self._state.overlay.items() if key[0] == entity})
        return dict(sorted(rows.items()))

    def rot(self, random: Random) -> None:
        """A row is not there any more."""
        rows = self._state.base
        if rows:
            key = random.choice(sorted(rows))
            del rows[key]
            self.tell("rot", key)

    def wipe(self, head_seq: int) -> None:
        """As the store, and what was on it is noted."""
        wiped = held(self.entries())
        super().wipe(head_seq)
        self._device.wiped = wiped
        self._device.is_out = True  # an admin may have put it out of use since anybody looked
        self._around.note(f"{self._device.name} is wiped")

    def settle(self, state: ExchangeState, welcome: Welcome, lines: object, checkpoint: Checkpoint) -> Settled:
        """As the store, and what was learned is noted."""
        settled = super().settle(state, welcome, lines, checkpoint)  # type: ignore[arg-type]  # lines, as they came
        if self.downloads.taken:
            self._around.sometimes("a snapshot is taken")
            self.downloads.taken = 0
        if settled.mismatched and not self._device.is_rotten:
            told = f"{self._device.name} has rows that do not add up, and its disk is sound: {settled.mismatched}"
            self._around.facts.orderly.append(told)
        entries = self._state.entries
        for seq, verdict in settled.verdicts:
            self._around.facts.told.append(
                Told(
                    device_id=self.identity().device_id,
                    seq=seq,
                    hash=encode_bytes(entries[seq].digest),
                    seen=(checkpoint.journal.version, checkpoint.journal.hash),
                    version=entries[seq].version or 0,
                    status=verdict.status.value,
                    rule=verdict.rule,
                    stands_for=next(replaced(entries[seq].line), None),
                )
            )
        return settled

    def sometimes(self, what: str) -> None:
        """This has happened."""
        self._around.sometimes(what)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction, which may not be, or not be the last thing that this device does."""
        faults, name = self._around.faults, self._device.name
        if faults.strikes("device.disk_full", name):
            raise DiskFull
        if faults.strikes("device.disk_failed", name):
            raise DiskFailed
        yield
        if faults.strikes("device.torn_write", name):
            self._device.die()
            raise Killed

    @contextmanager
    def _changing(self) -> Iterator[State]:
        with super()._changing() as state, self.writing():
            yield state


class _Files(MemoryDownloads):
    """Files on their way onto a disk; `taken` counts those whose rows were taken."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk = disk
        self.taken = 0

    def put(self, saved: Saved) -> None:
        """Hold what was held then."""
        self._files, self._is_declining = dict(saved.files), saved.is_declining

    def held(self) -> tuple[Mapping[str, bytes], bool]:
        """What is here, and whether no more is asked for."""
        return dict(self._files), self._is_declining

    def add(self, sha256: str, part: bytes) -> None:
        """As the port; a transaction that is torn has not been."""
        with self._disk.writing():
            pass
        super().add(sha256, part)
        self._disk.tell("downloads.add", sha256, part)

    def drop(self, sha256: str) -> None:
        """As the port."""
        super().drop(sha256)
        self._disk.tell("downloads.drop", sha256)

    def decline(self) -> None:
        """As the port."""
        super().decline()
        self._disk.sometimes("a device goes on without files")
        self._disk.tell("downloads.decline")

    def expanded(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """As the store in memory does."""
        for line in lines:
            self.taken += line.startswith(SNAPSHOT_START)
            yield from super().expanded([line])


class Device:
    """One machine. `is_out`: an admin has put it out of use. `is_rotten`: rows were ever lost from its disk.

    `wiped`: the hashes of the lines that it held when it destroyed itself, and of those that they stood for.
    """

    def __init__(self, around: Around, name: str, identity: Identity, saved: Saved) -> None:
        self.name = name
        identity = replace(identity, key=remembering(identity.key))
        self.identity = identity
        self.is_on = True
        self.is_out = False
        self.is_clone = False
        self.is_rotten = False
        self.wiped: set[str] | None = None
        self.on_death: Callable[[], None] = lambda: None
        self._around = around
        self._actors: list[Actor] = []
        self._caller = DeviceCaller(
            device_id=identity.device_id,
            town_id=identity.town_id,
            role=identity.role,
            until_seconds=FOREVER_SECONDS,
        )
        self.system = DeviceSystem(around, self)
        self.disk = Disk(around, self, self.system)
        self.disk.put(identity, saved)
        self.wire = Wire(around, name, self._caller)
        self.replica = self.opened()

    def opened(self) -> Replica:
        """Another process on the same disk."""
        return Replica(self.disk, self._around.registry, self.system, self.wire)

    def boot(self) -> None:
        """Start, with what is on the disk."""
        self.is_on = True
        self.system.boot()
        if self.wiped is None:
            self.replica = self.opened()

    def runs(self, actor: Actor) -> None:
        """Whatever runs here dies with the machine."""
        self._actors = [one for one in self._actors if not one.is_over]
        self._actors.append(actor)

    def die(self) -> None:
        """The power goes. Whoever is running just now is ended by whoever called this."""
        self.is_on = False
        self._around.note(f"{self.name} dies")
        for actor in self._actors:
            actor.end_soon()
        self._actors = []
        self.on_death()

    def end(self) -> None:
        """Cut everything that runs here; only while none of it has its turn."""
        for actor in self._actors:
            actor.end()
        self._actors = []

    def jump_clock(self, random: Random) -> None:
        """Somebody sets the clock, by seconds or by years."""
        seconds = random.choice(JUMPS_SECONDS) * random.choice((-1, 1)) * random.random()
        self.system.offset_ms = round(seconds * 1000)
