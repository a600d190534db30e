"""One seed from beginning to end: the world, the checkers, and what is reported of it."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from tests.simulation.checkers import check
from tests.simulation.loop import Stuck, using
from tests.simulation.options import Options
from tests.simulation.signatures import remembered
from tests.simulation.world import World


@dataclass(kw_only=True)
class Outcome:
    """What a seed came to. `findings` are empty when everything holds; `struck` counts the faults that were drawn."""

    seed: int
    options: Options
    findings: list[str]
    faults: Mapping[str, int]
    sometimes: Mapping[str, int]
    struck: int
    steps: int
    change_sets: int
    digest: str
    trace: list[str] = field(default_factory=list)


def run_seed(seed: int, *, options: Options | None = None, limit: int | None = None) -> Outcome:
    """Make the world of this seed and check it; with `limit`, only the first so many faults happen."""
    world = World(seed, options, limit=limit)
    return outcome_of(world, lived(world))


def outcome_of(world: World, findings: list[str]) -> Outcome:
    """What a world that is over came to."""
    return Outcome(
        seed=world.seed,
        options=world.options,
        findings=findings,
        faults=Counter(world.faults.counts),
        sometimes=Counter(world.facts.sometimes),
        struck=world.faults.struck,
        steps=world.loop.steps,
        change_sets=sum(len(town.sets) for town in world.facts.towns.values()),
        digest=world.digest(),
        trace=world.trace,
    )


def lived(world: World) -> list[str]:
    """Let the world run to its end; what does not hold in it."""
    was_collecting = gc.isenabled()
    gc.disable()  # when garbage is found depends on what ran before
    with _silence(), remembered(), using(world.loop):
        try:
            world.run()
            world.notice()
            return check(world.facts)
        except Stuck as stuck:
            return [f"orderly: {stuck}"]
        except Exception as fault:  # noqa: BLE001  one world that breaks ends no run of many
            return [f"orderly: {type(fault).__name__}: {fault}"]
        finally:
            world.bury()
            if was_collecting:
                gc.enable()


@contextmanager
def _silence() -> Iterator[None]:
    """The server's log is not wanted, and would look at the clock."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=_Silent, processors=[], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)


class _Silent:
    """A logger that writes nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Whatever it is given."""

    def bind(self, **_: Any) -> _Silent:
        """Itself."""
        return self

    def __getattr__(self, _: str) -> Any:
        return lambda *_args, **_kwargs: None
