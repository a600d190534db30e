"""What the store of towns of a world was told and asked, in order, so that another one can be told and asked the same.

An entry is of one transaction, one snapshot, or one statement by itself. A town that goes back forgets what it was told
since. See `tests.simulation.real`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from server.adapters.memory_histories import MemoryHistories
from server.adapters.memory_outbox import MemoryOutbox
from server.adapters.memory_town import TownState
from server.adapters.memory_towns import MemoryTowns, MemoryTownWriter
from server.application.history_ports import EpochRecord, Halt
from server.application.ports import Founding
from sync.kernel.module import Registry

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A question by its method's name, and what the store answered."""

    name: str
    arguments: tuple[Any, ...]
    answer: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """One reading transaction; questions are added while it lasts."""

    asked: list[Asked] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """One writing transaction that took effect."""

    founding: Founding | None
    asked: Sequence[Asked]
    written: Sequence[tuple[Any, ...]]
    begun: Sequence[EpochRecord]


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """One call of a port (the store of towns, `histories`, `snapshots`) in a transaction of its own, and its answer."""

    name: str
    arguments: tuple[Any, ...]
    named: dict[str, Any] = field(default_factory=dict)
    port: str = "towns"
    answer: Any = None


Entry = Snapshot | Commit | Statement


async def noted(asked: list[Asked], ask: Callable[..., Awaitable[Result]], *arguments: Any) -> Result:
    """The answer to a question, which is written down."""
    kept = tuple(one if isinstance(one, str | int) else list(one) for one in arguments)
    said = await ask(*kept)
    asked.append(Asked(name=ask.__name__, arguments=kept, answer=said))
    return said


class ToldTowns(MemoryTowns):
    """The store of towns in memory, and what it was told."""

    def __init__(self, registry: Registry, outbox: MemoryOutbox, clock: Callable[[], float]) -> None:
        super().__init__(registry, outbox)
        self.told: dict[str, list[Entry]] = {}
        self._begun: dict[int, tuple[MemoryTownWriter, list[Asked]]] = {}
        self.histories = _ToldHistories(self)
        self._clock = clock
        self._grown: dict[str, list[tuple[float, int]]] = {}

    def put_back(self, town_id: str, state: TownState, told: Sequence[Entry]) -> None:
        """A copy takes the place of what there is."""
        self.states[town_id], self.told[town_id] = state, list(told)
        self._grown[town_id] = [(self._clock(), state.head.version)]

    def version_at(self, town_id: str, seconds: float) -> int:
        """Where the town stood then, as far as that is known since it was put back; else 0."""
        return max((version for since, version in self._grown[town_id] if since <= seconds), default=0)

    def snapshot(self, town_id: str) -> list[Asked]:
        """Where the questions of a reading that begins now are written down."""
        begun = Snapshot()
        self.told.setdefault(town_id, []).append(begun)
        return begun.asked

    def begun(self, writer: MemoryTownWriter) -> list[Asked]:
        """Where the questions of a transaction that may yet commit are written down."""
        asked: list[Asked] = []
        self._begun[id(writer)] = writer, asked
        return asked

    def commit(self, writer: MemoryTownWriter) -> None:
        """As the store."""
        town_id = writer.head.town
        founding = None
        if town_id not in self.states:
            founding = Founding(name=writer.state.name, epoch=writer.head.epoch)
        super().commit(writer)
        written = [(one.step, one.entry, one.signatures, one.answered) for one in writer.written]
        self._grown.setdefault(town_id, []).append((self._clock(), self.standing(town_id).head.version))
        _, asked = self._begun.pop(id(writer), (writer, []))
        self.tell(town_id, Commit(founding=founding, asked=asked, written=written, begun=tuple(writer.begun)))

    async def count_failure(self, town_id: str, device_id: str, seq: int, digest: bytes) -> int:
        """As the store."""
        self.tell(town_id, Statement(name="count_failure", arguments=(town_id, device_id, seq, digest)))
        return await super().count_failure(town_id, device_id, seq, digest)

    def tell(self, town_id: str, entry: Entry) -> None:
        """Write it down."""
        self.told.setdefault(town_id, []).append(entry)


class _ToldHistories(MemoryHistories):
    """The histories of that store."""

    def __init__(self, towns: ToldTowns) -> None:
        super().__init__(towns)
        self._towns = towns

    async def halt(self, town_id: str, halt: Halt) -> None:
        await super().halt(town_id, halt)
        self._towns.tell(town_id, Statement(port="histories", name="halt", arguments=(town_id, halt)))

    async def keep_lines(
        self, town_id: str, device_id: str, seq: int, lines: Sequence[bytes], *, signature: str, at: str
    ) -> None:
        await super().keep_lines(town_id, device_id, seq, lines, signature=signature, at=at)
        named = {"signature": signature, "at": at}
        arguments = (town_id, device_id, seq, list(lines))
        said = Statement(port="histories", name="keep_lines", arguments=arguments, named=named)
        self._towns.tell(town_id, said)
