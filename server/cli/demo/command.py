"""`tallystick demo`: play the story, tell it or print it as JSON, and exit by whether the proof holds."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from server.cli.demo import day, evening, evidence, money_pictures, pictures, reconnect, result, script
from server.cli.demo.stage import Stage, directory_for, open_stage
from server.cli.demo.telling import Teller, page
from server.cli.output import GOOD, PROBLEM, AsJson, err, examples, print_json
from server.cli.up import StopRequest
from server.stack import StackStopped
from server.telemetry import configure_logging

STOPPED = 130
"""What a shell expects of a command that was told to stop."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", epilog=examples("tallystick demo", "tallystick demo --keep what-happened --json"))(_demo)


def _demo(
    *,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="An empty directory to play in and to leave as it is.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Watch an offline day that conflicts on purpose, comes back in the worst order, and is proven.

    Starts everything it needs in a directory of its own, plays for about 20 seconds, and leaves nothing behind. Exit 1
    when anything came out otherwise than it must. With --json the story goes to standard error.
    """
    if keep and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise typer.BadParameter(f"{keep} is not an empty directory", param_hint="--keep")
    configure_logging(level="error", log_format="console", stream=sys.stderr)
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    stop = StopRequest()
    try:
        document = play(keep, Teller(page(is_stderr=as_json), lambda: stop.is_set))
    except StackStopped:
        err.print("Stopped. Nothing is left running.")
        raise typer.Exit(STOPPED) from None
    if as_json:
        print_json(document)
    raise typer.Exit(GOOD if document["good"] else PROBLEM)


def play(keep: Path | None, teller: Teller) -> dict[str, Any]:
    """The whole demo; gives the document that `--json` prints. Raises `StackStopped` when asked to stop."""
    started = time.monotonic()
    pictures.show_opening(teller)
    with teller, directory_for(keep) as directory, open_stage(directory, teller) as stage:
        document = perform(stage, started)
    if keep:
        pictures.show_kept(teller, keep)
    return document


def perform(stage: Stage, started: float) -> dict[str, Any]:
    """The six scenes, and what they came to; `started` is when the clock of the demo did (monotonic seconds)."""
    teller = stage.teller
    teller.scene(1, "The morning", "A town with real orders. Everybody has a network and gets the day's work.")
    pictures.show_town(stage)
    crew = day.hire(stage)
    pictures.show_devices(teller, crew.devices)
    day.morning(stage, crew)

    teller.scene(
        2, "The offline day", "The API is killed: no device reaches anybody. They all work on, and so does the office."
    )
    offline = day.offline_day(stage, crew)
    pictures.show_beats(teller, stage.world)
    pictures.show_offline(teller, offline)

    teller.scene(3, "Back, in the worst order", "Whatever can break on the way does. Counted in change sets.")
    arrived = []
    for arrival in reconnect.arrivals(stage, crew):
        pictures.show_arrival(teller, arrival)
        arrived.append(arrival)
    returns = reconnect.try_again(stage, crew, arrived)
    pictures.show_returns(teller, returns)

    teller.scene(
        4, "The evening", "The money: what two people must agree on, drawers that are counted blind, slips that hold."
    )
    ending = evening.evening(stage, crew)
    money_pictures.show_evening(teller, ending, crew.tally)

    teller.scene(
        5, "What it came to", "Facts are kept, decisions are explained. Where a person has to look, there is a task."
    )
    outcome, ledger = result.gather(stage, crew, offline), evidence.ledger(stage)
    pictures.show_decisions(teller, offline, outcome)
    pictures.show_orders(teller, outcome.orders)
    pictures.show_stock_and_cash(teller, outcome)
    money_pictures.show_ledger(teller, ledger)
    pictures.show_messages(teller, outcome)

    stage.enrol(script.NEWCOMER, script.ALEX)
    story = evidence.Story(day=offline, returns=returns, evening=ending, result=outcome, ledger=ledger)
    checks = evidence.prove(stage, crew, story)
    is_good = all(check.is_good for check in checks)
    seconds = round(time.monotonic() - started, 1)
    teller.scene(6, "The proof", "Tables by plain SQL, replicas from their files, against what people really did.")
    pictures.show_proof(teller, checks, seconds)
    return {
        "good": is_good,
        "seconds": seconds,
        "town": script.TOWN,
        "devices": [{"name": device.name, "recorded": device.recorded} for device in stage.devices.values()],
        "offline": asdict(offline),
        "returns": [asdict(one) | {"lost": one.lost, "doubled": one.doubled} for one in returns],
        "evening": asdict(ending),
        "ledger": {kind: pence for kind, pence in sorted(ledger.kinds().items()) if pence},
        **asdict(outcome),
        "proof": [asdict(check) for check in checks],
    }
