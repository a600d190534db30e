"""A registry refuses declarations that contradict each other, so that the engine can trust it."""

from __future__ import annotations

from typing import Annotated, ClassVar

import pytest

from sync.kernel.changeset import Intent, Operation
from sync.kernel.draft import Draft
from sync.kernel.errors import InvalidModule, UnknownOperation
from sync.kernel.ids import Id
from sync.kernel.module import Case, Entity, Module, ModuleKind, Ref, Registry

TREE = Entity(name="tree", plural="trees", fields={})
ROTTEN = Case(id="trees.rotten", sentence="{tree} is rotten.", conflict="rotten", task="Fell {tree} at {place}")


class Plant(Operation):
    op: ClassVar = "tree.plant"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = frozenset({"gardener"})
    beside: Annotated[Id, Ref(entity="tree")]
    under: Annotated[Id | None, Ref(entity="tree")] = None


def plant(_operation: Plant, _draft: Draft) -> None:
    """Nothing happens."""


def water(_operation: Plant, _draft: Draft) -> None:
    """Nothing happens either."""


def module(name: str = "garden", **parts: object) -> Module:
    return Module(**{"name": name, "kind": ModuleKind.TRUTH, **parts})  # type: ignore[arg-type]


GARDEN = module(entities=(TREE,), operations=(Plant,), rules={Plant: plant}, cases=(ROTTEN,))


def test_a_registry_knows_everything_by_name() -> None:
    registry = Registry([GARDEN])

    assert (registry.entities, registry.cases) == ({"tree": TREE}, {"trees.rotten": ROTTEN})
    assert (registry.operation("tree.plant"), registry.rules) == (Plant, {"tree.plant": (plant,)})
    assert registry.references == {"tree.plant": (("beside", "tree"), ("under", "tree"))}
    assert [registry.permits(role, "tree.plant") for role in ("gardener", "thief")] == [True, False]
    among = [["thief", "gardener"], ["thief"], []]
    assert [registry.permits_any(roles, "tree.plant") for roles in among] == [True, False, False]


def test_a_later_module_may_add_a_rule_to_an_operation() -> None:
    later = module("pond", needs=frozenset({"garden"}), rules={Plant: water})

    assert Registry([GARDEN, later]).rules == {"tree.plant": (plant, water)}


@pytest.mark.parametrize(
    ("modules", "problem"),
    [
        ([GARDEN, module("copy", entities=(TREE,))], "module copy declares tree a second time"),
        ([GARDEN, module("copy", operations=(Plant,))], "module copy declares tree.plant a second time"),
        ([GARDEN, module("copy", cases=(ROTTEN,))], "module copy declares trees.rotten a second time"),
        ([module("pond", needs=frozenset({"garden"})), GARDEN], r"module pond needs \['garden'\] before it"),
        ([module(operations=(Plant,))], "operation tree.plant has no rule"),
        ([module(rules={Plant: plant})], "module garden has a rule for tree.plant, which is not registered"),
    ],
    ids=["entity twice", "operation twice", "case twice", "missing need", "no rule", "rule without operation"],
)
def test_a_contradiction_is_refused_at_start(modules: list[Module], problem: str) -> None:
    with pytest.raises(InvalidModule, match=problem):
        Registry(modules)


def test_an_unknown_operation_is_named_as_such() -> None:
    with pytest.raises(UnknownOperation):
        Registry([GARDEN]).operation("tree.fell")


def test_a_case_knows_what_its_texts_need() -> None:
    assert ROTTEN.placeholders() == {"tree", "place"}
    assert ROTTEN.explain({"tree": "The oak", "place": "the gate"}) == "The oak is rotten."
