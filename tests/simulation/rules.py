"""The rules of a world: the product's own, one operation that no rule survives, and one that only newer apps know."""

from __future__ import annotations

from typing import Annotated, ClassVar

from sync.kernel.changeset import Intent, Operation
from sync.kernel.draft import Draft
from sync.kernel.ids import Id
from sync.kernel.module import Module, ModuleKind, Ref, Registry
from sync.modules import registry

CREWS = frozenset({"warehouse_staff", "driver", "counter_clerk", "school_office"})


class Poison(Operation):
    """A fact over which the server's rule fails, each time."""

    op: ClassVar = "simulation.poison"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = CREWS
    user: Annotated[Id, Ref(entity="user")]


class Newer(Operation):
    """A fact that only a newer release knows."""

    op: ClassVar = "simulation.newer"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = CREWS


def poison(operation: Poison, draft: Draft) -> None:
    """Fail on the truth, and only there."""
    draft.get("user", operation.user)
    if draft.context.is_truth:
        raise ZeroDivisionError


def newer(operation: Newer, draft: Draft) -> None:
    """Change nothing."""
    del operation, draft


_POISON = Module(name="simulated faults", kind=ModuleKind.WORKFLOW, operations=(Poison,), rules={Poison: poison})
_NEWER = Module(name="simulated release", kind=ModuleKind.WORKFLOW, operations=(Newer,), rules={Newer: newer})

SERVER_RULES = Registry([*registry().modules, _POISON])
DEVICE_RULES = Registry([*registry().modules, _POISON, _NEWER])
