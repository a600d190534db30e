"""A world in which nothing goes wrong, made once: what the checkers are tried on."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from tests.simulation.facts import Facts
from tests.simulation.options import Options, draw_options
from tests.simulation.run import lived
from tests.simulation.world import World

QUIET_SEED = 34
QUIET_ACTS = 14


def quiet_options(seed: int = QUIET_SEED) -> Options:
    """Two towns, a few days, no faults."""
    drawn = draw_options(seed)
    return replace(drawn, stage=3, hours=100.0, acts=QUIET_ACTS, slips=0.3, is_verified=True, rates={})


@pytest.fixture(scope="session")
def quiet_world() -> World:
    """A world that is over, with everything in it."""
    world = World(QUIET_SEED, quiet_options())
    assert lived(world) == []
    return world


@pytest.fixture
def facts(quiet_world: World) -> Facts:
    """What is known of it, to be broken."""
    return copy.deepcopy(quiet_world.facts)
