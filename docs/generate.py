"""The reference pages that say what the code says: `python docs/generate.py` writes them, a test compares them."""
# ruff: noqa: INP001 - a script beside the pages, not a package

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from rich.text import Text
from typer.core import TyperArgument

from server.cli.app import app
from server.settings import settings_reference

DOCS = Path(__file__).resolve().parent

SETTINGS = """# Settings

Environment variables, read once at the start; a wrong one stops the start with one line that names it. An empty value
counts as not set. A secret may also be in a file that `<NAME>_FILE` names. Made from `server/settings.py` by `docs/generate.py`.

"""
COMMANDS = """# The `tallystick` command

Exit 0: good. 1: found a problem. 2: wrong use. A fault is one line on standard error; `tallystick --debug ...` shows
the traceback. Commands work on the server that is up on the data directory, or on the one that `DATABASE_URL` and `REDIS_URL` name.
Made from the commands themselves by `docs/generate.py`.
"""


def settings_page() -> str:
    """`reference/settings.md`."""
    return SETTINGS + settings_reference()


def commands_page() -> str:
    """`reference/cli.md`: every command with its arguments, options and examples."""
    root = typer.main.get_command(app)
    return COMMANDS + "".join(_sections("tallystick", root))


PAGES: Mapping[str, Callable[[], str]] = {
    "reference/cli.md": commands_page,
    "reference/settings.md": settings_page,
}
"""Every generated page by its path below `docs/`."""


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
