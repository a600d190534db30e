"""`tallystick bench` measures on a real stack and tells what it found in one shape; how fast it is, is not tested."""

from __future__ import annotations

import orjson

from server.cli.bench import Workload
from server.cli.bench.frame import FULL, QUICK, Goal, Sizes
from server.cli.bench.suite import WORKLOADS, run_suite
from tests.support.stack import scratch_directory

TINY = Sizes(
    first_sync_rows=10,
    pushed_change_sets=2,
    crew_processes=1,
    crew_devices=1,
    rounds=1,
    pending_change_sets=6,
    record_samples=3,
)


def test_a_workload_gives_its_figure_beside_its_limit_and_leaves_nothing_behind() -> None:
    steps: list[str] = []

    with scratch_directory() as directory:
        document = orjson.loads(orjson.dumps(run_suite(["record"], TINY, data=directory, say=steps.append)))
        left = list(directory.iterdir())

    [record] = document["workloads"]
    assert record["name"] == "record"
    assert record["unit"] == "ms"
    assert record["ratio"] == record["value"] / record["limit"]
    assert {goal["what"] for goal in record["goals"]} == {"times a commit", "times with none pending"}
    assert record["details"].keys() == {"pending", "empty_p50_ms", "empty_p99_ms", "full_p50_ms", "full_p99_ms"}
    assert document["sizes"]["pending_change_sets"] == 6
    assert document["environment"].keys() == {"cores", "machine", "system", "python", "postgresql", "sqlite"}
    assert "record: recording with nothing pending" in steps
    assert left == []


def test_every_workload_can_be_asked_for_by_name() -> None:
    assert [workload.value for workload in Workload] == list(WORKLOADS)


def test_a_quick_run_does_less_of_everything() -> None:
    amounts = ("first_sync_rows", "pushed_change_sets", "crew_devices", "rounds", "pending_change_sets")

    assert all(getattr(QUICK, amount) < getattr(FULL, amount) for amount in amounts)


def test_a_floor_is_reached_at_its_bound_and_a_ceiling_only_below() -> None:
    floor = Goal(what="rows/s", value=5.0, bound=5.0)
    ceiling = Goal(what="ms", value=5.0, bound=5.0, is_ceiling=True)

    assert (floor.is_reached, ceiling.is_reached) == (True, False)
