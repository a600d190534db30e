"""The processes that serve nobody: `worker` and `scheduler`, one command each, for containers."""

from __future__ import annotations

import os

import typer

from server.cli.output import examples
from server.scheduler import run_scheduler
from server.settings import Settings, load_settings
from server.telemetry import configure_logging
from server.tracing import start_tracing
from server.worker import run_worker


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("worker", epilog=examples("tallystick worker"))(_worker)
    app.command("scheduler", epilog=examples("tallystick scheduler"))(_scheduler)


def _worker() -> None:
    """Run one worker process, which does what the API has rung for; configured by the environment."""
    run_worker(_prepared("worker"))


def _scheduler() -> None:
    """Run the scheduler, which does what is due by the clock, without Redis; configured by the environment.

    One is enough, a second one does no harm.
    """
    run_scheduler(_prepared("scheduler"))


def _prepared(process: str) -> Settings:
    settings = load_settings(os.environ)
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    start_tracing(settings.otlp_endpoint, process=process)
    return settings
