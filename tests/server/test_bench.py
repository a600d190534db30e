"""`tallystick bench` measures on a real stack and tells what it found in one shape; how fast it is, is not tested."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from server.cli.bench import Workload
from server.cli.bench.frame import FULL, QUICK, Goal, Sizes
from server.cli.bench.suite import WORKLOADS, run_suite
from server.cli.budgets import BudgetsUnusable, broken, read_budgets
from tests.support.stack import scratch_directory

BUDGETS = Path(__file__).parents[2] / "loadtests" / "budgets.toml"
TINY = Sizes(
    first_sync_rows=10,
    pushed_change_sets=2,
    crew_processes=1,
    crew_devices=1,
    rounds=1,
    pending_change_sets=6,
    record_samples=3,
    storm_towns=1,
    storm_devices=2,
    storm_change_sets=2,
    statement_entries=4,
    verified_change_sets=2,
    sized_rows=10,
    sized_change_sets=2,
)


QUICK_TO_RUN = ["record", "storm", "overlay", "statement", "verify", "size"]


def test_a_workload_gives_its_figure_beside_its_limit_and_leaves_nothing_behind() -> None:
    steps: list[str] = []

    with scratch_directory() as directory:
        document = orjson.loads(orjson.dumps(run_suite(QUICK_TO_RUN, TINY, data=directory, say=steps.append)))
        left = list(directory.iterdir())

    assert [one["name"] for one in document["workloads"]] == QUICK_TO_RUN
    assert all(one["limit"] > 0 and one["goals"] for one in document["workloads"])
    record = document["workloads"][0]
    assert record["unit"] == "ms"
    assert record["ratio"] == record["value"] / record["limit"]
    assert {goal["what"] for goal in record["goals"]} == {
        *("times a commit", "times with none pending", "API memory at its peak, MiB")
    }
    assert record["details"].keys() == {
        *("pending", "empty_p50_ms", "empty_p99_ms", "full_p50_ms", "full_p99_ms", "api_peak_mib")
    }
    assert document["sizes"]["pending_change_sets"] == 6
    known = {"day", "load", "cores", "machine", "system", "python", "postgresql", "sqlite"}
    assert document["environment"].keys() == known
    assert "record: recording with nothing pending" in steps
    assert left == []


def test_every_workload_can_be_asked_for_by_name() -> None:
    assert [workload.value for workload in Workload] == list(WORKLOADS)


def test_a_budget_is_kept_at_its_bound_and_what_is_beyond_is_told(tmp_path: Path) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text("[push]\nratio_min = 0.5\n[live]\nratio_max = 40\n[idle]\nratio_min = 0.1\n")
    ratios = {"push": 0.5, "live": 41.0, "idle": 0.05, "round": 0.0}

    budgets = read_budgets(path, WORKLOADS)

    assert broken(budgets, [{"name": name, "ratio": ratio} for name, ratio in ratios.items()]) == [
        "live: 41 of the limit, at most 40 is the budget",
        "idle: 0.05 of the limit, at least 0.1 is the budget",
    ]


@pytest.mark.parametrize(
    "text", ["[pushed]\nratio_min = 1", "[push]\nratio = 1", "[push]\nratio_min = 1\nratio_max = 2", "push = 1", "["]
)
def test_budgets_that_say_nothing_are_not_taken_for_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text(text)

    with pytest.raises(BudgetsUnusable):
        read_budgets(path, WORKLOADS)


def test_every_workload_has_a_budget() -> None:
    assert read_budgets(BUDGETS, WORKLOADS).keys() == WORKLOADS.keys()


def test_a_quick_run_does_less_of_everything() -> None:
    amounts = (
        *("first_sync_rows", "pushed_change_sets", "crew_devices", "rounds", "pending_change_sets", "storm_devices"),
        *("storm_change_sets", "verified_change_sets", "sized_rows", "sized_change_sets"),
    )

    assert all(getattr(QUICK, amount) < getattr(FULL, amount) for amount in amounts)


def test_a_floor_is_reached_at_its_bound_and_a_ceiling_only_below() -> None:
    floor = Goal(what="rows/s", value=5.0, bound=5.0)
    ceiling = Goal(what="ms", value=5.0, bound=5.0, is_ceiling=True)

    assert (floor.is_reached, ceiling.is_reached) == (True, False)
