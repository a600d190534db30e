"""What worker and scheduler have in common: they stop when they are told to, and show that they live.

A process beats by touching a file in the data directory, `beats/<process>@<host>`: a supervisor or a health check of a
container sees its age, `tallystick doctor` sees all of them. A process that hangs does not beat.
"""

from __future__ import annotations

import asyncio
import platform
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from server.metrics import note_memory

BEAT_SECONDS = 5
BEAT_SECONDS_MAX = 60
"""A process that has not beaten for so long hangs, or is gone."""

BEATS_NAME = "beats"
_log = structlog.stdlib.get_logger(__name__)


def asked_to_stop() -> asyncio.Event:
    """Set on SIGTERM or SIGINT from now on; call it in the main thread, inside the event loop."""
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    return asked


async def beat_for_ever(process: str, data_dir: Path) -> None:
    """Beat every few seconds until cancelled."""
    while True:
        note_memory(process)
        try:
            beat(process, data_dir)
        except OSError as fault:  # a full disk is no reason to stop working
            _log.warning("beat_failed", fault=str(fault))
        await asyncio.sleep(BEAT_SECONDS)


def beat(process: str, data_dir: Path) -> None:
    """Show now that this process lives. Raises `OSError`."""
    folder = data_dir / BEATS_NAME
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{process}@{platform.node()}").touch()


def beat_ages(data_dir: Path) -> Mapping[str, float]:
    """Seconds since each process last beat, by its name and host; those that have ended are still there."""
    if not (data_dir / BEATS_NAME).is_dir():
        return {}
    now = time.time()
    return {path.name: now - path.stat().st_mtime for path in sorted((data_dir / BEATS_NAME).iterdir())}
