"""The command line as a whole: which commands there are, in the order in which somebody new needs them.

A command is started with the modules that it needs: to load all of them takes longer than most commands work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Annotated, Final

import typer

from server.cli.output import OneLineFaults, examples

MODULES: Final[Mapping[str, Sequence[str]]] = {
    "up": ["up"],
    "prepare": ["migrate", "seed"],
    "serve": ["serve", "sandbox"],
    "processes": ["worker", "scheduler"],
    "verify": ["verify"],
    "doctor": ["doctor", "metrics"],
    "towns": ["town", "warehouse"],
    "users": ["user"],
    "devices": ["device"],
    "epochs": ["epoch"],
    "journals": ["journal"],
    "orders": ["order"],
    "quarantine": ["quarantine", "rescue"],
    "keys": ["key"],
    "receipts": ["receipt"],
    "jobs": ["jobs"],
    "statements": ["statements"],
    "reminders": ["reminders"],
    "demo.command": ["demo"],
    "bench": ["bench"],
    "simulate": ["simulate"],
}
"""The modules of `server.cli` and the commands that each registers."""


def app_with(modules: Iterable[str]) -> typer.Typer:
    """The command line with the commands of these modules."""
    app = typer.Typer(
        cls=OneLineFaults,
        rich_markup_mode="rich",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Offline-first sync for towns: run a server, look after it, prove its books.\n\n"
        + examples("tallystick up", "tallystick town add Douglas --currency GBP", "tallystick verify"),
    )
    app.callback()(_everywhere)
    for module in modules:
        import_module(f"server.cli.{module}").register(app)
    return app


def whole_app() -> typer.Typer:
    """The command line with everything it has."""
    return app_with(MODULES)


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """The command line with as much as these arguments need; everything where they name no command."""
    asked = next((argument for argument in arguments if not argument.startswith("-")), "")
    modules = [module for module, commands in MODULES.items() if asked in commands]
    return app_with(modules or MODULES)


def _everywhere(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a fault.")] = False,
) -> None: ...
