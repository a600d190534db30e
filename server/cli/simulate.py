"""`simulate`: worlds made of seeds, in which everything goes wrong, and whether the promises hold in them.

The simulator is no part of what is installed: it stands beside the tests, in the source checkout that it proves.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from server.cli.output import PROBLEM, AsJson, examples
from sync.kernel.errors import TallystickError

CHECKOUT = Path(__file__).resolve().parents[2]
SIMULATOR = "tests.simulation.command"


class NoSimulator(TallystickError):
    """The simulator is part of the source checkout and needs its development environment; run this command there."""

    code: ClassVar[str] = "no_simulator"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "simulate",
        epilog=examples(
            "tallystick simulate --seeds 20000 --jobs 2",
            "tallystick simulate --seed 1234 --trace",
            "tallystick simulate --seed 1234 --shrink",
            "tallystick simulate --seeds 20 --real",
        ),
    )(_simulate)


def _simulate(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="How many worlds.")] = 500,
    start: Annotated[int, typer.Option(min=0, help="The first seed.")] = 1,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; as many as cores when not said.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="This one world only.")] = None,
    faults: Annotated[int | None, typer.Option(min=0, help="With --seed: only its first so many faults.")] = None,
    shrink: Annotated[bool, typer.Option("--shrink", help="With --seed: as few faults as still fail.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="With --seed: everything that happened.")] = False,
    real: Annotated[bool, typer.Option("--real", help="Tell real PostgreSQL and SQLite the same; slow.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make worlds of towns, devices, people and faults out of seeds, and check every invariant in each of them."""
    simulator = _simulator()
    if seed is not None:
        told = {"is_traced": trace, "as_json": as_json, "is_real": real}
        is_good = simulator.one(seed, faults=faults, is_shrunk=shrink, **told)
    else:
        is_good = simulator.many(
            range(start, start + seeds), jobs=jobs or os.cpu_count() or 1, as_json=as_json, is_real=real
        )
    if not is_good:
        raise typer.Exit(PROBLEM)


def _simulator() -> Any:
    """What runs the worlds. Raises `NoSimulator`."""
    if not (CHECKOUT / SIMULATOR.replace(".", "/")).with_suffix(".py").is_file():
        raise NoSimulator
    sys.path.insert(0, str(CHECKOUT))
    try:
        return importlib.import_module(SIMULATOR)
    except ModuleNotFoundError as missing:
        raise NoSimulator(f"{NoSimulator.__doc__} ({missing.name} is not installed)") from missing
