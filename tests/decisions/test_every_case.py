"""Every row of the decision tables has a test with its id in the name, and is raised somewhere by the code."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from sync.kernel.module import Case
from sync.modules import registry

HERE = Path(__file__).parent
SYNC = HERE.parents[1] / "sync"
CASES = sorted(registry().cases.values(), key=lambda case: case.id)


@cache
def names_of_tests() -> tuple[str, ...]:
    return tuple(
        node.name.removeprefix("test_")
        for path in HERE.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


@cache
def rules() -> tuple[ast.Module, ...]:
    """Every module of the rules, parsed once for all cases."""
    return tuple(ast.parse(path.read_text()) for path in SYNC.rglob("*.py"))


@cache
def uses() -> Mapping[str, int]:
    """How often each upper-case name is mentioned in the rules, other than where it gets its value."""
    counted: dict[str, int] = {}
    for module in rules():
        for node in ast.walk(module):
            is_attribute = isinstance(node, ast.Attribute)
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            is_read = is_attribute or isinstance(getattr(node, "ctx", None), ast.Load)
            if name.isupper() and is_read:
                counted[name] = counted.get(name, 0) + 1
    return counted


def constant_of(case: Case) -> str:
    """The name under which a case is declared."""
    for module in rules():
        for node in module.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                said = {keyword.arg: keyword.value for keyword in node.value.keywords}
                name, target = said.get("id"), node.targets[0]
                if isinstance(name, ast.Constant) and name.value == case.id and isinstance(target, ast.Name):
                    return target.id
    raise AssertionError(f"{case.id} is declared nowhere")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_case_has_a_test_with_its_id_in_the_name(case: Case) -> None:
    assert any(name.startswith(case.id.replace(".", "_")) for name in names_of_tests())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_case_is_raised_by_some_rule(case: Case) -> None:
    listed = 1 if case.id.startswith(("people.", "engine.")) else 0  # those are also named in a tuple of cases

    assert uses().get(constant_of(case), 0) > listed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_either_refuses_or_leaves_something_with_a_reason(case: Case) -> None:
    assert case.sentence.endswith(".")
    assert not (case.is_refusal and case.conflict)
    assert bool(case.task) == bool(case.conflict)
