"""Budgets: how far each workload may fall behind its limit before somebody has to look at it.

A budget is a ratio, so that it holds on a slow machine as on a fast one; a benchmark on a busy machine still varies by
half, and budgets leave room for that. The goals are what is wanted; a budget is what was reached and is to be kept.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sync.kernel.errors import TallystickError


class BudgetsUnusable(TallystickError):
    """The file of budgets cannot be used: each workload in it has a ratio_min or a ratio_max and nothing else."""

    code: ClassVar[str] = "budgets_unusable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """The bounds of a workload's ratio, both of which are kept when reached."""

    ratio_min: float = 0.0
    ratio_max: float = float("inf")

    def is_kept(self, ratio: float) -> bool:
        """Whether the ratio is within."""
        return self.ratio_min <= ratio <= self.ratio_max

    def __str__(self) -> str:
        return f"at least {self.ratio_min:g}" if self.ratio_min else f"at most {self.ratio_max:g}"


def read_budgets(path: Path, workloads: Collection[str]) -> dict[str, Budget]:
    """The budgets by workload. Raises `BudgetsUnusable`."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise BudgetsUnusable(f"{path.name}: {fault}") from fault
    found = {}
    for name, bounds in told.items():
        if name not in workloads:
            raise BudgetsUnusable(f"{path.name}: there is no workload {name!r}")
        if not isinstance(bounds, dict) or len(bounds) != 1 or not bounds.keys() <= {"ratio_min", "ratio_max"}:
            raise BudgetsUnusable(f"{path.name}: {name} needs a ratio_min or a ratio_max, and nothing else")
        found[name] = Budget(**bounds)
    return found


def broken(budgets: Mapping[str, Budget], workloads: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which of what was measured is beyond its budget, a sentence each."""
    return [
        f"{one['name']}: {one['ratio']:.3g} of the limit, {budget} is the budget"
        for one in workloads
        if (budget := budgets.get(one["name"])) is not None and not budget.is_kept(one["ratio"])
    ]
