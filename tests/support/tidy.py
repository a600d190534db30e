"""What the house test looks for, each as a function from a file's path and text to a list of complaints.

Paths are relative to the repository, with forward slashes; a complaint reads `path:line: what is wrong`.
Nothing here reads a file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping

FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 400
PRODUCTS = ("sync", "server", "client_sdk")

Check = Callable[[str, str], list[str]]

_MACHINE_PATH = re.compile(r"(?<![\w.])/(?:(?:work|root|home|Users)/[\w.]|tmp/tally|opt/(?:pypi|wheels))")
_PACKAGE_INDEX = re.compile(r"(?:pypi|pythonhosted|npmjs|crates|deb\.debian|proxy\.golang)\.(?:org|com|io)\b")
_DODGES = frozenset({"skip", "skipif", "xfail", "importorskip", "skipTest", "skipUnless", "expectedFailure"})
_PROOFS = ("check_", "assert_", "expect_", "run_state_machine_as_test")


def long_functions(path: str, text: str) -> list[str]:
    """Functions that do not fit on a screen; decorators do not count."""
    return [
        f"{path}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES_MAX} fit on a screen"
        for node in _functions(text)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]


def long_modules(path: str, text: str) -> list[str]:
    """Modules that tell more than one story."""
    length = len(text.splitlines())
    if length <= MODULE_LINES_MAX:
        return []
    return [f"{path}:{MODULE_LINES_MAX + 1}: the module has {length} lines, at most {MODULE_LINES_MAX} tell one story"]


def silent_modules(path: str, text: str) -> list[str]:
    """Modules that do not open with what they are for."""
    return [] if ast.get_docstring(ast.parse(text)) else [f"{path}:1: the module has no docstring"]


def machine_paths(path: str, text: str) -> list[str]:
    """Places that exist on one machine only."""
    return _lines_with(_MACHINE_PATH, path, text, "a path of one machine")


def package_indexes(path: str, text: str) -> list[str]:
    """Package indexes by name; which one is used is the affair of the machine."""
    return _lines_with(_PACKAGE_INDEX, path, text, "a package index")


def dodging_tests(path: str, text: str) -> list[str]:
    """Tests that sleep, or that need not run or pass."""
    complaints = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr in _DODGES:
            complaints.append(f"{path}:{node.lineno}: {node.attr}: a test runs and passes, or it is mended")
        if _is_sleep(node):
            complaints.append(f"{path}:{getattr(node, 'lineno', 1)}: sleep: time moves because the test moves it")
    return complaints


def toothless_tests(path: str, text: str) -> list[str]:
    """Tests that cannot fail: no assert, no `pytest.raises`, no call of a helper named check_, assert_ or expect_."""
    return [
        f"{path}:{node.lineno}: {node.name} proves nothing"
        for node in _functions(text)
        if node.name.startswith("test_") and not any(map(_is_proof, ast.walk(node)))
    ]


def dead_modules(sources: Mapping[str, str], entry_points: str) -> list[str]:
    """Modules of the products that no other shipped module imports or names in a string, entry points left out.

    `sources` maps paths of shipped Python files to their text, tests not among them; `entry_points` is any text with
    dotted names.
    """
    mentions: dict[str, set[str]] = {}
    for path, text in sources.items():
        for name in _mentioned(path, text):
            mentions.setdefault(name, set()).add(path)
    named = set(re.findall(r"[\w.]+", entry_points))
    return [
        f"{path}:1: nothing imports {module}"
        for path in sorted(sources)
        if path.startswith(tuple(f"{product}/" for product in PRODUCTS))
        and not path.endswith(("__init__.py", "__main__.py"))
        if (module := _module_of(path)) not in named and not mentions.get(module, set()) - {path}
    ]


def _functions(text: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _lines_with(pattern: re.Pattern[str], path: str, text: str, what: str) -> list[str]:
    if not pattern.search(text):
        return []
    return [
        f"{path}:{number}: {what}: {found.group()}"
        for number, line in enumerate(text.splitlines(), start=1)
        if (found := pattern.search(line))
    ]


def _is_sleep(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "time" and any(alias.name == "sleep" for alias in node.names)
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "sleep"
        and isinstance(node.value, ast.Name)
        and node.value.id == "time"
    )


def _is_proof(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return True
    if not isinstance(node, ast.Call):
        return False
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return called in {"raises", "warns"} or called.startswith(_PROOFS)


def _module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _mentioned(path: str, text: str) -> Iterator[str]:
    """Every dotted name a file imports, or spells in a string as RQ and uvicorn want it with an attribute behind."""
    package = _module_of(path).split(".") if path.endswith("__init__.py") else _module_of(path).split(".")[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(PRODUCTS):
            parts = re.split(r"[.:]", node.value)
            yield from (".".join(parts[:length]) for length in range(2, len(parts) + 1))
