"""`tallystick simulate`: what it prints, for people and for machines, and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from server.cli import simulate
from server.cli.app import whole_app
from server.cli.output import PROBLEM
from tests.simulation import command, many
from tests.simulation.run import Outcome, run_seed


def run(*words: str) -> Result:
    return CliRunner().invoke(whole_app(), ["simulate", *words])


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product in which the second fault of every world is one too many."""

    def run_broken(seed: int, *, limit: int | None = None) -> Outcome:
        outcome = run_seed(seed, limit=limit)
        if outcome.struck >= 2 and limit not in {0, 1}:
            outcome.findings = ["once: operation 7 took effect 2 times"]
        return outcome

    monkeypatch.setattr(many, "run_seed", run_broken)
    monkeypatch.setattr(command, "run_seed", run_broken)


def test_many_seeds_are_told_with_their_faults() -> None:
    result = run("--seeds", "4", "--jobs", "1")

    assert result.exit_code == 0, result.output
    assert "net.request_lost" in result.output
    assert "every invariant holds in every seed" in result.output


def test_a_machine_hears_the_same_as_json() -> None:
    said: dict[str, Any] = orjson.loads(run("--seeds", "4", "--start", "10", "--jobs", "1", "--json").stdout)

    assert (said["seeds"], said["failed"], said["processes"]) == (4, [], 1)
    assert said["sometimes"]["step record.after_commit"] > 0
    assert "rule orders.never_arrived" in said["never"]


def test_one_seed_is_told_with_what_happened_in_it() -> None:
    result = run("--seed", "3", "--trace")

    assert result.exit_code == 0, result.output
    assert "everything holds" in result.output
    assert "at rest" in result.output


@pytest.mark.usefixtures("broken")
def test_a_failure_prints_the_line_that_reproduces_it() -> None:
    result = run("--seeds", "60", "--jobs", "1")

    assert result.exit_code == PROBLEM
    assert "once: operation 7 took effect 2 times" in result.output
    assert "tallystick simulate --seed 2" in result.output


@pytest.mark.usefixtures("broken")
def test_a_failure_is_shrunk_to_the_faults_that_are_enough() -> None:
    seed = next(seed for seed in range(1, 100) if run_seed(seed).struck > 5)
    said = orjson.loads(run("--seed", str(seed), "--shrink", "--json").stdout)

    assert (said["limit"], sum(said["faults"].values())) == (2, 2)
    assert run("--seed", str(seed), "--faults", "1").exit_code == 0
    assert f"tallystick simulate --seed {seed} --faults 2" in run("--seed", str(seed), "--shrink").output


def test_a_long_run_in_which_something_never_happened_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "NIGHTLY_SEEDS", 4)
    result = run("--seeds", "4", "--jobs", "1")

    assert result.exit_code == PROBLEM
    assert "never happened" in result.output


def test_without_the_checkout_it_says_where_the_simulator_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(simulate, "CHECKOUT", tmp_path)
    result = run("--seeds", "1")

    assert result.exit_code == PROBLEM
    assert "source checkout" in result.stderr
