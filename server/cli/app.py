"""The command line as a whole: which commands there are, in the order in which somebody new needs them."""

from __future__ import annotations

from typing import Annotated

import typer

from server.cli import (
    bench,
    devices,
    doctor,
    epochs,
    jobs,
    journals,
    keys,
    orders,
    processes,
    quarantine,
    receipts,
    reminders,
    simulate,
    statements,
    towns,
    up,
    users,
    verify,
)
from server.cli.demo import command as demo
from server.cli.output import OneLineFaults, examples

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


@app.callback()
def _everywhere(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a fault.")] = False,
) -> None: ...


up.register(app)
processes.register(app)
verify.register(app)
doctor.register(app)
towns.register(app)
users.register(app)
devices.register(app)
epochs.register(app)
journals.register(app)
orders.register(app)
quarantine.register(app)
keys.register(app)
receipts.register(app)
jobs.register(app)
statements.register(app)
reminders.register(app)
demo.register(app)
bench.register(app)
simulate.register(app)
