"""Worlds made of seeds: every promise holds in them, and the same seed makes the same world, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.simulation import many
from tests.simulation.conftest import quiet_options
from tests.simulation.faults import KINDS, Faults
from tests.simulation.many import run_many, run_some, shrink
from tests.simulation.mutants import MUTANTS
from tests.simulation.options import draw_options
from tests.simulation.run import run_seed
from tests.simulation.sometimes import NOT_REACHED, missing, wanted

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 200
SEEDS_AT_ONCE = 40
BUSY_SEED = 33
OTHER_PROCESS = "from tests.simulation.run import run_seed; print(run_seed({seed}).digest)"


@pytest.mark.parametrize("first", range(1, SEEDS, SEEDS_AT_ONCE))
def test_every_promise_holds_whatever_goes_wrong(first: int) -> None:
    total = run_some(range(first, first + SEEDS_AT_ONCE))

    assert [(failed.seed, failed.findings) for failed in total.failed] == []
    assert total.faults.total() > SEEDS_AT_ONCE


def test_a_seed_makes_the_same_world_each_time() -> None:
    first, again = run_seed(BUSY_SEED), run_seed(BUSY_SEED)

    assert first.trace == again.trace
    assert first.sometimes == again.sometimes
    assert len(first.trace) > 100


def test_a_seed_makes_the_same_world_in_another_process() -> None:
    script = OTHER_PROCESS.format(seed=BUSY_SEED)
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed, "PATH": ""},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }

    assert told == {run_seed(BUSY_SEED).digest}


def test_seeds_make_different_worlds() -> None:
    assert len({run_seed(seed).digest for seed in range(5)}) == 5
    assert len({str(draw_options(seed).as_dict()) for seed in range(50)}) == 50


def test_without_faults_a_world_comes_to_rest_in_a_few_rounds() -> None:
    outcome = run_seed(7, options=quiet_options())

    assert (outcome.findings, outcome.struck) == ([], 0)
    assert sum(" round " in line for line in outcome.trace) <= 4


def test_a_limit_lets_only_the_first_faults_happen() -> None:
    whole, few, none = (run_seed(BUSY_SEED, limit=limit) for limit in (None, 3, 0))

    def struck(trace: list[str]) -> list[str]:
        return [line for line in trace if " fault " in line]

    assert struck(few.trace) == struck(whole.trace)[:3]
    assert struck(none.trace) == []


def test_a_fault_that_is_held_back_changes_nothing_of_the_others() -> None:
    told: list[list[str]] = []
    for held in (None, "net.cut"):
        rates = {kind: 0.5 for kind in KINDS if kind != held}
        heard: list[str] = []
        faults = Faults("seed", rates, partial(_note, heard))
        for _ in range(20):
            for kind in ("net.cut", "net.slow", "server.killed"):
                faults.strikes(kind)
        told.append([kind for kind in heard if kind != "net.cut"])

    assert told[0] == told[1] != []


def _note(heard: list[str], kind: str, _: str) -> None:
    heard.append(kind)


def test_nothing_goes_wrong_once_a_world_is_healed() -> None:
    faults = Faults("seed", dict.fromkeys(KINDS, 1.0), lambda _kind, _what: None)
    assert faults.strikes("net.cut")
    faults.heal()
    assert not faults.strikes("net.cut")


@pytest.mark.parametrize(("enough", "struck"), [(0, 9), (1, 9), (5, 9), (9, 9)])
def test_a_failure_is_shrunk_to_the_faults_that_are_enough_for_it(
    monkeypatch: pytest.MonkeyPatch, enough: int, struck: int
) -> None:
    def fails_from(_seed: int, *, limit: int | None = None) -> SimpleNamespace:
        return SimpleNamespace(findings=["x"] if limit is None or limit >= enough else [], struck=struck)

    monkeypatch.setattr(many, "run_seed", fails_from)

    assert shrink(1) == enough


def test_what_does_not_fail_is_not_shrunk() -> None:
    assert shrink(3) is None


def test_many_processes_come_to_the_same_as_one() -> None:
    seeds = range(30)
    alone, together = run_many(seeds, jobs=1), run_many(seeds, jobs=2)

    assert (alone.seeds, alone.steps, alone.faults) == (together.seeds, together.steps, together.faults)


def test_what_never_happened_is_missed_and_what_cannot_happen_is_not() -> None:
    assert {
        "step apply.before_commit",
        "verdict quarantined",
        "fault net.cut",
        "rule orders.duplicate_delivery",
    } <= wanted()
    assert missing(wanted() - {"fault net.cut"}) == ["fault net.cut"]
    assert not [name for name in wanted() if name in NOT_REACHED or name.startswith("step settle.")]


def test_options_of_a_world_can_be_given() -> None:
    outcome = run_seed(3, options=replace(quiet_options(), acts=1, stage=0))

    assert outcome.options.acts == 1
    assert outcome.findings == []


def test_the_source_of_every_mutant_is_there_once() -> None:
    assert len(MUTANTS) >= 25
    assert [one.name for one in MUTANTS if (ROOT / one.path).read_text(encoding="utf-8").count(one.before) != 1] == []
