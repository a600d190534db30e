"""The reference pages that say what the code says: `python docs/generate.py` writes them, a test compares them."""
# ruff: noqa: INP001 - a script beside the pages, not a package

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from rich.text import Text
from typer.core import TyperArgument

import client_sdk
import server
import sync
from docs import performance
from server.api.problems import STATUS
from server.cli.app import whole_app
from server.metrics import metrics_reference
from server.settings import settings_reference
from sync.kernel.errors import TallystickError
from sync.modules import registry
from sync.modules.identity import ROLES
from sync.modules.reference import decisions_page, entities_page, operations_page, permissions_page

DOCS = Path(__file__).resolve().parent

SETTINGS = """# Settings

Environment variables, read once at the start; a wrong one stops the start with one line that names it. An empty value
counts as not set. A secret may also be in a file that `<NAME>_FILE` names. Made from `server/settings.py` by
`docs/generate.py`.

"""
METRICS = """# Metrics

`GET /metrics` of the API answers in the text format of Prometheus whoever brings the token of
`TALLYSTICK_METRICS_TOKEN`. What counts is added up over all processes of one machine that share
`PROMETHEUS_MULTIPROC_DIR`, as those of `tallystick up` do; what is told of towns comes from the database and is the
same whoever is asked. How to use them: [Watch it](../how-to/watch-it.md). Made from `server/metrics.py` by
`docs/generate.py`.

"""
COMMANDS = """# The `tallystick` command

Exit 0: good. 1: found a problem. 2: wrong use. A fault is one line on standard error; `tallystick --debug ...` shows
the traceback. Commands work on the server that is up on the data directory, or on the one that `DATABASE_URL` and
`REDIS_URL` name. Made from the commands themselves by `docs/generate.py`.
"""

ERRORS = """# Errors

Every fault has a class, a stable `code` and a sentence that says what to do. Programs look at the code, people read the
sentence. The status is that of the problem document (RFC 9457) in which the server answers with it. A fault without one
is raised in the process where it happens or told by a command; in an answer it would be a 500 `internal`. What a client
of the protocol does about each problem is in [protocol.md](protocol.md#problems).

What is wrong inside one change set is no problem document but the rule of its verdict: a line that cannot be read is
quarantined with the code as its rule. In the SDK a problem is a `ServerProblem` with the code of the document, and
`Refused` has the id of the rule that refused, which is in [decisions.md](decisions.md). Made from the classes by
`docs/generate.py`.
"""
ERROR_GROUPS: Mapping[str, str] = {
    "sync": "On both sides",
    "client_sdk": "In the SDK",
    "server": "On the server",
}


def settings_page() -> str:
    """`reference/settings.md`."""
    return SETTINGS + settings_reference()


def metrics_page() -> str:
    """`reference/metrics.md`."""
    return METRICS + metrics_reference()


def commands_page() -> str:
    """`reference/cli.md`: every command with its arguments, options and examples."""
    root = typer.main.get_command(whole_app())
    return COMMANDS + "".join(_sections("tallystick", root))


def fault_classes() -> tuple[type[TallystickError], ...]:
    """Every fault of the three products, by place and name."""
    for package in (sync, client_sdk, server):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found, waiting = set[type[TallystickError]](), [TallystickError]
    while waiting:
        fault = waiting.pop()
        found.add(fault)
        waiting.extend(fault.__subclasses__())
    ours = [fault for fault in found if fault.__module__.split(".")[0] in ERROR_GROUPS]
    return tuple(sorted(ours, key=lambda fault: (fault.code, fault.__module__, fault.__name__)))


def errors_page() -> str:
    """`reference/errors.md`: every fault with its code, sentence and HTTP status."""
    parts = [ERRORS]
    faults = fault_classes()
    for package, title in ERROR_GROUPS.items():
        rows = [_fault(fault) for fault in faults if fault.__module__.split(".")[0] == package]
        parts.append(
            "\n".join([f"\n## {title}\n", "| code | status | class | what it says |", "|---|---|---|---|", *rows, ""])
        )
    return "".join(parts)


PAGES: Mapping[str, Callable[[], str]] = {
    "reference/cli.md": commands_page,
    "reference/errors.md": errors_page,
    "reference/decisions.md": lambda: decisions_page(registry()),
    "reference/entities.md": lambda: entities_page(registry()),
    "reference/operations.md": lambda: operations_page(registry()),
    "reference/permissions.md": lambda: permissions_page(registry(), ROLES),
    "reference/metrics.md": metrics_page,
    performance.PAGE: lambda: performance.performance_page(performance.kept_run()),
    performance.CHART: lambda: performance.performance_chart(performance.kept_run()),
    "reference/settings.md": settings_page,
}
"""Every generated page by its path below `docs/`."""


def _fault(fault: type[TallystickError]) -> str:
    is_problem = not fault.__module__.startswith("client_sdk")
    status = next((STATUS[kind] for kind in fault.__mro__ if kind in STATUS), None) if is_problem else None
    sentence = " ".join((fault.__doc__ or "").split()).replace("|", "\\|")
    return f"| `{fault.code}` | {status or ''} | `{fault.__module__}.{fault.__name__}` | {sentence} |"


def _sections(name: str, command: Any) -> Iterator[str]:
    children: Mapping[str, Any] = getattr(command, "commands", {})
    for child_name, child in children.items():
        if hasattr(child, "commands"):
            yield from _sections(f"{name} {child_name}", child)
        else:
            yield _section(f"{name} {child_name}", child)


def _section(name: str, command: Any) -> str:
    shown = [param for param in command.params if not getattr(param, "hidden", False) and param.name != "help"]
    rows = [f"| {_spelling(param)} | {_default(param)} | {_text(param.help)} |" for param in shown]
    table = ["| argument or option | default | what |", "|---|---|---|", *rows, ""] if rows else []
    examples = [line.removeprefix("$ ") for line in _text(command.epilog).splitlines()[1:]]
    parts = [f"\n## `{name}`\n", f"{_text(command.help)}\n", *table, "```console", *(f"$ {e}" for e in examples), "```"]
    return "\n".join(parts) + "\n"


def _spelling(param: Any) -> str:
    value = (param.metavar or param.name.upper()).replace("|", "\\|")
    if isinstance(param, TyperArgument):
        return f"`{value}`"
    value = "" if param.is_flag else f" {value}"
    return f"`{param.opts[-1]}{value}`" + (", may be repeated" if param.multiple else "")


def _default(param: Any) -> str:
    if param.required:
        return "required"
    if param.default is None or param.default is False:
        return ""
    if isinstance(param.default, Path):
        return "the sample that comes with the package"
    return f"`{getattr(param.default, 'value', param.default)}`"


def _text(markup: str | None) -> str:
    return Text.from_markup(markup or "").plain.strip()


if __name__ == "__main__":
    for path, page in PAGES.items():
        (DOCS / path).write_text(page(), encoding="utf-8")
