"""The failpoints, read from the source: whoever kills at each of them takes the names from here, never from a list.

A failpoint is a call `….reached("<story>.<step>")` in a product. A test that kills is parametrised over `failpoint`
with what `failpoints` finds and compares an exit status with `KILLED`; `tests/house/test_failpoints.py` holds that
every name has such a test. A new step of a known story is killed without anybody's doing, one of a new story is missed.
"""

from __future__ import annotations

import ast
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path

KILLED = -signal.SIGKILL
"""How a process ends at its failpoint; one that never came there ends otherwise."""

ROOT = Path(__file__).resolve().parents[2]
SIDES = ("server", "client_sdk")
PASSES_ON = ("client_sdk/adapters/system.py", "server/cli/bench/instruments.py")
"""Where a step is handed on by a variable."""


def named_in(text: str) -> Iterator[str | None]:
    """The name of every failpoint in a source, in order; None for one whose name is not written there."""
    for node in ast.walk(ast.parse(text)):
        is_step = isinstance(node, ast.Call) and len(node.args) == 1 and _called(node) == "reached"
        if not is_step or not isinstance(node, ast.Call):
            continue
        (name,) = node.args
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield name.value
        elif _receiver(node) in {"", "system", "_system"}:  # elsewhere the word has another meaning
            yield None


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _receiver(call: ast.Call) -> str:
    """The last name before the dot; nothing for a plain function."""
    if not isinstance(call.func, ast.Attribute):
        return ""
    before = call.func.value
    return before.attr if isinstance(before, ast.Attribute) else getattr(before, "id", "another")


@cache
def of_side(side: str) -> frozenset[str]:
    """Every failpoint of `server` or of `client_sdk`."""
    assert side in SIDES, side
    paths = (path for path in (ROOT / side).rglob("*.py") if path.relative_to(ROOT).as_posix() not in PASSES_ON)
    return frozenset(name for path in paths for name in named_in(path.read_text(encoding="utf-8")) if name)


def failpoints(side: str, *wanted: str, but: tuple[str, ...] = ()) -> list[str]:
    """The failpoints of these stories, or with these whole names, in order; each of `wanted` and of `but` is there."""
    there = of_side(side)
    found = set()
    for one in wanted:
        matching = {name for name in there if one in {name, name.partition(".")[0]}}
        assert matching, f"{side} has no failpoint {one}"
        found |= matching
    assert set(but) <= found, f"{side} has not all of {but}"
    return sorted(found - set(but))


def killed_in(text: str) -> Iterator[tuple[str, str]]:
    """(side, failpoint) of every test of a file that kills: takes the names from `failpoints` and asks for `KILLED`."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
            continue
        if not any(isinstance(part, ast.Compare) and _names(part) >= {"KILLED"} for part in ast.walk(node)):
            continue
        for decorator in node.decorator_list:
            for side, names in _parametrised(decorator):
                yield from ((side, name) for name in names)


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _parametrised(decorator: ast.expr) -> Iterator[tuple[str, list[str]]]:
    """What `@pytest.mark.parametrize("failpoint", failpoints(…))` comes to."""
    if not isinstance(decorator, ast.Call) or _called(decorator) != "parametrize" or len(decorator.args) != 2:
        return
    named, values = decorator.args
    if isinstance(named, ast.Constant) and named.value == "failpoint" and isinstance(values, ast.Call):
        assert _called(values) == "failpoints", f"line {decorator.lineno}: failpoints come from the source"
        side, *wanted = (ast.literal_eval(argument) for argument in values.args)
        but = {word.arg: ast.literal_eval(word.value) for word in values.keywords}.get("but", ())
        yield side, failpoints(side, *wanted, but=but)
