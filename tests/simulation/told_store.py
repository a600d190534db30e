"""What the store of a device was told, in order, so that a file can be told the same (`tests.simulation.real_disk`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from client_sdk.adapters.memory import MemoryStore
from client_sdk.application.lease_ports import Reading
from client_sdk.application.ports import (
    Entry,
    ExchangeState,
    LocalHead,
    Rebasing,
    Recording,
    Running,
    Settled,
    Standing,
)
from sync.kernel.changeset import Fields, RowKey
from sync.protocol.messages import Checkpoint, Welcome

Act = tuple[str, tuple[Any, ...]]
"""A method and what it was called with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One call that changed the store, the device's clocks then, and its answer; `acts` are those of a transaction."""

    name: str
    arguments: tuple[Any, ...]
    clock: tuple[int, int, str]
    answer: Any = None
    acts: Sequence[Act] = ()


class _ToldRecording:
    """A `Recording` that writes down what it is told."""

    def __init__(self, inner: Recording, acts: list[Act]) -> None:
        self._inner = inner
        self._acts = acts
        self.row = inner.row
        self.first_pending = inner.first_pending

    @property
    def head(self) -> LocalHead:
        """As the port."""
        return self._inner.head

    @property
    def standing(self) -> Standing:
        """As the port."""
        return self._inner.standing

    def append(self, entry: Entry, running: Running, rows: Mapping[RowKey, Fields]) -> None:
        """As the port."""
        self._acts.append(("append", (entry, running, dict(rows))))
        self._inner.append(entry, running, rows)

    def saw(self, reading: Reading) -> None:
        """As the port."""
        self._acts.append(("saw", (reading,)))
        self._inner.saw(reading)


class ToldStore(MemoryStore):
    """The store in memory; `told` is everything that has made it what it is."""

    told: list[Told]

    def tell(self, name: str, *arguments: Any, answer: Any = None, acts: Sequence[Act] = ()) -> None:
        """Write it down."""
        system = self._system
        clock = (system.now_ms(), system.monotonic_ms(), system.boot_id())
        self.told.append(Told(name=name, arguments=arguments, clock=clock, answer=answer, acts=acts))

    @contextmanager
    def recording(self) -> Iterator[Any]:
        """As the store."""
        acts: list[Act] = []
        with super().recording() as recording:
            yield _ToldRecording(recording, acts)
        self.tell("recording", acts=acts)

    @contextmanager
    def rebasing(self, state: ExchangeState, head: LocalHead, first: int) -> Iterator[Rebasing]:
        """As the store."""
        acts: list[Act] = []
        with super().rebasing(state, head, first) as rebasing:
            yield replace(rebasing, recording=_ToldRecording(rebasing.recording, acts))
        self.tell("rebasing", state, head, first, acts=acts)

    def settle(self, state: ExchangeState, welcome: Welcome, lines: Iterable[bytes], checkpoint: Checkpoint) -> Settled:
        """As the store."""
        kept = list(lines)
        settled = super().settle(state, welcome, kept, checkpoint)
        self.tell("settle", state, welcome, kept, checkpoint, answer=settled)
        return settled

    def spool(self, state: ExchangeState, lines: Sequence[bytes], checkpoint: Checkpoint) -> ExchangeState:
        """As the store."""
        spooled = super().spool(state, lines, checkpoint)
        self.tell("spool", state, list(lines), checkpoint)
        return spooled

    def drop_spool(self) -> None:
        """As the store."""
        super().drop_spool()
        self.tell("drop_spool")

    def rewind(self, acked: int) -> None:
        """As the store."""
        super().rewind(acked)
        self.tell("rewind", acked)

    def saw(self, reading: Reading) -> None:
        """As the store."""
        super().saw(reading)
        self.tell("saw", reading)
