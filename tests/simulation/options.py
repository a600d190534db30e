"""What kind of world a seed makes: drawn for each, so that seeds differ in more than chance (swarm testing).

A world in which everything goes wrong a little finds other things than one in which one thing goes wrong all the time,
so each kind of fault is there or not, and then more or less often. Source: Groce et al., "Swarm testing", ISSTA 2012.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from tests.simulation.faults import KINDS

STAGES = 6
QUIET_SHARE = 0.1
KIND_SHARE = 0.35
VERIFIED_SHARE = 0.25
HOURS_MIN, HOURS_MAX = 0.5, 24 * 12
SHORT, MIDDLING, LONG = (1, 4), (5, 10), (20, 60)
SHORT_SHARE, MIDDLING_SHARE = 0.85, 0.13
"""How much each person does in a world, and how many worlds are of which length; the rest are long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """One world's. `hours` is how long the first phase lasts, `acts` what each person does in it, more or less.

    `tick_ms` passes when a process looks at its clock; `is_shuffled` lets ready tasks go in any order; `is_verified`
    runs `tallystick verify` over each town at the end, which takes as long as everything else.
    """

    stage: int
    hours: float
    acts: int
    processes: int
    page_rows: int
    tick_ms: float
    is_shuffled: bool
    is_verified: bool
    skew_seconds: float
    haste: float
    slips: float
    rates: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """For a report: what is off is left out."""
        said = asdict(self)
        said["rates"] = {kind: round(rate, 4) for kind, rate in self.rates.items() if rate}
        return said


def draw_options(seed: int) -> Options:
    """The options of this seed."""
    random = Random(f"{seed}/options")
    length, is_quiet = random.random(), random.random() < QUIET_SHARE
    lowest, highest = SHORT if length < SHORT_SHARE else MIDDLING if length < SHORT_SHARE + MIDDLING_SHARE else LONG
    return Options(
        stage=random.randrange(STAGES),
        hours=round(HOURS_MIN * (HOURS_MAX / HOURS_MIN) ** random.random(), 2),
        acts=random.randint(lowest, highest),
        processes=random.choice((1, 1, 2, 3)),
        page_rows=random.choice((3, 10, 10_000, 10_000)),
        tick_ms=random.choice((0.0, 0.0, 1.0, 4.0)),
        is_shuffled=random.random() < 0.5,
        is_verified=random.random() < VERIFIED_SHARE,
        skew_seconds=random.choice((0.0, 0.0, 1.0)),
        haste=random.choice((0.1, 0.3, 0.6)),
        slips=random.choice((0.05, 0.15, 0.4)),
        rates={
            kind: 0.0 if is_quiet or random.random() > KIND_SHARE else highest_rate * random.uniform(0.1, 1.0)
            for kind, highest_rate in KINDS.items()
        },
    )
