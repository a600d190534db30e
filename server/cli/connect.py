"""How a command finds its server: the stack that is up on the data directory, or what the environment says."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from server.bootstrap import Core, open_parts
from server.settings import Settings, SettingsInvalid, load_settings
from server.stack import read_note
from server.telemetry import configure_logging

Result = TypeVar("Result")

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="The data directory of the server; else TALLYSTICK_DATA_DIR, else .tallystick here.",
        show_default=False,
    ),
]


def own_settings(data: Path | None) -> Settings:
    """The settings of this process alone: the environment, and the option over it."""
    given = {"TALLYSTICK_DATA_DIR": str(data)} if data else {}
    return load_settings({**os.environ, **given})


def settings_for(data: Path | None) -> Settings:
    """The settings of the server to work on. Raises `SettingsInvalid` when there is none."""
    settings = own_settings(data)
    if settings.database_url is not None:
        return settings
    note = read_note(settings.data_dir)
    if note is None:
        raise SettingsInvalid(
            f"no tallystick is up on {settings.data_dir} and DATABASE_URL is not set: "
            "start one with `tallystick up`, name another with --data, or set DATABASE_URL"
        )
    return load_settings(note["environment"])


def with_server(data: Path | None, do: Callable[[Core], Awaitable[Result]]) -> Result:
    """What `do` gives, with the connections open while it runs."""
    settings = settings_for(data)
    # What goes wrong is said by the command itself; the pool's warnings about every attempt would only be in the way.
    configure_logging(level="error", log_format="console")
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)

    async def run() -> Result:
        async with open_parts(settings) as core:
            return await do(core)

    return asyncio.run(run())
