"""The worker process: it answers the bell, and sweeps every few seconds for work that no bell has rung for.

The bell makes it quick, the sweeper makes it sure: Redis may be away, empty or lying. The thread of the bell does its
work in an event loop of its own for each job, the sweeper in the loop of the process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextvars import ContextVar
from typing import Protocol

import structlog

from server.bootstrap import open_parts
from server.jobs.relay import RelayParts, answer, sweep
from server.settings import Settings, load_settings
from sync.kernel.errors import TallystickError
from sync.kernel.ids import parse_id

SWEEP_SECONDS = 5
ANSWER_SECONDS_MAX = 5
"""How long one ring is worked on; what is still due then is the sweeper's."""

STOP_SECONDS_MAX = 6
"""How long a stop waits for the bell's thread; longer than a job, shorter than the patience of a supervisor."""

_log = structlog.stdlib.get_logger(__name__)
_settings: ContextVar[Settings | None] = ContextVar("_settings", default=None)


class Listening(Protocol):
    """The bell from inside."""

    def listen(self, stopping: threading.Event) -> None:
        """Answer rings until `stopping` is set."""
        ...


def answer_bell(town_id: str) -> None:
    """The RQ job: do what is due of one town. Settings are those of `run_worker`, or the environment's without it.

    It does not fail, because nobody would ring again: the sweeper does what is left. Raises only `InvalidId`, for what
    was never put into the queue by us.
    """
    parse_id(town_id)
    asyncio.run(_answer(_settings.get() or load_settings(os.environ), town_id))


def run_worker(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT, then stop within 10 seconds. Call it in the main thread, logging configured.

    Raises what `open_parts` raises for wrong settings.
    """
    asyncio.run(_work(settings))


async def _answer(settings: Settings, town_id: str) -> None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX), open_parts(settings) as parts:
            await answer(parts, town_id)
    except (TallystickError, TimeoutError):
        _log.exception("bell_not_answered", town_id=town_id)


async def _work(settings: Settings) -> None:
    asked_to_stop, stopping = asyncio.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    async with open_parts(settings) as parts:
        # A daemon: a thread that hangs in a dead connection must not keep the process; what it held is a lease.
        listener = threading.Thread(target=_listen, args=(settings, parts.bell, stopping), name="bell", daemon=True)
        listener.start()
        sweeper = asyncio.create_task(_sweep_for_ever(parts))
        _log.info("worker_started", sweep_seconds=SWEEP_SECONDS)
        await asked_to_stop.wait()
        stopping.set()
        sweeper.cancel()
        await asyncio.wait([sweeper])
        await asyncio.to_thread(listener.join, STOP_SECONDS_MAX)
    _log.info("worker_stopped", is_bell_left_hanging=listener.is_alive())


def _listen(settings: Settings, bell: Listening, stopping: threading.Event) -> None:
    _settings.set(settings)  # for the jobs, which RQ runs in this thread
    bell.listen(stopping)


async def _sweep_for_ever(parts: RelayParts) -> None:
    while True:
        try:
            await sweep(parts)
        except Exception:  # noqa: BLE001  PostgreSQL is away: it is asked again
            _log.exception("sweep_failed")
        await asyncio.sleep(SWEEP_SECONDS)
