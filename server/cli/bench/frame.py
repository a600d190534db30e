"""What a workload is given and what it gives back: the running stack, how much to do, and a figure with its limit.

A figure alone says nothing of the software: every one stands beside a limit that the same machine has just reached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from server.office import Office
from server.stack import Stack

PASSPHRASE = "benchmark device"  # noqa: S105 - it guards rows that are made up


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How much each workload does."""

    first_sync_rows: int
    pushed_change_sets: int
    crew_processes: int
    crew_devices: int
    rounds: int
    pending_change_sets: int
    record_samples: int
    storm_towns: int
    storm_devices: int
    storm_change_sets: int
    statement_entries: int
    verified_change_sets: int
    sized_rows: int
    sized_change_sets: int


QUICK = Sizes(
    first_sync_rows=20_000,
    pushed_change_sets=2_000,
    crew_processes=2,
    crew_devices=10,
    rounds=5,
    pending_change_sets=1_000,
    record_samples=200,
    storm_towns=5,
    storm_devices=20,
    storm_change_sets=20,
    statement_entries=1_000,
    verified_change_sets=4_000,
    sized_rows=5_000,
    sized_change_sets=500,
)
FULL = Sizes(
    first_sync_rows=100_000,
    pushed_change_sets=10_000,
    crew_processes=2,
    crew_devices=50,
    rounds=10,
    pending_change_sets=10_000,
    record_samples=500,
    storm_towns=10,
    storm_devices=200,
    storm_change_sets=50,
    statement_entries=1_000,
    verified_change_sets=20_000,  # what it takes grows with the journal and with nothing else
    sized_rows=50_000,
    sized_change_sets=5_000,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """The installation under measurement; `folder` is for files of the workload, `say` shows what it is doing."""

    stack: Stack
    office: Office
    folder: Path
    sizes: Sizes
    say: Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """A value and the bound it shall keep: at least, or below when `is_ceiling`."""

    what: str
    value: float
    bound: float
    is_ceiling: bool = False

    @property
    def is_reached(self) -> bool:
        """Whether the bound is kept."""
        return self.value < self.bound if self.is_ceiling else self.value >= self.bound


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One workload's outcome: a figure, the limit in the same unit, where the time went, and what else was seen."""

    what: str
    unit: str
    value: float
    limit: float
    limit_what: str
    goals: Sequence[Goal]
    where: str
    details: Mapping[str, float]

    @property
    def ratio(self) -> float:
        """The figure as a multiple of the limit."""
        return self.value / self.limit
