"""Many seeds over many processes, what they came to together, and the few faults that make one fail."""

from __future__ import annotations

import gc
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice

from tests.simulation.run import Outcome, run_seed

SEEDS_AT_ONCE = 20
"""Seeds that a process takes at a time; garbage is collected in between."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """A seed in which something does not hold."""

    seed: int
    findings: tuple[str, ...]
    struck: int


@dataclass(kw_only=True)
class Total:
    """What many seeds came to."""

    seeds: int = 0
    steps: int = 0
    change_sets: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    sometimes: Counter[str] = field(default_factory=Counter)
    failed: list[Failed] = field(default_factory=list)

    def add(self, other: Total) -> None:
        """Both together."""
        self.seeds += other.seeds
        self.steps += other.steps
        self.change_sets += other.change_sets
        self.faults += other.faults
        self.sometimes += other.sometimes
        self.failed = sorted([*self.failed, *other.failed], key=lambda one: one.seed)

    def count(self, outcome: Outcome) -> None:
        """One seed more."""
        self.seeds += 1
        self.steps += outcome.steps
        self.change_sets += outcome.change_sets
        self.faults.update(outcome.faults)
        self.sometimes.update(outcome.sometimes)
        if outcome.findings:
            failed = Failed(seed=outcome.seed, findings=tuple(outcome.findings), struck=outcome.struck)
            self.failed.append(failed)


def run_some(seeds: Sequence[int], run: Callable[[int], Outcome] | None = None) -> Total:
    """These seeds, in this process."""
    total = Total()
    for seed in seeds:
        total.count((run or run_seed)(seed))
    gc.collect()
    return total


def run_many(
    seeds: Sequence[int], *, jobs: int = 1, failures_max: int = 0, progress: Callable[[Total], None] = lambda _: None
) -> Total:
    """All seeds, over so many processes; stops early after `failures_max` failures, when that is not 0."""
    total = Total()
    parts = iter([seeds[start : start + SEEDS_AT_ONCE] for start in range(0, len(seeds), SEEDS_AT_ONCE)])
    for part in map(run_some, parts) if jobs == 1 else _over_processes(parts, jobs):
        total.add(part)
        progress(total)
        if failures_max and len(total.failed) >= failures_max:
            break
    return total


def shrink(seed: int) -> int | None:
    """How many of the first faults of this seed are enough for it to fail; None when it does not fail at all.

    Found by halving: there may be a smaller number by chance, but none below it was seen to fail.
    """
    whole = run_seed(seed)
    if not whole.findings:
        return None
    fewest, most = 0, whole.struck
    while fewest < most:
        middle = (fewest + most) // 2
        if run_seed(seed, limit=middle).findings:
            most = middle
        else:
            fewest = middle + 1
    return most


def _over_processes(parts: Iterator[Sequence[int]], jobs: int) -> Iterator[Total]:
    """Results as they come; no more is begun than can be worked on, so that an early stop is a quick one."""
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        running: set[Future[Total]] = {pool.submit(run_some, part) for part in islice(parts, 2 * jobs)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(run_some, part) for part in islice(parts, len(done))}
            for one in done:
                yield one.result()
